"""All steps from bytes to a session that gives what was sealed."""

from __future__ import annotations

import hashlib
from typing import Any

from serving.opening import child
from serving.opening.cost import CHUNK, EXPLAIN_CHUNK, GENERATED_CHUNK, array_rows, check_cost
from serving.opening.golden import self_test
from serving.opening.interface import check_interface
from serving.opening.metadata import Arrays, Detector, Said, read_metadata
from serving.opening.scan import Limits, parse, scan
from serving.opening.session import open_session


def examine(data: bytes, limits: Limits, require_gpu: bool = False) -> tuple[dict[str, Any], Said, Any]:
    """Metadata as they stand, as they were checked, and the session.

    Raises IntegrityError on any doubt, UsageError without a required GPU.
    """
    model = parse(data)
    scan(model, limits)
    metadata, said = read_metadata(model)
    check_interface(model, said)
    check_cost(model, _uses(said), limits)
    del model
    session = open_session(data, require_gpu)
    self_test(session, said)
    return metadata, said, session


def vouch(data: bytes) -> None:
    """Examine a file that this process made, so that it need not be opened in another; raises IntegrityError."""
    examine(data, Limits())
    child.passed(hashlib.sha256(data).hexdigest(), Limits())


def _uses(said: Said) -> list[tuple[int, bool]]:
    """How many rows this package gives to a session at a time, and whether it explains them."""
    if isinstance(said, Detector):
        return [(CHUNK, False), (EXPLAIN_CHUNK, True)]
    return [(array_rows(tuple(said.shape)) if isinstance(said, Arrays) else GENERATED_CHUNK, False)]
