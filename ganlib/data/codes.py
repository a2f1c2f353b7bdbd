"""The code of a column: parameters shared by the encoder, its inverse and the sealed graph."""

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
    """How one raw column is encoded in positions ``start`` to ``start + width`` of a row.

    - ``center``, ``scale``: of numbers and dates; for text, tuples with one value per feature.
    - ``median``: the encoded value that replaces a missing one (the mode for booleans).
    - ``has_rare``, ``has_missing``: the extra one-hot positions of a category.
    - ``missing_position``: the position of the missing-value flag.
    - ``reference``: the column's part of the reference row.
    - ``position``, ``cycles``: whether a date's position in time is encoded, and its cycles, with two positions each.
    - ``gap_from``: the input of another date; the time since then, in seconds, has one position before the cycles.
    - ``knots``, ``scores``: the piecewise linear map to normal scores, for generation (``ganlib.data.normal_scores``).
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
        """The first position of the cycles."""
        return self.start + self.width - 2 * len(self.cycles)

    @property
    def gap_position(self) -> int:
        """The position of the gap, if there is one."""
        return self.first_cycle - 1

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ColumnCode:
        """Parse JSON values; raises ConfigError for unknown keys.

        ``cyclic: true``, written by earlier releases, means the cycles day and week.
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
