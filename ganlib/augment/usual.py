"""What augmentation usually adds, for weighing what few rows measure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ganlib.augment.arms import COPIES, SMOTE, WEIGHTS


@dataclass(frozen=True)
class Usual:
    """The gain in AUPRC of a scarce class over the real rows alone: mean and standard deviation between tables."""

    mean: float
    spread: float


UNKNOWN = Usual(0.0, 0.1)
"""Of a model, or a kind of data, that was not measured: as often harm as gain."""
ARMS: Mapping[str, Usual] = {SMOTE: Usual(-0.005, 0.04), COPIES: Usual(-0.016, 0.04), WEIGHTS: Usual(-0.013, 0.04)}
"""Means over tables with 10 and 50 rows of the class (docs/performance.md)."""
