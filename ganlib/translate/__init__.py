"""Translators: estimators that turn examples of one domain into those of another, and back."""

from ganlib.translate.measure import Measured, measure_translation
from ganlib.translate.translator import Translator, as_translator

__all__ = ["Measured", "Translator", "as_translator", "measure_translation"]
