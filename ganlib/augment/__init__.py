"""Augmenters with the interface of imbalanced-learn's over-samplers."""

from ganlib.augment.adapters import as_augmenter
from ganlib.augment.auto import AutoAugmenter
from ganlib.augment.base import BaseAugmenter
from ganlib.augment.estimators import (
    Augmenter,
    CGANAugmenter,
    CVAEAugmenter,
    CVAEGANAugmenter,
    VAEAugmenter,
)
from ganlib.augment.lift import Lift, measure_lift
from ganlib.augment.stacking import MARK, mark

__all__ = [
    "MARK",
    "Augmenter",
    "AutoAugmenter",
    "BaseAugmenter",
    "CGANAugmenter",
    "CVAEAugmenter",
    "CVAEGANAugmenter",
    "Lift",
    "VAEAugmenter",
    "as_augmenter",
    "mark",
    "measure_lift",
]
