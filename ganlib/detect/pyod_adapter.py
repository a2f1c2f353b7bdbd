"""Adapter for PyOD's interface; PyOD itself is not needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from ganlib.detect.base import BaseDetector


class PyODAdapter:
    """Wraps a detector with PyOD's conventions: higher ``decision_function`` = more anomalous, labels 1 and 0.

    After ``fit``: ``decision_scores_`` and ``labels_`` of the training rows, and ``threshold_`` (higher scores are
    outliers). ``contamination`` is the detector's ``alpha``.
    """

    def __init__(self, detector: BaseDetector) -> None:
        self.detector = detector

    def __getattr__(self, name: str) -> Any:
        if name == "threshold_" and hasattr(self.__dict__.get("detector"), "offset_"):
            return -self.detector.offset_
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}; is it fitted?")

    @property
    def contamination(self) -> float:
        """The share of normal rows that may raise an alarm."""
        return float(self.detector.alpha)

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the detector and score the rows given."""
        self.detector.fit(X, y)
        self.decision_scores_ = self.decision_function(X)
        self.labels_ = self.predict(X)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """``anomaly_score``, float32 ``(n,)``."""
        return self.detector.anomaly_score(X)

    def predict(self, X: Any) -> np.ndarray:
        """1 for outliers, 0 for the others: int64 ``(n,)``."""
        return (self.detector.predict(X) == -1).astype(np.int64)

    def fit_predict(self, X: Any, y: Any = None) -> np.ndarray:
        """``labels_`` after ``fit``."""
        return self.fit(X, y).labels_

    def predict_proba(self, X: Any) -> np.ndarray:
        """Float64 ``(n, 2)``: the p-value and one minus it, in the columns normal and outlier.

        PyOD scales scores linearly instead; p-values are calibrated and need no outliers in training.
        """
        p = self.detector.p_value(X).astype(np.float64)
        return np.stack([p, 1.0 - p], axis=1)


def to_pyod(detector: BaseDetector) -> PyODAdapter:
    """The detector with PyOD's conventions."""
    return PyODAdapter(detector)
