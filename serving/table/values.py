"""Converts Arrow columns to model inputs by their schema entries: numbers, booleans, categories and dates.

Numbers and booleans become float64 with NaN for missing values. Dates become int64 microseconds since 1970 UTC with
``NO_DATE``, categories strings with ``""`` (docs/artifact.md, "Values"). Raises ValueRefused, naming column and row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, time, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from serving.errors import ValueRefused
from serving.table.arrow import flat, is_missing, plain_text, shown
from serving.table.layouts import is_clock, number_layout, parse_date
from serving.table.spans import read_span
from serving.table.words import Missing, missing_words
from serving.table.zones import fixed, zone

NO_DATE = np.iinfo(np.int64).min
TRUTH = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "yes": 1.0, "no": 0.0}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONTH = re.compile(r"^(\d{4})-(0[1-9]|1[0-2])$")
_QUARTER = re.compile(r"^(\d{4})Q([1-4])$")
_WHOLE = re.compile(r"^[+-]?\d+$")
_PLAIN = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{3}|\.\d{6})?)?)?$"
_MANY = 2000
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def feed(column: Mapping[str, Any], values: Any, words: Iterable[str] | None, timezone: str) -> np.ndarray:
    """Convert a column's values to a graph input; free text stays as strings, from which features are computed."""
    name, array, missing = column["name"], flat(values), missing_words(column, words)
    if pa.types.is_nested(array.type):
        raise _rejected(name, array, lambda v: v is not None, "is no single value; spread it over columns")
    kind, layout = column["kind"], column.get("layout")
    if kind in ("number", "integer"):
        return numbers(name, array, missing, layout)
    if kind == "boolean":
        return booleans(name, array, missing, layout)
    if kind == "date":
        return dates(name, array, missing, column.get("timezone") or timezone, layout)
    return categories(array, missing, column.get("levels"))


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type is one of strings."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()


def _rejected(name: str, array: pa.Array, bad: Callable[[Any], bool], why: str) -> ValueRefused:
    values = array.to_pylist()
    rows = [row for row, value in enumerate(values) if bad(value)]
    more = f" ({len(rows):,} such values)" if len(rows) > 1 else ""
    return ValueRefused(name, rows[0], f"{shown(values[rows[0]])} {why}{more}; fix the data, or the column's schema")


def _distinct(array: pa.Array) -> tuple[np.ndarray, list[Any]]:
    """Codes and distinct values; nulls get the code after the last value."""
    encoded = array.dictionary_encode()
    values = encoded.dictionary.to_pylist()
    return pc.fill_null(encoded.indices, len(values)).to_numpy(zero_copy_only=False), values


# ------------------------------------------------------------------------------------------------ numbers
def numbers(name: str, array: pa.Array, missing: Missing, layout: str | None = None) -> np.ndarray:
    """Convert to float64, NaN if missing; durations to seconds. Infinities stay; the encoder reads them as missing."""
    kind = array.type
    if pa.types.is_null(kind):
        return np.full(len(array), np.nan)
    if is_text(kind):
        return _parsed(name, array, missing, layout)
    if pa.types.is_duration(kind):
        array = pc.divide(array.cast(pa.int64()).cast(pa.float64(), safe=False), float(_UNITS[kind.unit]))
    elif pa.types.is_boolean(kind):
        array = array.cast(pa.int8())
    elif pa.types.is_temporal(kind):
        raise _rejected(name, array, lambda v: v is not None, "is a date, not a number")
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise _rejected(name, array, lambda v: v is not None, "is not a number")
    if pa.types.is_decimal(kind):
        array = array.cast(pa.string())  # Arrow's direct cast is not correctly rounded
    out = array.cast(pa.float64(), safe=False)
    return out.to_numpy(zero_copy_only=False) if out.null_count == 0 else pc.fill_null(out, np.nan).to_numpy()


def _parsed(name: str, array: pa.Array, missing: Missing, layout: str | None) -> np.ndarray:
    """Parse numbers in text like float(), after removing the marks of the column's layout."""
    trimmed = pc.utf8_trim_whitespace(array)
    empty = pc.is_in(pc.utf8_lower(trimmed), pa.array(sorted(missing.words), type=trimmed.type))
    cleaned = pc.if_else(empty, pa.scalar(None, trimmed.type), trimmed)
    plain = number_layout(layout)
    try:
        if plain is None or not plain.comma:  # 1.234 is 1234 where points separate thousands
            out = cleaned.cast(pa.float64())
            return out.to_numpy(zero_copy_only=False) if out.null_count == 0 else pc.fill_null(out, np.nan).to_numpy()
    except pa.ArrowInvalid:
        pass
    codes, texts = _distinct(cleaned)
    table = np.full(len(texts) + 1, np.nan)
    bad = set()
    for place, text in enumerate(texts):
        number = as_float(plain.number(text) if plain else text)
        if number is None:
            bad.add(text)
        else:
            table[place] = number
    if bad:
        like = f"; the column writes them as {layout}" if plain else ""
        raise _rejected(name, array, lambda v: v is not None and v.strip() in bad, f"is not a number{like}")
    return table[codes]


def as_float(text: str) -> float | None:
    """A plain number, or the seconds of a duration; None for any other text."""
    # float() accepts 1_000, which is not a number in tables.
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return read_span(text)


# ------------------------------------------------------------------------------------------------ booleans
def booleans(name: str, array: pa.Array, missing: Missing, layout: str | None = None) -> np.ndarray:
    """Convert to float64 0 and 1, NaN if missing; reads the words of ``TRUTH`` and of the column's layout."""
    if pa.types.is_null(array.type):
        return np.full(len(array), np.nan)
    if pa.types.is_boolean(array.type):
        return pc.fill_null(array.cast(pa.int8()).cast(pa.float64()), np.nan).to_numpy(zero_copy_only=False)
    truth = dict(TRUTH)
    if layout and "|" in layout:
        truth |= {word.strip().lower(): 1.0 - i for i, word in enumerate(layout.split("|"))}
    codes, values = _distinct(array)
    table, bad = np.full(len(values) + 1, np.nan), set()
    for place, value in enumerate(values):
        text = "" if is_missing(value) else plain_text(value).strip()
        if text.lower() in truth:
            table[place] = truth[text.lower()]
        elif text not in missing:
            bad.add(value)
    if bad:
        raise _rejected(name, array, lambda v: v in bad, "is neither true nor false")
    return table[codes]


# ------------------------------------------------------------------------------------------------ categories
def categories(array: pa.Array, missing: Missing, levels: str | None = None) -> np.ndarray:
    """Convert to category strings, ``""`` if missing; ``levels`` is their type: text, number, boolean or date.

    Numeric levels are equal however they are written (``1``, ``1.0``, ``01``), and so are booleans and dates. Text is
    compared exactly.
    """
    if pa.types.is_null(array.type):
        return np.full(len(array), "", dtype=object)
    codes, values = _distinct(array)
    table = [level(value, missing, levels) for value in values]
    return np.array([*table, ""], dtype=object)[codes]


def level(value: Any, missing: Missing, levels: str | None) -> str:
    """The category string of one value; ``""`` if missing."""
    if is_missing(value):
        return ""
    text = plain_text(value)
    if isinstance(value, str) and text in missing:
        return ""
    normal = _NORMAL.get(levels or "text")
    return text if normal is None else normal(text, value)


def _normal_number(text: str, _: Any) -> str:
    plain = text.strip()
    if _WHOLE.match(plain):
        return str(int(plain))
    try:
        number = Decimal(plain)
    except InvalidOperation:
        seconds = read_span(plain)
        return text if seconds is None else plain_text(seconds)
    if not number.is_finite() or "_" in plain:
        return text
    return str(int(number)) if number == number.to_integral_value() and abs(number) < 10**30 else str(float(number))


def _normal_boolean(text: str, _: Any) -> str:
    lower = text.strip().lower()
    return lower if lower in ("true", "false") else text


def _normal_date(text: str, value: Any) -> str:
    moment = value if isinstance(value, datetime) else _moment(text.strip(), [])
    if moment is None:
        return text
    return moment.isoformat().removesuffix("T00:00:00")


_NORMAL: dict[str, Callable[[str, Any], str]] = {
    "number": _normal_number, "boolean": _normal_boolean, "date": _normal_date,
}  # fmt: skip


# ------------------------------------------------------------------------------------------------ dates
def dates(name: str, array: pa.Array, missing: Missing, timezone: str, layout: str | None = None) -> np.ndarray:
    """Convert to int64 microseconds since 1970 UTC, ``NO_DATE`` if missing.

    Naive times are read in ``timezone``. Ambiguous ones are the earlier of the two; skipped ones are shifted forward.
    With a ``layout`` of times of day, returns microseconds since midnight. Finer digits are truncated.
    """
    kind = array.type
    if pa.types.is_null(kind):
        return np.full(len(array), NO_DATE)
    if is_text(kind):
        return _parse_dates(name, array, missing, timezone, layout)
    if is_clock(layout) or pa.types.is_time(kind):
        return _times_of_day(name, array, layout)
    if pa.types.is_date(kind):
        array = array.cast(pa.timestamp("us"))
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _numeric_dates(name, array, missing, timezone, layout)
    elif not pa.types.is_timestamp(kind):
        raise _rejected(name, array, lambda v: v is not None, "is not a date")
    if array.type.tz is None:
        array = localised(array.cast(pa.timestamp("us"), safe=False), timezone)
    stamps = array.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64())
    return pc.fill_null(stamps, NO_DATE).to_numpy(zero_copy_only=False)


def _times_of_day(name: str, array: pa.Array, layout: str | None) -> np.ndarray:
    """Microseconds since midnight of a column of times; raises ValueRefused for other types and for date columns."""
    if not pa.types.is_time(array.type):
        raise _rejected(name, array, lambda v: not is_missing(v), "is no time of day such as 08:30")
    if not is_clock(layout):
        raise _rejected(name, array, lambda v: v is not None, "is a time of day, not a date")
    stamps = array.cast(pa.time64("us"), safe=False).cast(pa.int64())
    return pc.fill_null(stamps, NO_DATE).to_numpy(zero_copy_only=False)


def _numeric_dates(name: str, array: pa.Array, missing: Missing, timezone: str, layout: str | None) -> np.ndarray:
    """Parse whole numbers such as 20230623 by a layout of dates; raises ValueRefused without a layout."""
    texts = [None if is_missing(v) else plain_text(v) for v in array.to_pylist()]
    if layout is None and any(text is not None for text in texts):
        raise _rejected(name, array, lambda v: not is_missing(v), "is a number, not a date")
    return _parse_dates(name, pa.array(texts, pa.string()), missing, timezone, layout)


def localised(array: pa.Array, timezone: str) -> pa.Array:
    """Assign a zone to naive times: the earlier of two ambiguous ones, the first one after a gap."""
    if (offset := fixed(timezone)) is not None:
        gap = offset.utcoffset(None) // timedelta(microseconds=1)
        return pc.subtract(array.cast(pa.int64()), gap).cast(pa.timestamp("us", "UTC"))
    return pc.assume_timezone(array, timezone, ambiguous="earliest", nonexistent="latest")


def _parse_dates(name: str, array: pa.Array, missing: Missing, timezone: str, layout: str | None) -> np.ndarray:
    """Parse each distinct text once; text without an offset is read in ``timezone``."""
    codes, texts = _distinct(array)
    table, slow = np.full(len(texts) + 1, NO_DATE), np.arange(len(texts))
    if len(texts) > _MANY and layout is None:
        table[:-1] = _parse_plain(texts, timezone)
        slow = np.flatnonzero(table[:-1] == NO_DATE)
    where, bad = zone(timezone), set()
    layouts = [part for part in (layout or "").split("|") if part]
    for place in slow:
        text = texts[place].strip()
        if text in missing:
            continue
        moment = _moment(text, layouts)
        if moment is None:
            bad.add(texts[place])
        else:
            table[place] = microseconds(moment, where)
    if bad:
        what = "time of day" if is_clock(layout) else "date"
        like = f"a {what} written as {layout.replace('|', ' or ')}" if layout else "an ISO date or time"
        raise _rejected(name, array, lambda v: v in bad, f"is not {like}")
    return table[codes]


def _moment(text: str, layouts: list[str]) -> datetime | None:
    for layout in layouts:
        if (moment := parse_date(text, layout)) is not None:
            return moment
    if layouts and is_clock(layouts[0]):
        return _time_of_day(text)
    # Eight digits and two-digit years are dates only with a layout.
    try:
        if found := _MONTH.match(text):
            return datetime(int(found[1]), int(found[2]), 1)
        if found := _QUARTER.match(text):
            return datetime(int(found[1]), 3 * int(found[2]) - 2, 1)
        return datetime.fromisoformat(text) if len(text) >= 10 and "-" in text[:8] else None
    except ValueError:
        return None


def _time_of_day(text: str) -> datetime | None:
    """An ISO time on 1970-01-01 in UTC."""
    try:
        clock = time.fromisoformat(text) if ":" in text else None
    except ValueError:
        return None
    return datetime.combine(_EPOCH.date(), clock, UTC) if clock and clock.tzinfo is None else None


def moment_of(text: str) -> int | None:
    """Parse an ISO date to microseconds since 1970 UTC; naive ones are in UTC. None for other text."""
    moment = _moment(text, [])
    return None if moment is None else microseconds(moment, UTC)


def microseconds(moment: datetime, where: tzinfo) -> int:
    """Microseconds since 1970 UTC; also for dates where Python's timestamp() overflows."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=where)
    offset = aware.utcoffset() or timedelta()
    if moment.tzinfo is None and aware.replace(fold=1).utcoffset() != offset and offset < _later(aware):
        # A skipped time: like Arrow, use the first moment after the gap.
        return int(localised(pa.array([moment], pa.timestamp("us")), str(where)).cast(pa.int64())[0].as_py())
    gone = (aware.replace(tzinfo=UTC) - _EPOCH) - offset
    return (gone.days * 86_400 + gone.seconds) * 1_000_000 + gone.microseconds


def _later(aware: datetime) -> timedelta:
    return aware.replace(fold=1).utcoffset() or timedelta()


def _parse_plain(texts: list[str], timezone: str) -> np.ndarray:
    """Parse many ISO texts without an offset at once; ``NO_DATE`` for all others."""
    array = pc.replace_substring(pa.array(texts, pa.string()), "T", " ", max_replacements=1)
    fits = pc.match_substring_regex(array, _PLAIN)
    array = pc.if_else(fits, array, pa.scalar(None, pa.string()))
    try:
        stamps = localised(array.cast(pa.timestamp("us")), timezone).cast(pa.int64())
    except pa.ArrowInvalid:  # a day or an hour that does not exist
        return np.full(len(texts), NO_DATE)
    # Leave skipped times to the slow path; Arrow would move them to the end of the gap.
    back = pc.local_timestamp(stamps.cast(pa.timestamp("us", timezone)))
    same = pc.equal(back, array.cast(pa.timestamp("us")))
    return pc.fill_null(pc.if_else(same, stamps, NO_DATE), NO_DATE).to_numpy(zero_copy_only=False)


def whole_dates(values: np.ndarray) -> bool:
    """Whether whole numbers are all days written as ``20230623``."""
    numbers = np.unique(values[np.isfinite(values)])
    if len(numbers) < 5 or numbers.min() < 19_000_101 or numbers.max() > 21_001_231:
        return False
    return all(parse_date(str(int(number)), "%Y%m%d") is not None for number in numbers)
