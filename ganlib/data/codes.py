"""How one column is coded: what the encoder, its inverse and the sealed graph share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ganlib.errors import ConfigError

LIMIT = 10.0
HUGE = float(np.finfo(np.float64).max)  # a z-score that overflowed is read as this


@dataclass(frozen=True)
class ColumnCode:
    """How one raw column becomes positions ``start .. start + width`` of a row.

    ``center``, ``scale``, ``median`` apply to numbers and dates (median is in encoded units, what a missing value
    becomes; for booleans it is the mode); for text the first two are tuples, one value a feature. ``has_rare`` and
    ``has_missing`` say which extra one-hot positions a category has; ``missing_position`` is the flag's position;
    ``reference`` is the column's part of the reference row. ``cycles`` are those of a date, two positions each at the
    end; without ``position`` they are all that is read of its own. ``gap_from`` is the input of another date since
    which the time is read, in seconds, at one position before the cycles. ``knots``/``scores`` (generation) map raw
    values to normal scores, piecewise linearly (``ganlib.data.normal_scores``).
    """

    column: str
    input: str
    kind: str
    start: int
    width: int
    center: float | tuple[float, ...] = 0.0
    scale: float | tuple[float, ...] = 1.0
    median: float = 0.0
    categories: tuple[str, ...] = ()
    has_rare: bool = False
    has_missing: bool = False
    missing_position: int | None = None
    position: bool = True
    cycles: tuple[str, ...] = ()
    gap_from: str = ""
    gap_center: float = 0.0
    gap_scale: float = 1.0
    gap_median: float = 0.0
    reference: tuple[float, ...] = ()
    knots: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()

    @property
    def first_cycle(self) -> int:
        """Where the positions of the cycles begin."""
        return self.start + self.width - 2 * len(self.cycles)

    @property
    def gap_position(self) -> int:
        """Where the gap lies, if there is one."""
        return self.first_cycle - 1

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ColumnCode:
        """From JSON values; raises ConfigError on unknown keys.

        ``cyclic: true``, as it was written before there were cycles, stands for day and week.
        """
        if "cyclic" in values:
            cycles = ("day", "week") if values["cyclic"] else ()
            values = {k: v for k, v in values.items() if k != "cyclic"} | {"cycles": cycles}
        if unknown := set(values) - {f.name for f in fields(cls)}:
            raise ConfigError(f"the column code has unknown keys: {', '.join(sorted(unknown))}")
        read: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**read)


def soft_clip(z: np.ndarray) -> np.ndarray:
    """Linear within ±LIMIT, logarithmic beyond; continuous and increasing."""
    size = np.abs(z)
    return np.where(size <= LIMIT, z, np.sign(z) * (LIMIT + LIMIT * np.log(np.clip(size, LIMIT, HUGE) / LIMIT)))


def soft_unclip(z: np.ndarray) -> np.ndarray:
    """Inverse of ``soft_clip``, capped at e^5 times the limit."""
    size = np.abs(z)
    grown = LIMIT * np.exp(np.minimum(size / LIMIT - 1.0, 5.0))
    return np.where(size <= LIMIT, z, np.sign(z) * grown)
