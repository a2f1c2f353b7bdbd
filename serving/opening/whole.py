"""All steps from the bytes of a file to a verified session."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from serving.opening import child
from serving.opening.cost import EXPLAIN_CHUNK, rows_at_once
from serving.opening.interface import check_interface
from serving.opening.kinds import SealedModel
from serving.opening.metadata import read_metadata
from serving.opening.scan import Limits, parse, scan
from serving.opening.session import open_session


@dataclass(frozen=True)
class Opened:
    """The raw and the validated metadata, the session, and its batch sizes."""

    metadata: dict[str, Any]
    checked: SealedModel
    session: Any
    rows: int
    explained_rows: int


def examine(data: bytes, limits: Limits, require_gpu: bool = False) -> Opened:
    """Open a file; raises IntegrityError if any check fails, UsageError without a required GPU."""
    model = parse(data)
    scan(model, limits)
    metadata, checked = read_metadata(model)
    check_interface(model, checked)
    rows = rows_at_once(model, checked.most_rows, False, limits)
    explained = rows_at_once(model, EXPLAIN_CHUNK, True, limits) if checked.explanation else 0
    del model
    session = open_session(data, require_gpu)
    checked.self_test(session)
    return Opened(metadata, checked, session, rows, explained)


def vouch(data: bytes) -> None:
    """Examine a file that this process wrote, so that it is not opened in a child process; raises IntegrityError."""
    examine(data, Limits())
    child.passed(hashlib.sha256(data).hexdigest(), Limits())
