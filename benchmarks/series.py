"""Detectors of series on rows in time order: a row has the score of the window that ends there.

Windows are cut here. ``automatic`` and ``closed`` are factories of objects with ``fit(train)`` and ``score(test)``, of
rows ``(T, channels)``, as benchmarks of time series take them. Scores are causal. The first rows, which end no whole
window, have the score of the first window. Channels that are constant in training are left out: a change in them is
not found.
"""

from __future__ import annotations

import warnings

import numpy as np

from ganlib import AutoDetector

STEPS = 10
LEAST = 1e-6  # deviation of a channel
CLOSED = ("centroid_kernels", "principal_mixture", "autoregression")


class Windows:
    """An automatic detector of windows of ``steps`` rows; ``members`` as ``AutoDetector`` takes them."""

    def __init__(self, steps: int = STEPS, members: tuple[str, ...] | None = None) -> None:
        self.steps = steps
        self.detector = AutoDetector(members=members, modality="series", device="cpu")

    def fit(self, train: np.ndarray) -> None:
        """Learn from normal rows in time order."""
        self.varied = train.std(0) >= LEAST
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # few calibration rows: only the order of scores is used
            self.detector.fit(self._cut(train))

    def score(self, test: np.ndarray) -> np.ndarray:
        """Scores of rows ``(T,)``, higher for anomalous ones."""
        scores = self.detector.anomaly_score(self._cut(test))
        return np.concatenate([np.full(self.steps - 1, scores[0]), scores])

    def _cut(self, rows: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(rows[:, self.varied], self.steps, axis=0)
        return np.ascontiguousarray(windows)


def automatic() -> Windows:
    """The members of series by default."""
    return Windows()


def closed() -> Windows:
    """Those that are fitted in closed form."""
    return Windows(members=CLOSED)
