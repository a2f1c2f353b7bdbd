"""From a fitted estimator to one sealed ONNX file (docs/artifact.md)."""

from ganlib.export.fingerprint import fingerprint
from ganlib.export.sealed import SealReport, seal

__all__ = ["SealReport", "fingerprint", "seal"]
