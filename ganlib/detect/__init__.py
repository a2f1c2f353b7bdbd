"""Detectors with the interface of scikit-learn's outlier detectors."""

from ganlib.detect.adapters import as_detector
from ganlib.detect.auto import AutoDetector
from ganlib.detect.base import BaseDetector
from ganlib.detect.estimators import Detector, GANomalyDetector, ReconstructionVAEDetector, VAEDetector
from ganlib.detect.pyod_adapter import PyODAdapter, to_pyod
from ganlib.detect.search import search_scores
from ganlib.detect.selection import Comparison, compare_detectors, contrast, permuted_columns

__all__ = [
    "AutoDetector",
    "BaseDetector",
    "Comparison",
    "Detector",
    "GANomalyDetector",
    "PyODAdapter",
    "ReconstructionVAEDetector",
    "VAEDetector",
    "as_detector",
    "compare_detectors",
    "contrast",
    "permuted_columns",
    "search_scores",
    "to_pyod",
]
