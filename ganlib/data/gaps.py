"""Gaps between two dates of a row: the time from one to the other, used by detectors in addition to cycles.

For example, a trip of thirty hours has an ordinary start and an ordinary end. ``gap_from`` of a date names the start of
its gap. The gap is signed, in seconds, and missing if either date is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from ganlib.data.column import Column
from ganlib.data.values import NO_DATE, as_microseconds
from ganlib.errors import ConfigError
from serving.table.layouts import is_clock

LEAST_ROWS = 20  # rows with both dates needed to detect a steady gap
STEADY = 0.1  # largest spread of a steady gap, relative to the spread of either date


def is_date(column: Column) -> bool:
    """Whether a column holds dates, not only times of day."""
    return column.kind == "date" and not is_clock(column.layout)


def without_gaps(columns: Iterable[Column]) -> tuple[Column, ...]:
    """The columns, without gaps from dates that are not features among them."""
    columns = tuple(columns)
    dates = {c.name for c in columns if c.role == "feature" and is_date(c)}
    return tuple(replace(c, gap_from=None) if c.gap_from and c.gap_from not in dates else c for c in columns)


def check_gaps(columns: Sequence[Column]) -> None:
    """Raise ConfigError unless every gap is between two different date features."""
    dates = [c.name for c in columns if c.role == "feature" and is_date(c)]
    for column in columns:
        if column.gap_from is None or column.role != "feature":
            continue
        if not is_date(column):
            raise ConfigError(f"column {column.name!r}: gap_from is for dates; take it out")
        if column.gap_from == column.name or column.gap_from not in dates:
            others = ", ".join(repr(name) for name in dates if name != column.name) or "there are none"
            raise ConfigError(
                f"column {column.name!r}: gap_from must name another date with the role feature ({others}), not "
                f"{column.gap_from!r}; change it, or take it out"
            )


def gaps(feed: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Seconds from ``start`` to ``feed``, both int64 microseconds; NaN if either is missing."""
    lacks = (feed == NO_DATE) | (start == NO_DATE)
    return np.where(lacks, np.nan, (feed - start).astype(np.float64) / 1e6)


def with_gaps(columns: Sequence[Column], frame: pd.DataFrame, timezone: str) -> list[Column]:
    """Set ``gap_from`` of each date to the earlier listed date with the steadiest gap, if there is one."""
    dates = [c for c in columns if c.role == "feature" and is_date(c)]
    feeds = {c.name: as_microseconds(frame[c.name], c.timezone or timezone, layout=c.layout) for c in dates}
    starts = {c.name: _start(feeds, c.name, [d.name for d in dates[:place]]) for place, c in enumerate(dates)}
    return [replace(c, gap_from=start) if (start := starts.get(c.name)) else c for c in columns]


def _start(feeds: dict[str, np.ndarray], name: str, earlier: Iterable[str]) -> str | None:
    steadiest = {other: found for other in earlier if (found := _unsteadiness(feeds[name], feeds[other])) <= STEADY}
    return min(steadiest, key=lambda other: steadiest[other], default=None)


def _unsteadiness(feed: np.ndarray, start: np.ndarray) -> float:
    """Spread of the gap relative to the smaller spread of the two dates; infinite if that is not informative."""
    both = (feed != NO_DATE) & (start != NO_DATE)
    spreads = [_spread(values[both]) for values in (feed, start)]
    if both.sum() < LEAST_ROWS or min(spreads) <= 0:
        return np.inf
    return _spread(feed[both] - start[both]) / min(spreads)


def _spread(values: np.ndarray) -> float:
    """The range of the middle 90% of the values."""
    return float(np.subtract(*np.quantile(values.astype(np.float64), (0.95, 0.05)))) if len(values) else 0.0
