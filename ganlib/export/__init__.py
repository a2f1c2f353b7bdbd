"""Exports fitted estimators and trained models as one sealed ONNX file (docs/artifact.md)."""

from ganlib.export.arrays import seal_generator
from ganlib.export.encoder import encoder_of, seal_encoder
from ganlib.export.fingerprint import fingerprint
from ganlib.export.sealed import SealReport, save_sealed, seal
from ganlib.export.translator import seal_translator

__all__ = [
    "SealReport",
    "encoder_of",
    "fingerprint",
    "save_sealed",
    "seal",
    "seal_encoder",
    "seal_generator",
    "seal_translator",
]
