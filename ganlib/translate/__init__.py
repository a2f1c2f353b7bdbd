"""Translators: estimators that turn examples of one domain into those of another, and back."""

from ganlib.translate.translator import Translator, as_translator

__all__ = ["Translator", "as_translator"]
