"""Augmenters with imbalanced-learn's manners."""

from ganlib.augment.base import MARK, Augmenter, mark
from ganlib.augment.estimators import (
    CGANAugmenter,
    CVAEAugmenter,
    CVAEGANAugmenter,
    VAEAugmenter,
    as_augmenter,
)

__all__ = [
    "MARK",
    "Augmenter",
    "CGANAugmenter",
    "CVAEAugmenter",
    "CVAEGANAugmenter",
    "VAEAugmenter",
    "as_augmenter",
    "mark",
]
