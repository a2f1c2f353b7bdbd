"""Layouts: the formats of numbers, dates and booleans in text columns, used for reading and for writing.

A layout is a string that a person can read and change in the schema file:

- numbers: a Python format with the surrounding text: ``{:.2f}``, ``${:,.2f}``, ``{:.0f} %``, ``{:05d}``. With a decimal
  comma the two marks are exchanged: ``{:,2f}`` writes 0,50 and ``{:.,2f} €`` writes 1.234,50 €;
- durations: the codes of ``serving.table.spans``, ``%d days %H:%M:%S``;
- dates: the codes of strftime, ``%d.%m.%Y %H:%M``. Several layouts, separated by ``|``, are tried in turn for reading;
  the first one is used for writing. ``%3f`` is a fraction of a second with three digits, ``%:z`` an offset with a
  colon, and a final ``Z`` means UTC. A layout without a day, ``%H:%M``, is a time of day;
- booleans: the words for true and false, ``TRUE|FALSE``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from serving.table.spans import SpanLayout

_PATTERN = re.compile(r"^([^{}]*)\{:([+]?)(0?\d*)(,?)(\.\d+)?([df])\}([^{}]*)$")
_NUMBER = re.compile(r"^([+-]?)(\D*?)([+-]?)((?:\d[\d,]*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(\D*)$")
_GROUPED = re.compile(r"^\d{1,3}(,\d{3})+(\.\d*)?$")
_MARK = re.compile(r"^(?:[$€£¥₹₽₩₺₪₫฿₴₦]|[A-Z]{3}|%)$")
_EXPONENT = re.compile(r"[eE]([+-]?\d+)")
_SWAP = str.maketrans(",.", ".,")
_MOST_DECIMALS = 17


@dataclass(frozen=True)
class NumberLayout:
    """The text before and after a number, and its format ``spec``: width, thousands separator and decimals.

    ``comma`` means a decimal comma and a point as thousands separator; ``spec`` is in Python's notation in any case.
    """

    before: str
    spec: str
    after: str
    comma: bool = False

    @classmethod
    def of(cls, layout: str) -> NumberLayout:
        """Parse a layout; raises ValueError if it is not a number layout."""
        found = _PATTERN.match(layout)
        comma = found is None
        found = found or _PATTERN.match(_with_commas(layout))
        if not found:
            raise ValueError(f"{layout!r} is no layout of numbers; write one such as '${{:,.2f}}'")
        before, sign, width, thousands, decimals, kind, after = found.groups()
        return cls(before, f"{sign}{width}{thousands}{decimals or ''}{kind}", after, comma)

    def number(self, text: str) -> str:
        """The plain number in a text, for ``float``; the text itself if it does not follow the layout."""
        out = text.strip()
        sign = ""
        if out[:1] in "+-" and self.before.strip() and out[1:].lstrip().startswith(self.before.strip()):
            sign, out = out[0], out[1:].lstrip()
        if self.before.strip() and out.startswith(self.before.strip()):
            out = out[len(self.before.strip()) :].lstrip()
        if self.after.strip() and out.endswith(self.after.strip()):
            out = out[: -len(self.after.strip())].rstrip()
        if self.comma:
            out = out.translate(_SWAP)
        if "," in out and "," in self.spec and _GROUPED.match(out.lstrip("+-")):
            out = out.replace(",", "")
        return sign + out if not (sign and out[:1] in "+-") else text

    def write(self, value: float) -> str:
        """Format a finite number."""
        whole = self.spec.endswith("d")
        body = format(round(abs(value)) if whole else abs(value), self.spec)
        # Never write -0.00.
        negative = value < 0 and any(c in "123456789" for c in body)
        body = body.translate(_SWAP) if self.comma else body
        return f"{'-' if negative else ''}{self.before}{body}{self.after}"


def _with_commas(layout: str) -> str:
    """The layout with comma and point exchanged inside its braces."""
    return re.sub(r"\{.*?\}", lambda found: found[0].translate(_SWAP), layout)


def number_layout(layout: str | None) -> NumberLayout | SpanLayout | None:
    """Parse the layout of numbers or durations; None if there is none. Raises ValueError for an invalid layout."""
    if not layout:
        return None
    return NumberLayout.of(layout) if "{" in layout else SpanLayout.of(layout)


def find_number_layout(texts: Sequence[str]) -> str | None:
    """The layout shared by these distinct, trimmed texts; None if they are not numbers of one layout.

    Returns an empty string for plain numbers, which need no layout. Text with leading zeros is not a number. Commas
    are decimal marks only if they cannot all separate thousands: ``1,234`` alone is 1234 (``has_two_readings``).
    """
    found = _pointed_layout(texts)
    return _comma_layout(texts) if found is None else found


def has_two_readings(texts: Sequence[str]) -> bool:
    """Whether the commas in numbers could be either thousands separators or decimal marks."""
    return any("," in text for text in texts) and None not in (_pointed_layout(texts), _comma_layout(texts))


def _comma_layout(texts: Sequence[str]) -> str | None:
    """The layout of numbers with decimal commas; None if they have none."""
    if not any("," in text for text in texts):
        return None
    swapped = [text.translate(_SWAP) for text in texts]
    layout = _pointed_layout(swapped)
    if layout == "":
        layout = f"{{:.{min(_MOST_DECIMALS, max(map(_decimals, swapped)))}f}}"
    return None if layout is None else _with_commas(layout)


def _decimals(text: str) -> int:
    """The decimals that a number needs without an exponent."""
    exponent = _EXPONENT.search(text)
    written = _EXPONENT.sub("", text).partition(".")[2]
    return max(0, len(written) - int(exponent[1] if exponent else 0))


def _pointed_layout(texts: Sequence[str]) -> str | None:
    """``find_number_layout`` for numbers with a decimal point."""
    parts = [_NUMBER.match(text) for text in texts]
    if not parts or any(found is None for found in parts):
        return None
    found = [p.groups() for p in parts if p]
    before, after = {p[1] for p in found}, {p[4] for p in found}
    if len(before) > 1 or len(after) > 1 or any(p[0] and p[2] for p in found):
        return None
    first, last = before.pop(), after.pop()
    if not all(_is_mark(mark) for mark in (first, last) if mark.strip()):
        return None
    bodies = [p[3] for p in found]
    grouped = any("," in body for body in bodies)
    if grouped and not all(_GROUPED.match(b) or ("," not in b and len(b.split(".")[0]) <= 3) for b in bodies):
        return None
    if any(len(body.split(".")[0]) > 1 and body[0] == "0" for body in bodies):
        return None
    exponents = any("e" in text.lower().removeprefix(first.lower()) for text in texts) and not (first or last)
    decimals = {len(body.partition(".")[2]) if "." in body else None for body in bodies}
    if len(decimals) == 1 and not exponents:
        places = decimals.pop()
        spec = ("," if grouped else "") + ("d" if places is None else f".{places}f")
    elif first or last or grouped:
        spec = ("," if grouped else "") + f".{max(d or 0 for d in decimals)}f"
    else:
        return ""
    layout = f"{first}{{:{spec}}}{last}"
    return "" if layout in ("{:d}",) else layout


def _is_mark(text: str) -> bool:
    """Whether a text is a currency or a percent sign."""
    return bool(_MARK.match(text.strip()))


# ------------------------------------------------------------------------------------------------ dates
_DAYS = ("%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d", "%d-%m-%Y", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y",
         "%d %B %Y", "%B %d, %Y", "%Y%m%d", "%Y.%m.%d", "%d/%m/%y", "%m/%d/%y")  # fmt: skip
_TIMES = ("", " %H:%M", " %H:%M:%S", "T%H:%M", "T%H:%M:%S", " %H:%M:%S.%f", "T%H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
_ZONES = ("", "Z", "%z", "%:z")
_CLOCKS = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M%p", "%I:%M:%S %p")
_DATE = re.compile(r"\d")
_COLON = re.compile(r"[+-]\d\d:\d\d$")
_FRACTION = re.compile(r"%(\d)f")
_DIGITS = re.compile(r":\d\d\.(\d{1,9})(?!\d)")
_BEYOND = re.compile(r"(:\d\d\.\d{6})(\d{1,3})(?!\d)")  # digits finer than a microsecond
_CLOCK = re.compile(r"^\d{1,2}:\d{2}(?![\d])")
_DAY_CODES = re.compile(r"%[YymdbBj]")


def find_date_layouts(texts: Sequence[str]) -> list[str]:
    """All layouts that parse every one of these distinct texts, in order of preference; empty if there is none.

    If several fit (day/month and month/day), all are returned, and the caller must choose and report it. Times of day
    such as ``8:30`` need at least one hour of two digits; otherwise they may be ratios.
    """
    first = texts[0]
    if not (4 <= len(first) <= 40 and _DATE.search(first)):
        return []
    digits = max((len(match[1]) for text in texts if (match := _DIGITS.search(text))), default=0)
    found = [layout for layout in _candidates(first, digits) if _reads_all(layout, texts)]
    return [layout for layout in found if layout != "%H:%M" or any(text[2:3] == ":" for text in texts)]


def _candidates(text: str, digits: int) -> list[str]:
    """The layouts that parse a text; ``%f`` gets the number of ``digits`` in the column."""
    if _CLOCK.match(text):
        layouts: Iterable[str] = _CLOCKS
    else:
        layouts = (d + t + z for d in _DAYS for t in _TIMES for z in _ZONES if t or not z)
    narrowed = (layout.replace("%f", f"%{digits}f") if digits else layout for layout in layouts)
    return [layout for layout in narrowed if parse_date(text, layout) is not None]


def _reads_all(layout: str, texts: Sequence[str]) -> bool:
    return all(parse_date(text, layout) is not None for text in texts)


def is_clock(layout: str | None) -> bool:
    """Whether a date layout has only a time of day."""
    return bool(layout) and "%" in str(layout) and not _DAY_CODES.search(str(layout))


def parse_date(text: str, layout: str) -> datetime | None:
    """Parse a date by one layout, or return None. A time of day is on 1970-01-01 UTC. Truncates to microseconds."""
    pattern, clock = _FRACTION.sub("%f", layout), is_clock(layout)
    if "%Y%m%d" in pattern and not re.match(r"^\d{8}", text):
        return None
    if clock and ":" in pattern and not _CLOCK.match(text):
        return None
    if (":z" in pattern) != bool(_COLON.search(text)) and "z" in pattern:
        return None
    try:
        moment = datetime.strptime(_BEYOND.sub(r"\1", text), pattern.replace("%:z", "%z"))
    except ValueError:
        return None
    if clock:
        return moment.replace(year=1970, month=1, day=1, tzinfo=UTC)
    return moment.replace(tzinfo=UTC) if layout.endswith("Z") else moment


def is_cut(text: str) -> bool:
    """Whether a date has nonzero digits beyond microseconds."""
    return bool((found := _BEYOND.search(text)) and found[2].strip("0"))


def write_date(moment: datetime, layout: str) -> str:
    """Format a date by a layout."""
    found = _FRACTION.search(layout)
    if found:
        digits = int(found[1])
        layout = layout.replace(found[0], f"{moment.microsecond:06d}000"[:digits])
    # On some systems strftime omits the leading zeros of years before 1000.
    out = moment.strftime(layout.replace("%:z", "%z").replace("%Y", f"{moment.year:04d}"))
    return re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", out) if layout.endswith("%:z") else out


def resolution(layout: str) -> int:
    """The resolution of a date layout in microseconds."""
    if found := _FRACTION.search(layout):
        return 10 ** max(0, 6 - int(found[1]))
    for code, unit in (("%f", 1), ("%S", 1_000_000), ("%M", 60_000_000), ("%H", 3_600_000_000)):
        if code in layout:
            return unit
    return 3_600_000_000 if "%I" in layout else 86_400_000_000


# ------------------------------------------------------------------------------------------------ grids
def find_step(values: Sequence[float], most_decimals: int = 6) -> float | None:
    """The largest step of which all finite values are multiples; None if there is none.

    The step is at least 1e-6. Needs 20 values, 5 of them distinct, so that the grid is unlikely to be a coincidence.
    """
    array = np.unique(np.asarray(values, dtype=np.float64))
    array = array[np.isfinite(array)]
    if len(values) < 20 or len(array) < 5 or np.abs(array).max() > 1e12:
        return None
    for decimals in range(most_decimals + 1):
        scaled = array * 10.0**decimals
        if np.abs(scaled).max() >= 2**53:
            return None
        whole = np.round(scaled)
        if (np.abs(scaled - whole) <= 1e-9 * np.maximum(1.0, np.abs(scaled))).all():
            unit = int(np.gcd.reduce(np.abs(whole).astype(np.int64)))
            return unit / 10**decimals if unit else None
    return None


def parts_of(step: float) -> tuple[int, int]:
    """A step as (multiple, decimals): 0.05 is (5, 2). Rounding by these avoids results such as 0.30000000000000004."""
    for decimals in range(13):
        if math.isclose(step * 10**decimals, round(step * 10**decimals), rel_tol=1e-9) and round(step * 10**decimals):
            return round(step * 10**decimals), decimals
    return 1, 12


def on_grid(values: np.ndarray, step: float) -> np.ndarray:
    """Round to multiples of a step, without binary noise in the last digits."""
    multiple, decimals = parts_of(step)
    return np.round(values * 10.0**decimals / multiple) * multiple / 10.0**decimals
