"""Durations in text, in seconds: ``1 days 02:03:04.5`` as pandas writes them, ``36:15:00``, ISO 8601's ``PT1H30M``.

A layout of durations has the codes ``%d`` (days), ``%H``, ``%M``, ``%S``, and ``%3f`` for a fraction of three digits.
Without ``%d``, hours exceed 23; ``ISO`` is ISO 8601. All forms can be read whatever the layout; it only determines how
generated values are written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

ISO = "ISO"
_CLOCK = re.compile(r"^(?:(-?\d+) days?,? ?)?([+-]?)(\d+):([0-5]\d):([0-5]\d(?:\.(\d+))?)$")
_DAYS = re.compile(r"^(-?\d+) days?$")
_ISO = re.compile(r"^([+-]?)P(?=\d|T\d)(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$")
_LAYOUT = re.compile(r"^(%d days)?(?: ?(%H:%M:%S)(?:\.%([1-9])f)?)?$")


def read_span(text: str) -> float | None:
    """Parse a duration to seconds; None for other text, including years and months, which have no fixed length."""
    if found := _CLOCK.match(text):
        days, sign, hours, minutes, seconds = found.groups()[:5]
        clock = (int(hours) * 60 + int(minutes)) * 60 + float(seconds)
        return int(days or 0) * 86_400.0 + (-clock if sign == "-" else clock)
    if found := _DAYS.match(text):
        return int(found[1]) * 86_400.0
    if found := _ISO.match(text):
        weeks, days, hours, minutes = (int(part or 0) for part in found.groups()[1:5])
        clock = (((weeks * 7 + days) * 24 + hours) * 60 + minutes) * 60 + float(found[6] or 0)
        return -clock if found[1] == "-" else clock
    return None


@dataclass(frozen=True)
class SpanLayout:
    """A format of durations: with or without days and a clock, ``digits`` decimals of seconds, or ISO 8601."""

    days: bool = False
    clock: bool = True
    digits: int = 0
    iso: bool = False
    comma = False

    @classmethod
    def of(cls, layout: str) -> SpanLayout:
        """Parse a layout; raises ValueError if it is not a duration layout."""
        if layout == ISO:
            return cls(days=True, digits=6, iso=True)
        found = _LAYOUT.match(layout)
        if not found or not layout:
            raise ValueError(
                f"{layout!r} is no layout of numbers or durations; write one such as '${{:,.2f}}' or '%d days %H:%M:%S'"
            )
        return cls(bool(found[1]), bool(found[2]), int(found[3] or 0))

    def number(self, text: str) -> str:
        """The text itself: ``read_span`` reads every form."""
        return text

    def write(self, value: float) -> str:
        """Format a finite number of seconds."""
        unit = 10 ** max(0, 6 - self.digits) if self.clock else 86_400_000_000
        stamp = round(value * 1_000_000 / unit) * unit
        if self.iso:
            return ("-" if stamp < 0 else "") + _iso(abs(stamp))
        days, rest = divmod(stamp, 86_400_000_000) if self.days else (0, abs(stamp))
        if not self.clock:
            return f"{days} days"
        before = f"{days} days {'+' if days < 0 else ''}" if self.days else "-" * (stamp < 0)
        seconds, fraction = divmod(rest, 1_000_000)
        clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        return before + clock + (f".{fraction:06d}000"[: self.digits + 1] if self.digits else "")


def _iso(stamp: int) -> str:
    """Format non-negative microseconds in ISO 8601, without zero parts."""
    seconds, fraction = divmod(stamp, 1_000_000)
    parts = (seconds // 86_400, seconds // 3600 % 24, seconds // 60 % 60, seconds % 60)
    last = str(parts[3]) + (f".{fraction:06d}".rstrip("0") if fraction else "")
    clock = "".join(f"{n}{code}" for n, code in ((parts[1], "H"), (parts[2], "M")) if n)
    clock += f"{last}S" if last != "0" else ""
    days = f"{parts[0]}D" if parts[0] else ""
    return f"P{days}T{clock}" if clock else f"P{days or 'T0S'}"


def find_span_layout(texts: Sequence[str]) -> str | None:
    """The layout of these distinct, trimmed texts if all are durations and not all could be times of day, else None.

    Days, a sign, an hour above 23 or ISO 8601 mark durations; ``08:30:00`` alone is a time of day.
    """
    if not texts or any(read_span(text) is None for text in texts):
        return None
    if any(_ISO.match(text) for text in texts):
        return ISO if all(_ISO.match(text) for text in texts) else None
    clocks = [found for text in texts if (found := _CLOCK.match(text))]
    days = any("day" in text for text in texts)
    if not days and not any(found[2] or int(found[3]) > 23 for found in clocks):
        return None
    if not clocks:
        return "%d days"
    digits = min(9, max(len(found[6] or "") for found in clocks))
    return ("%d days " if days else "") + "%H:%M:%S" + (f".%{digits}f" if digits else "")
