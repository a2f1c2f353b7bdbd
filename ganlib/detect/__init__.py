"""Detectors with scikit-learn's manners."""

from ganlib.detect.estimators import (
    Detector,
    GANomalyDetector,
    ReconstructionVAEDetector,
    VAEDetector,
    as_detector,
)

__all__ = ["Detector", "GANomalyDetector", "ReconstructionVAEDetector", "VAEDetector", "as_detector"]
