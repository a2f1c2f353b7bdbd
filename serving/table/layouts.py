"""How numbers, dates and booleans are written in a column of text: read by it, and written by it again.

A layout is a string that a person can read and change in the schema file:

- numbers: Python's format of one value with what stands around it: ``{:.2f}``, ``${:,.2f}``, ``{:.0f} %``, ``{:05d}``;
  with a decimal comma the two marks change places: ``{:,2f}`` writes 0,50 and ``{:.,2f} €`` writes 1.234,50 €;
- durations: codes of ``serving.table.spans``, ``%d days %H:%M:%S``;
- dates: strftime's codes, ``%d.%m.%Y %H:%M``; several, separated by ``|``, are tried in turn, and the first writes.
  ``%3f`` is a fraction of a second of three digits, ``%:z`` an offset with a colon, a last ``Z`` means UTC. Without a
  day, ``%H:%M``, they are times of day;
- booleans: the word for true and the word for false, ``TRUE|FALSE``.
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
    """What stands before and after a number, its width, its separator of thousands and its decimals.

    ``comma``: the decimal mark is a comma and the separator of thousands a point; ``spec`` has them as Python does.
    """

    before: str
    spec: str
    after: str
    comma: bool = False

    @classmethod
    def of(cls, layout: str) -> NumberLayout:
        """Read a layout; raises ValueError on what is none."""
        found = _PATTERN.match(layout)
        comma = found is None
        found = found or _PATTERN.match(_with_commas(layout))
        if not found:
            raise ValueError(f"{layout!r} is no layout of numbers; write one such as '${{:,.2f}}'")
        before, sign, width, thousands, decimals, kind, after = found.groups()
        return cls(before, f"{sign}{width}{thousands}{decimals or ''}{kind}", after, comma)

    def number(self, text: str) -> str:
        """The plain number in a text, for ``float``; the text itself where it is not written like this."""
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
        """A finite number as the column writes it."""
        whole = self.spec.endswith("d")
        body = format(round(abs(value)) if whole else abs(value), self.spec)
        # -0.00 is no value that anybody writes.
        negative = value < 0 and any(c in "123456789" for c in body)
        body = body.translate(_SWAP) if self.comma else body
        return f"{'-' if negative else ''}{self.before}{body}{self.after}"


def _with_commas(layout: str) -> str:
    """The layout with comma and point exchanged within its braces."""
    return re.sub(r"\{.*?\}", lambda found: found[0].translate(_SWAP), layout)


def number_layout(layout: str | None) -> NumberLayout | SpanLayout | None:
    """The layout of a column of numbers or durations; None where there is none. Raises ValueError on what is none."""
    if not layout:
        return None
    return NumberLayout.of(layout) if "{" in layout else SpanLayout.of(layout)


def find_number_layout(texts: Sequence[str]) -> str | None:
    """The layout that all of these distinct, trimmed texts share; None where they share none.

    Plain numbers of different lengths have none (an empty string); leading zeros are no numbers. Commas are decimal
    marks only where they cannot all separate thousands: ``1,234`` alone is 1234 (``has_two_readings``).
    """
    found = _pointed_layout(texts)
    return _comma_layout(texts) if found is None else found


def has_two_readings(texts: Sequence[str]) -> bool:
    """Whether the commas of numbers may separate thousands or decimals."""
    return any("," in text for text in texts) and None not in (_pointed_layout(texts), _comma_layout(texts))


def _comma_layout(texts: Sequence[str]) -> str | None:
    """The layout of numbers with decimal commas; None where they have none."""
    if not any("," in text for text in texts):
        return None
    swapped = [text.translate(_SWAP) for text in texts]
    layout = _pointed_layout(swapped)
    if layout == "":
        layout = f"{{:.{min(_MOST_DECIMALS, max(map(_decimals, swapped)))}f}}"
    return None if layout is None else _with_commas(layout)


def _decimals(text: str) -> int:
    """The decimals that a plain number needs when it is written without an exponent."""
    exponent = _EXPONENT.search(text)
    written = _EXPONENT.sub("", text).partition(".")[2]
    return max(0, len(written) - int(exponent[1] if exponent else 0))


def _pointed_layout(texts: Sequence[str]) -> str | None:
    """``find_number_layout`` of numbers whose decimal mark is a point."""
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
    """A currency, or a percent sign."""
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
    """Every layout by which all of these distinct texts are dates, in the order they are tried; empty where none is.

    Two layouts that both fit (day/month and month/day) come back both: whoever asks must choose and say so. Times of
    day such as ``8:30`` need an hour of two digits among them; otherwise they may be ratios.
    """
    first = texts[0]
    if not (4 <= len(first) <= 40 and _DATE.search(first)):
        return []
    digits = max((len(match[1]) for text in texts if (match := _DIGITS.search(text))), default=0)
    found = [layout for layout in _candidates(first, digits) if _reads_all(layout, texts)]
    return [layout for layout in found if layout != "%H:%M" or any(text[2:3] == ":" for text in texts)]


def _candidates(text: str, digits: int) -> list[str]:
    """Layouts that read a text; ``%f`` has the ``digits`` of its column."""
    if _CLOCK.match(text):
        layouts: Iterable[str] = _CLOCKS
    else:
        layouts = (d + t + z for d in _DAYS for t in _TIMES for z in _ZONES if t or not z)
    narrowed = (layout.replace("%f", f"%{digits}f") if digits else layout for layout in layouts)
    return [layout for layout in narrowed if parse_date(text, layout) is not None]


def _reads_all(layout: str, texts: Sequence[str]) -> bool:
    return all(parse_date(text, layout) is not None for text in texts)


def is_clock(layout: str | None) -> bool:
    """Whether a layout of dates writes times of day alone."""
    return bool(layout) and "%" in str(layout) and not _DAY_CODES.search(str(layout))


def parse_date(text: str, layout: str) -> datetime | None:
    """A date by one layout, or None; a time of day is on 1970-01-01 in UTC. Cut to microseconds."""
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
    """Whether a date has digits other than zero that are finer than a microsecond."""
    return bool((found := _BEYOND.search(text)) and found[2].strip("0"))


def write_date(moment: datetime, layout: str) -> str:
    """A date as a column writes it."""
    found = _FRACTION.search(layout)
    if found:
        digits = int(found[1])
        layout = layout.replace(found[0], f"{moment.microsecond:06d}000"[:digits])
    # strftime writes years before 1000 without their zeros on some systems.
    out = moment.strftime(layout.replace("%:z", "%z").replace("%Y", f"{moment.year:04d}"))
    return re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", out) if layout.endswith("%:z") else out


def resolution(layout: str) -> int:
    """The microseconds between two neighbouring dates that a layout can write."""
    if found := _FRACTION.search(layout):
        return 10 ** max(0, 6 - int(found[1]))
    for code, unit in (("%f", 1), ("%S", 1_000_000), ("%M", 60_000_000), ("%H", 3_600_000_000)):
        if code in layout:
            return unit
    return 3_600_000_000 if "%I" in layout else 86_400_000_000


# ------------------------------------------------------------------------------------------------ grids
def find_step(values: Sequence[float], most_decimals: int = 6) -> float | None:
    """The step of the grid of multiples on which all finite values lie; None where there is none.

    At least 1e-6, and found only where 20 values, 5 of them different, would hardly lie on it by chance.
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
    """A step as (multiple, decimals): 0.05 is 5 of 2 decimals. What is rounded by these has no 0.30000000000000004."""
    for decimals in range(13):
        if math.isclose(step * 10**decimals, round(step * 10**decimals), rel_tol=1e-9) and round(step * 10**decimals):
            return round(step * 10**decimals), decimals
    return 1, 12


def on_grid(values: np.ndarray, step: float) -> np.ndarray:
    """The nearest multiple of a step, without the noise of binary fractions in their last digits."""
    multiple, decimals = parts_of(step)
    return np.round(values * 10.0**decimals / multiple) * multiple / 10.0**decimals
