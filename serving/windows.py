"""How rows of a table of readings become windows: series of the last ``length`` rows of one key, in the order of time.

A *run* is a stretch of one key's rows without a gap. A window lies within one run, and belongs to its last row. A gap
is a difference between two successive times of more than ``largest_gap`` steps; smaller irregularities are accepted.
Training, batch and stream form windows by this module alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from serving.levels import MOST_LEVELS, Levels
from serving.opening.entries import Entry, Name, Names, Positive, Zone

LARGEST_GAP = 5.0
FIRST, GAP = "first", "gap"  # why a row ends no window
WAITING = {FIRST: "among the first rows of a key", GAP: "after a gap"}
REPEATED = "is a time that this key has had before; keep one of the rows"


class Windows(Entry):
    """The windows that a model reads.

    - ``time``: column of times, by ``clock`` numbers, or dates and times; ``timezone`` is that of times without one.
    - ``key``: column that separates machines or patients; None if all rows belong to one.
    - ``channels``: columns of numbers, in the order of the model's channels; ``length``: rows of a window.
    - ``step``: the usual difference between successive times, in seconds for dates; ``largest_gap``: in steps.
    - ``levels``: what the values of each key are read relative to; None if they are read unchanged.
    """

    time: Name
    key: Name | None
    channels: Annotated[Names, Field(min_length=1)]
    length: Positive
    step: Annotated[float, Field(gt=0)]
    largest_gap: Annotated[float, Field(ge=1)] = LARGEST_GAP
    clock: Literal["number", "date"]
    timezone: Zone = "UTC"
    levels: Levels | None = None

    @model_validator(mode="after")
    def _distinct(self) -> Windows:
        if len(set(self.names)) < len(self.names):
            raise ValueError("names a column twice")
        return self

    @model_validator(mode="after")
    def _levels_fit(self) -> Windows:
        levels = self.levels
        if levels is None:
            return self
        if self.key is None or levels.channels != len(self.channels):
            raise ValueError(f"levels need a key, and one number for each of {len(self.channels)} channels")
        if len(levels.keys) > MOST_LEVELS:
            raise ValueError(f"levels of {len(levels.keys):,} keys, more than {MOST_LEVELS:,}")
        return self

    def entry(self) -> dict[str, Any]:
        """The entry of a sealed file; without levels it is that of earlier releases."""
        return self.model_dump(mode="json", exclude={"levels"} if self.levels is None else None)

    @property
    def names(self) -> list[str]:
        """The columns: time, key if there is one, channels."""
        return [self.time, *([self.key] if self.key is not None else []), *self.channels]

    @property
    def longest(self) -> float:
        """The largest difference between successive times of a run, in the unit of ``Readings.times``."""
        unit = 1e6 if self.clock == "date" else 1.0
        return self.largest_gap * self.step * unit * (1 + 1e-9)  # decimal times are rounded

    def relative(self, keys: Sequence[str] | np.ndarray, values: np.ndarray) -> np.ndarray:
        """Values ``(n, channels)`` or windows ``(n, channels, length)`` of these keys as the model reads them."""
        return values if self.levels is None else self.levels.relative(keys, values)

    def unseen(self, keys: Sequence[str] | np.ndarray) -> np.ndarray:
        """Which of these keys have no level of their own, bool ``(n,)``; none if the model has no levels."""
        return np.zeros(len(keys), dtype=bool) if self.levels is None else self.levels.unseen(keys)

    def table(self) -> dict[str, Any]:
        """The columns as a table's schema, by which values are read as in any table."""
        kinds = {self.time: "date" if self.clock == "date" else "number"}
        kinds |= {} if self.key is None else {self.key: "category"}
        columns = [{"name": n, "input": n, "kind": kinds.get(n, "number"), "role": "feature"} for n in self.names]
        return {"timezone": self.timezone, "missing_words": None, "columns": columns}


@dataclass(frozen=True)
class Readings:
    """The k readable rows of a table.

    ``rows`` are their positions ``(k,)``, ``keys`` text ``(k,)``, ``times`` float64 ``(k,)`` (microseconds since 1970
    for dates) and ``values`` float64 ``(k, channels)``. ``bad`` holds position, column and reason of the other rows.
    """

    rows: np.ndarray
    keys: np.ndarray
    times: np.ndarray
    values: np.ndarray
    bad: list[tuple[int, str, str]]


def joined(parts: Sequence[Readings]) -> Readings:
    """Readings of several parts of one table, at least one."""
    arrays = {n: np.concatenate([getattr(part, n) for part in parts]) for n in ("rows", "keys", "times", "values")}
    return Readings(**arrays, bad=sorted(bad for part in parts for bad in part.bad))


@dataclass(frozen=True)
class Runs:
    """Rows by key and time: ``order`` holds positions ``(k,)``, ``start`` where in it the run of each begins.

    ``first`` says for each whether its run is the first of its key.
    """

    order: np.ndarray
    start: np.ndarray
    first: np.ndarray

    def complete(self, places: np.ndarray, length: int) -> np.ndarray:
        """Whether the rows at these places of ``order`` end a window of this length, bool ``(n,)``."""
        return places - self.start[places] >= length - 1

    def members(self, places: np.ndarray, length: int) -> np.ndarray:
        """The rows of the windows that end at these places of ``order``, positions ``(n, length)``."""
        found: np.ndarray = self.order[places[:, None] + np.arange(1 - length, 1)]
        return found

    def reach(self, places: np.ndarray, length: int) -> tuple[int, int] | None:
        """The first row and the end (exclusive) of all rows in the windows that end at these places, or None."""
        ends = places[self.complete(places, length)]
        if not len(ends):
            return None
        # One more window goes on over a place for each that begins there, one fewer after each end.
        over = np.zeros(len(self.order) + 1, np.int64)
        np.add.at(over, ends - length + 1, 1)
        np.add.at(over, ends + 1, -1)
        rows = self.order[np.cumsum(over)[:-1] > 0]
        return int(rows.min()), int(rows.max()) + 1

    def waiting(self, places: np.ndarray, length: int) -> dict[str, np.ndarray]:
        """Which of these places end no window, as indices by reason; reasons without any are left out."""
        idle = np.flatnonzero(~self.complete(places, length))
        first = self.first[places[idle]]
        found = {FIRST: idle[first], GAP: idle[~first]}
        return {reason: rows for reason, rows in found.items() if len(rows)}


def runs_of(codes: np.ndarray, times: np.ndarray, longest: float) -> tuple[Runs, np.ndarray]:
    """The runs of rows with key ``codes (k,)`` and ``times (k,)``, and the rows that repeat a time of their key.

    Rows may come in any order. Of several rows with one time, the first is used.
    """
    order = np.lexsort((times, codes))
    same_key = np.diff(codes[order], prepend=-1) == 0
    repeats = same_key & (np.diff(times[order], prepend=np.nan) == 0)
    repeated, order = np.sort(order[repeats]), order[~repeats]
    new_key = np.diff(codes[order], prepend=-1) != 0
    new_run = new_key | (np.diff(times[order], prepend=0.0) > longest)
    start = np.maximum.accumulate(np.where(new_run, np.arange(len(order)), 0))
    return Runs(order, start, new_key[start] if len(order) else new_key), repeated


def usual_step(codes: np.ndarray, times: np.ndarray) -> float | None:
    """The median difference between successive different times of a key; None if no key has two."""
    order = np.lexsort((times, codes))
    steps = np.diff(times[order])[np.diff(codes[order]) == 0]
    steps = steps[steps > 0]
    return float(np.median(steps)) if len(steps) else None


def windows_of(metadata: Mapping[str, Any]) -> Windows | None:
    """The entry ``windows`` of a sealed file's validated metadata, None if it has none."""
    entry = metadata.get("windows")
    return None if entry is None else Windows.model_validate(entry)
