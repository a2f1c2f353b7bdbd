"""The parity gate: the one place in ganlib where onnxruntime is imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ganlib.calibrate import Calibration
from ganlib.calibrate.conformal import as_scores
from ganlib.errors import ParityError
from serving.errors import IntegrityError

TOLERANCE = 1e-5
MAP_TOLERANCE = 1e-3  # of the limit, or of the score of a place above it
_P_TOLERANCE = 1e-4
# A contribution is a difference of two scores, each with its own rounding.
_DIFFERENCE = 4.0
_ALPHA = 0.2


@dataclass(frozen=True)
class Parity:
    """|graph - torch| and its bound at the row closest to its bound, and the number of compared rows."""

    max_abs: float
    bound: float
    rows: int


def open_session(model: bytes) -> Any:
    """A quiet single-threaded CPU session from bytes."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def check_opens(data: bytes) -> None:
    """Open a finished file like serving; raises ParityError if serving would reject it."""
    from serving.opening.whole import vouch

    try:
        vouch(data)
    except IntegrityError as error:
        raise ParityError(f"the sealed file would not open: {error}; nothing was written") from error


def batches(rows: int) -> Iterator[slice]:
    """Slices: one row, seven rows, and all rows in chunks of at most 2,048."""
    yield slice(0, 1)
    yield slice(1, 8)
    for start in range(0, rows, 2048):
        yield slice(start, start + 2048)


def check_detector(
    session: Any,
    feeds: Mapping[str, np.ndarray],
    scores: np.ndarray,
    calibration: Calibration,
    groups: np.ndarray | None,
) -> Parity:
    """Compare the graph with torch's ``scores`` and with the calibration; raises ParityError beyond the bounds.

    Scores: 1e-5 · max(|score|, calibration median). p-values: those of the graph's own scores within 1e-4, and
    ``is_anomaly`` is exactly ``p_value <= alpha``.
    """
    scores = as_scores(scores)
    closest = Parity(0.0, TOLERANCE * calibration.median_score, len(scores))
    for rows in batches(len(scores)):
        part = {name: value[rows] for name, value in feeds.items()}
        budget = np.array(_ALPHA, dtype=np.float32)
        got, p, flags = session.run(["anomaly_score", "p_value", "is_anomaly"], {**part, "alpha": budget})
        closest = _compare(got, scores[rows], calibration.median_score, closest)
        expected = calibration.p_value(got, None if groups is None else groups[rows])
        if not np.allclose(p, expected, rtol=1e-3, atol=0) or np.abs(p - expected).max() > _P_TOLERANCE:
            raise ParityError("the ONNX graph's p-values differ from the calibration's; nothing was written")
        if not np.array_equal(flags, p <= budget):
            raise ParityError("is_anomaly disagrees with p_value <= alpha; nothing was written")
    return closest


def _compare(got: np.ndarray, expected: np.ndarray, median: float, closest: Parity) -> Parity:
    with np.errstate(invalid="ignore"):
        difference = np.abs(got.astype(np.float64) - expected)
    difference[np.isinf(got) & np.isinf(expected)] = 0.0
    bound = TOLERANCE * np.maximum(np.abs(expected.astype(np.float64)), median)
    bound[np.isinf(bound)] = TOLERANCE * median
    share = difference / np.maximum(bound, 1e-300)
    row = int(np.argmax(np.where(np.isnan(share), np.inf, share)))
    if not difference[row] <= bound[row]:
        raise ParityError(
            f"the ONNX graph gives the score {got[row]:.8g} where torch gives {expected[row]:.8g} "
            f"(bound {bound[row]:.3g}, batch of {len(got)}); nothing was written"
        )
    if share[row] > closest.max_abs / max(closest.bound, 1e-300):
        return Parity(float(difference[row]), float(bound[row]), closest.rows)
    return closest


def check_contributions(
    session: Any, feeds: Mapping[str, np.ndarray], expected: np.ndarray, weights: np.ndarray, size: np.ndarray
) -> None:
    """Check that contributions agree with torch, and are empty without ``explain``; raises ParityError.

    The bound follows from the ``weights`` that divide the score, and from ``size`` ``(n,)``, the magnitude of rounding.
    """
    (got,) = session.run(["contributions"], {**feeds, "explain": np.array(True)})
    (none,) = session.run(["contributions"], feeds)
    if none.shape != (0, expected.shape[1]):
        raise ParityError(f"contributions have shape {none.shape} where explain is off; nothing was written")
    total, shares = weights.sum(1, keepdims=True), weights / weights.sum(1, keepdims=True)
    rounding = _DIFFERENCE * TOLERANCE * (np.minimum(size, 1e30)[:, None] + weights.max(1, keepdims=True))
    error = np.minimum(rounding * (1 + shares * weights.shape[1]) / total, 1.0) + TOLERANCE
    bound = expected.sum(1, keepdims=True) * error + 1e-30
    if got.shape != expected.shape or not (np.abs(got - expected) <= bound).all():
        raise ParityError("the ONNX graph's contributions differ from torch's; nothing was written")


def check_map(session: Any, feeds: Mapping[str, np.ndarray], expected: np.ndarray, size: np.ndarray) -> None:
    """Check that scores of places agree with torch's, and are of no rows without ``explain``; raises ParityError.

    ``size`` ``(n,)`` is the magnitude of scores in units of the limit: a place may be the difference of two.
    """
    (got,) = session.run(["map"], {**feeds, "explain": np.array(True)})
    (none,) = session.run(["map"], feeds)
    if none.shape != (0, *expected.shape[1:]):
        raise ParityError(f"the map has shape {none.shape} where explain is off; nothing was written")
    bound = MAP_TOLERANCE * (1 + np.abs(expected)) + _DIFFERENCE * TOLERANCE * size[:, None, None]
    if got.shape != expected.shape or not (np.abs(got - expected) <= bound).all():
        raise ParityError("the ONNX graph's scores of places differ from torch's; nothing was written")
