"""The parity gate: the one place in ganlib where onnxruntime is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ganlib.errors import ParityError

TOLERANCE = 1e-5


def open_session(model: bytes) -> Any:
    """A quiet single-threaded CPU session from bytes."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def check_scores(
    session: Any, feeds: Mapping[str, np.ndarray], scores: np.ndarray, p_values: np.ndarray, median: float
) -> float:
    """Largest |graph - torch| over batches of 1, 7 and all rows; raises ParityError beyond the bound.

    Bound: 1e-5 · max(|score|, calibration median) for scores, 1e-4 for p-values.
    """
    bound = TOLERANCE * np.maximum(np.abs(scores), abs(median))
    worst = 0.0
    for rows in (slice(0, 1), slice(1, 8), slice(None)):
        part = {name: value[rows] for name, value in feeds.items()}
        got, p, flags = session.run(["anomaly_score", "p_value", "is_anomaly"], part)
        difference = np.abs(got.astype(np.float64) - scores[rows])
        worst = max(worst, float(difference.max()))
        if not (difference <= bound[rows]).all():
            row = int(np.argmax(difference / bound[rows]))
            raise ParityError(
                f"the ONNX graph gives {got[row]:.8g} where torch gives {scores[rows][row]:.8g} "
                f"(bound {bound[rows][row]:.3g}, batch of {len(got)}); the artifact was not written"
            )
        # A p-value may jump where a score lies on a calibration score; the decision follows the graph's own p.
        if np.abs(p - p_values[rows]).max() > 1e-4 + 2 * float(np.diff(np.sort(p_values)).max(initial=0)):
            raise ParityError("the ONNX graph's p-values differ from the estimator's; the artifact was not written")
        if not np.array_equal(flags, p <= np.float32(0.01)):
            raise ParityError("is_anomaly disagrees with p_value <= alpha; the artifact was not written")
    return worst
