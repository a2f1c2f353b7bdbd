"""The dates that a column's type can represent: days, seconds, its layout's resolution, or starts of periods."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from serving.table.layouts import resolution
from serving.table.values import NO_DATE, localised
from serving.table.zones import fixed

SECOND, DAY = 1_000_000, 86_400_000_000
TEXTS = ("object", "str", "string", "large_string")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_PERIOD = re.compile(r"^period\[([A-Za-z]+)(?:-([A-Z]{3}))?\]")
_CLOCKS = {"D": DAY, "h": 3600 * SECOND, "min": 60 * SECOND, "s": SECOND, "ms": 1000}


@dataclass(frozen=True)
class Moments:
    """Dates in microseconds UTC on a grid in local time; ``unit`` is at least the gap between neighbours."""

    unit: int
    timezone: str
    start: Callable[[np.ndarray], np.ndarray] | None = None  # local microseconds to the start of their period

    @classmethod
    def of(cls, dtype: str, layout: str | None, timezone: str) -> Moments:
        """The grid of a dtype name and a layout (``serving.table.decode``)."""
        base, *marks = dtype.split(":")
        if layout:
            first = layout.partition("|")[0]
            return cls(resolution(first), "UTC" if first.endswith("Z") else timezone)
        if found := _PERIOD.match(base):
            return _periods(found[1], found[2] or "", timezone)
        if {"day", "date"} & set(marks) or base.startswith(("date32", "date64")):
            return cls(DAY, timezone)
        if {"second", "utc"} & set(marks) or (base.startswith(TEXTS) and not marks):
            return cls(SECOND, timezone)
        return cls(unit_of(base), timezone)

    def near(self, stamps: np.ndarray) -> np.ndarray:
        """Round to the nearest dates on the grid; for periods, to the start of the surrounding period."""
        out = stamps.astype(np.int64)
        if self.unit == 1:
            return out
        whole = out != NO_DATE
        local = _local(out[whole], self.timezone)
        local = (local + self.unit // 2) // self.unit * self.unit if self.start is None else self.start(local)
        out[whole] = _utc(local, self.timezone)
        return out


def unit_of(dtype: str) -> int:
    """The unit of a type such as ``datetime64[s]`` in microseconds, at least 1."""
    found = re.search(r"\[(s|ms)\b", dtype)
    return _CLOCKS[found[1]] if found else 1


def _periods(frequency: str, anchor: str, timezone: str) -> Moments:
    if frequency in _CLOCKS:
        return Moments(_CLOCKS[frequency], timezone)
    if frequency == "W":
        return Moments(7 * DAY, timezone, lambda local: _weeks(local, _DAYS.index(anchor or "SUN") + 1))
    months = {"M": 1, "Q": 3, "Y": 12, "A": 12}.get(frequency)
    if months is None:
        return Moments(unit_of(frequency), timezone)
    first = (_MONTHS.index(anchor or "DEC") + 1) % months
    return Moments(31 * months * DAY, timezone, lambda local: _months(local, months, first))


def _weeks(local: np.ndarray, weekday: int) -> np.ndarray:
    days = local // DAY
    return (days - (days + 3 - weekday) % 7) * DAY  # 1970 began on a Thursday


def _months(local: np.ndarray, months: int, first: int) -> np.ndarray:
    number = local.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)
    start = number - (number - first) % months
    return start.astype("datetime64[M]").astype("datetime64[us]").astype(np.int64)


def _local(stamps: np.ndarray, timezone: str) -> np.ndarray:
    """Convert microseconds UTC to microseconds in local time."""
    if timezone == "UTC" or not len(stamps):
        return stamps
    if (offset := fixed(timezone)) is not None:
        return stamps + int(offset.utcoffset(None).total_seconds() * SECOND)
    return pc.local_timestamp(pa.array(stamps, pa.timestamp("us", timezone))).cast(pa.int64()).to_numpy()


def _utc(local: np.ndarray, timezone: str) -> np.ndarray:
    if timezone == "UTC" or not len(local):
        return local
    return localised(pa.array(local, pa.timestamp("us")), timezone).cast(pa.int64()).to_numpy()
