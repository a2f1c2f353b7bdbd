"""The kinds of sealed models. A kind is one file of this folder and one row of ``_ROWS``."""

from __future__ import annotations

from serving.opening.kinds.array_detector import ArrayDetector
from serving.opening.kinds.arrays import Arrays
from serving.opening.kinds.augmenter import Augmenter
from serving.opening.kinds.base import SealedModel
from serving.opening.kinds.density import ArrayDensity, TableDensity
from serving.opening.kinds.detector import Detector
from serving.opening.kinds.table_translator import TableTranslator
from serving.opening.kinds.translator import Translator

__all__ = [
    "KINDS",
    "ArrayDensity",
    "ArrayDetector",
    "Arrays",
    "Augmenter",
    "Detector",
    "SealedModel",
    "TableDensity",
    "TableTranslator",
    "Translator",
]

# The metadata entry ``kind``, the modalities, and the class.
_ROWS: tuple[tuple[str, tuple[str, ...], type[SealedModel]], ...] = (
    ("detector", ("table",), Detector),
    ("detector", ("image", "series"), ArrayDetector),
    ("augmenter", ("table",), Augmenter),
    ("augmenter", ("image", "series", "points"), Arrays),
    ("encoder", ("image", "series", "points"), Arrays),
    ("translator", ("table",), TableTranslator),
    ("translator", ("image", "series"), Translator),
    ("density", ("table",), TableDensity),
    ("density", ("image", "series"), ArrayDensity),
)
KINDS = {(kind, modality): model for kind, modalities, model in _ROWS for modality in modalities}
