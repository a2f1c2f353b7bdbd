"""All steps from the bytes of a file to a verified session."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

from serving.opening import child
from serving.opening.cost import CHUNK, CHUNK_VALUES, EXPLAIN_CHUNK, GENERATED_CHUNK, rows_at_once
from serving.opening.golden import self_test
from serving.opening.interface import check_interface
from serving.opening.metadata import ArrayDetector, Arrays, Checked, Detector, Translator, read_metadata
from serving.opening.scan import Limits, parse, scan
from serving.opening.session import open_session


@dataclass(frozen=True)
class Opened:
    """The raw and the validated metadata, the session, and its batch sizes."""

    metadata: dict[str, Any]
    checked: Checked
    session: Any
    rows: int
    explained_rows: int


def examine(data: bytes, limits: Limits, require_gpu: bool = False) -> Opened:
    """Open a file; raises IntegrityError if any check fails, UsageError without a required GPU."""
    model = parse(data)
    scan(model, limits)
    metadata, checked = read_metadata(model)
    check_interface(model, checked)
    rows = rows_at_once(model, _most(checked), False, limits)
    explained = rows_at_once(model, EXPLAIN_CHUNK, True, limits) if isinstance(checked, Detector) else 0
    del model
    session = open_session(data, require_gpu)
    self_test(session, checked)
    return Opened(metadata, checked, session, rows, explained)


def vouch(data: bytes) -> None:
    """Examine a file that this process wrote, so that it is not opened in a child process; raises IntegrityError."""
    examine(data, Limits())
    child.passed(hashlib.sha256(data).hexdigest(), Limits())


def _most(checked: Checked) -> int:
    if isinstance(checked, Detector):
        return CHUNK
    most = CHUNK if isinstance(checked, ArrayDetector) else GENERATED_CHUNK
    values = math.prod(checked.shape) if isinstance(checked, Arrays | ArrayDetector | Translator) else 1
    return max(1, min(most, CHUNK_VALUES // values))
