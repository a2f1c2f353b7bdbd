"""Our detectors as factories for a one-class bench (protocol P1), whose path is given by the caller.

    python BENCH.py --module benchmarks.quality_detection:vae --name VAEDetector --protocols P1 --seeds 0

The bench hands over scaled arrays and judges ``decision_function`` (higher = more anomalous).
"""

from __future__ import annotations

import numpy as np

from ganlib.detect import AutoDetector, GANomalyDetector, ReconstructionVAEDetector, VAEDetector


class _Adapter:
    """The bench's signs over one of our estimators."""

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, x):
        self.estimator.fit(x)
        return self

    def decision_function(self, x):
        return np.asarray(self.estimator.anomaly_score(x))


def ganomaly(seed=0):
    """GANomalyDetector at its defaults."""
    return _Adapter(GANomalyDetector(random_state=seed))


def vae(seed=0):
    """VAEDetector at its defaults."""
    return _Adapter(VAEDetector(random_state=seed))


def reconstruction_vae(seed=0):
    """ReconstructionVAEDetector at its defaults."""
    return _Adapter(ReconstructionVAEDetector(random_state=seed))


def auto(seed=0):
    """AutoDetector at its defaults."""
    return _Adapter(AutoDetector(random_state=seed))
