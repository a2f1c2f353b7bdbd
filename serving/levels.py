"""The level of each key: what is usual for a machine, which windows are read relative to.

Machines of one kind differ in their offsets and in how much they vary, often by more than a fault moves them. A level
is a centre and a scale of each channel, learned from training rows. ``Levels.relative`` is the one function that
applies levels, in training, batch and stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from serving.opening.entries import Entry, Names

MOST_LEVELS = 10_000
Row = list[float]
Positives = list[Annotated[float, Field(gt=0)]]


class Levels(Entry):
    """Centres and scales, rows by key, columns by channel; ``centre`` and ``scale`` are those of all other keys."""

    keys: Annotated[Names, Field(min_length=1)]
    centres: list[Row]
    scales: list[Positives]
    centre: Row
    scale: Positives

    @model_validator(mode="after")
    def _agrees(self) -> Levels:
        for name, rows in (("centres", self.centres), ("scales", self.scales)):
            if len(rows) != len(self.keys) or {len(row) for row in rows} != {len(self.centre)}:
                raise ValueError(f"{name} are not one row for each key, of one number for each channel")
        if len(self.scale) != len(self.centre):
            raise ValueError("centre and scale differ in their channels")
        return self

    def __eq__(self, other: object) -> bool:
        # Not by ``__dict__``, which also holds the arrays.
        return isinstance(other, Levels) and self.model_dump() == other.model_dump()

    __hash__ = None  # type: ignore[assignment]

    @property
    def channels(self) -> int:
        """The number of channels."""
        return len(self.centre)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {key: place for place, key in enumerate(self.keys)}

    @cached_property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Centres and scales ``(keys + 1, channels)``; the last row is for keys that are not known."""
        return np.array([*self.centres, self.centre]), np.array([*self.scales, self.scale])

    def _rows(self, keys: Sequence[str] | np.ndarray) -> np.ndarray:
        places, other = self._places, len(self.keys)
        return np.fromiter((places.get(key, other) for key in keys), np.int64, len(keys))

    def unseen(self, keys: Sequence[str] | np.ndarray) -> np.ndarray:
        """Which of these keys had no training rows, bool ``(n,)``."""
        return self._rows(keys) == len(self.keys)

    def relative(self, keys: Sequence[str] | np.ndarray, values: np.ndarray) -> np.ndarray:
        """Values ``(n, channels)`` or windows ``(n, channels, length)``, relative to the levels of their keys."""
        centre, scale = self._of(keys, values)
        found: np.ndarray = (values - centre) / scale
        return found

    def absolute(self, keys: Sequence[str] | np.ndarray, values: np.ndarray) -> np.ndarray:
        """The inverse of ``relative``."""
        centre, scale = self._of(keys, values)
        found: np.ndarray = values * scale + centre
        return found

    def _of(self, keys: Sequence[str] | np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows, (centres, scales) = self._rows(keys), self._arrays
        shape = (len(rows), self.channels, *[1] * (values.ndim - 2))
        return centres[rows].reshape(shape), scales[rows].reshape(shape)
