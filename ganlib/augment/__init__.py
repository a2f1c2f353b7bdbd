"""Augmenters with imbalanced-learn's manners."""

from ganlib.augment.base import MARK, Augmenter, mark
from ganlib.augment.estimators import (
    CGANAugmenter,
    CVAEAugmenter,
    CVAEGANAugmenter,
    VAEAugmenter,
    as_augmenter,
)
from ganlib.augment.lift import Lift, measure_lift

__all__ = [
    "MARK",
    "Augmenter",
    "CGANAugmenter",
    "CVAEAugmenter",
    "CVAEGANAugmenter",
    "Lift",
    "VAEAugmenter",
    "as_augmenter",
    "mark",
    "measure_lift",
]
