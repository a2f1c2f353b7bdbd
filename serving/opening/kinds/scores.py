"""What detectors of tables and of arrays share: calibration, outputs, and golden scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from serving.errors import IntegrityError
from serving.opening.entries import Calibration, Entry, Number, Share
from serving.opening.golden import Feeds, numbers, run_again
from serving.opening.kinds.base import SealedModel
from serving.opening.ports import Ports

SCORES: Ports = {"anomaly_score": ("float", ()), "p_value": ("float", ()), "is_anomaly": ("bool", ())}


class Scores(Entry):
    """Golden scores and p-values."""

    anomaly_score: list[Number]
    p_value: list[Share]


class Scored(SealedModel):
    """A model that returns calibrated scores."""

    calibration: Calibration

    def compared(self, session: Any, feeds: Feeds, golden: Scores) -> np.ndarray:
        """The scores of the golden rows; raises IntegrityError if they disagree with those of torch."""
        scores, p = run_again(session, ["anomaly_score", "p_value"], feeds)
        expected = numbers(golden.anomaly_score)
        bound = 1e-5 * np.maximum(np.abs(expected), self.calibration.median_score)
        with np.errstate(invalid="ignore"):
            right = (np.abs(scores - expected) <= bound) & np.isfinite(expected) | (scores == expected)
        wrong = ~right | ~(np.abs(p - np.array(golden.p_value)) <= 1e-4)
        if wrong.any():
            raise IntegrityError(f"{int(wrong.sum())} of {len(wrong)} golden rows disagree with what was sealed")
        return scores

    def check_constants(self, model: Any) -> None:
        """Check that the graph's constants contain the options, sizes and median of the metadata."""
        from onnx import numpy_helper

        calibration, options = self.calibration, {"alpha", "explain"} & self.ports()[0].keys()
        sizes = [calibration.n, *(group.n for group in calibration.groups.values())]
        found: dict[str, bool] = dict.fromkeys((*sorted(options), "n", "median_score"), False)
        for tensor in model.graph.initializer:
            if tensor.name not in found and list(tensor.dims) != [len(sizes)]:
                continue
            values = numpy_helper.to_array(tensor)
            if tensor.name == "alpha":
                found["alpha"] = values.tolist() == float(np.float32(calibration.alpha))
            elif tensor.name == "explain":
                found["explain"] = values.tolist() is False
            elif values.dtype == np.int64:
                found["n"] |= values.tolist() == sizes
            elif values.dtype == np.float32:
                found["median_score"] |= float(values[0]) == float(np.float32(calibration.median_score))
        if wrong := [name for name, agrees in found.items() if not agrees]:
            raise IntegrityError(f"{wrong[0]} is not what the graph was built with; the file was changed or damaged")
        if calibration.deciles is not None and sum(calibration.deciles) != calibration.n:
            raise IntegrityError("the deciles do not add up to the calibration rows; the file was changed or damaged")
