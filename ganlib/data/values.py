"""Raw values as numbers, strings and microseconds: the one place where pandas' many types are told apart.

``serving.frame`` reads the same format (docs/artifact.md) with its own code; the parity tests hold both together.
"""

from __future__ import annotations

import zlib
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from pandas.api import types

from ganlib.data.dtypes import is_nested, object_kind, plain
from ganlib.errors import DataError

NO_DATE = np.iinfo(np.int64).min
TEXT_CHANNELS = 6
MISSING_WORDS = ("", "nan", "null", "na", "none")
_EPOCH = datetime(1970, 1, 1)
_MANY = 2000
_PLAIN = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{3}|\.\d{6})?)?)?"


def category_text(value: Any) -> str:
    """A category value as a string: ``true``/``false``, whole numbers without a point, anything else by ``str``."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return str(int(value)) if float(value).is_integer() else str(float(value))
    return str(value)


def as_strings(series: pd.Series) -> np.ndarray:
    """Category values, missing as ``""``: object array of str; raises DataError on lists and mappings."""
    codes, values = _distinct(series)
    table = np.array([*(category_text(v) for v in values), ""], dtype=object)
    return table[codes]


def _distinct(series: pd.Series) -> tuple[np.ndarray, Any]:
    """Codes (-1 where missing) and distinct values."""
    series = plain(series)
    try:
        return pd.factorize(series, use_na_sentinel=True)
    except TypeError as error:
        nested = series.map(lambda v: isinstance(v, list | dict | set | np.ndarray)).astype(bool)
        if is_nested(series):
            raise _refuse(series, nested, "is no single value") from error
        raise DataError(f"column {series.name!r} holds values that cannot be compared: {error}") from error


def as_numbers(series: pd.Series) -> np.ndarray:
    """float64 with NaN for missing (``±inf`` stays); raises DataError naming the first value that is no number."""
    series = plain(series)
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(series.cat.categories.dtype if series.notna().all() else object)
    if types.is_complex_dtype(series.dtype):
        raise DataError(f"column {series.name!r} holds complex numbers (complex data not supported); split them in two")
    if types.is_timedelta64_dtype(series.dtype) or object_kind(series) == "timedelta":
        return pd.to_timedelta(series).dt.total_seconds().to_numpy(dtype=np.float64, na_value=np.nan)
    if types.is_bool_dtype(series.dtype) or types.is_numeric_dtype(series.dtype):
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    if types.is_datetime64_any_dtype(series.dtype) or object_kind(series) in ("date", "datetime"):
        raise _refuse(series, series.notna(), "is a date, not a number")
    return _parse_numbers(series)


def _parse_numbers(series: pd.Series) -> np.ndarray:
    raw = series.astype(object)
    parsed = pd.to_numeric(raw, errors="coerce").astype(np.float64)
    bad = parsed.isna() & raw.notna()
    if bad.any():
        bad &= ~raw.where(bad, "").astype(str).str.strip().str.lower().isin(MISSING_WORDS)
    if bad.any():
        raise _refuse(series, bad, "is not a number")
    return parsed.to_numpy(dtype=np.float64, na_value=np.nan)


_TRUTH = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "yes": 1.0, "no": 0.0} | dict.fromkeys(MISSING_WORDS, np.nan)


def as_booleans(series: pd.Series) -> np.ndarray:
    """float64 0/1 with NaN for missing; raises DataError naming the first value that is neither."""
    series = plain(series)
    if types.is_bool_dtype(series.dtype) and not isinstance(series.dtype, pd.CategoricalDtype):
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    texts = pd.Series(as_strings(series), index=series.index).str.strip().str.lower()
    bad = ~texts.isin(_TRUTH)
    if bad.any():
        raise _refuse(series, bad, "is neither true nor false")
    return texts.map(_TRUTH).to_numpy(dtype=np.float64)


def as_microseconds(series: pd.Series, timezone: str) -> np.ndarray:
    """int64 microseconds since 1970 UTC, ``NO_DATE`` for missing.

    Naive times are read in ``timezone``: the earlier of two where clocks go back, shifted forward where they skip.
    Raises DataError naming the first value that is no date.
    """
    series = plain(series)
    if types.is_datetime64_any_dtype(series.dtype):
        return _stamps(series, timezone)
    if types.is_numeric_dtype(series.dtype) or types.is_bool_dtype(series.dtype):
        if series.isna().all():
            return np.full(len(series), NO_DATE)
        raise _refuse(series, series.notna(), "is a number, not a date")
    return _parse_dates(series, timezone)


def _stamps(series: pd.Series, timezone: str, skipped: str = "shift_forward") -> np.ndarray:
    if series.dt.tz is None:
        series = series.dt.tz_localize(timezone, ambiguous=np.ones(len(series), bool), nonexistent=skipped)
    stamps = series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(dtype="datetime64[us]")
    return np.where(np.isnat(stamps), NO_DATE, stamps.astype(np.int64))


def _parse_dates(series: pd.Series, timezone: str) -> np.ndarray:
    """Strings and objects: each distinct value once, those without an offset in ``timezone``."""
    codes, values = _distinct(series)
    values = np.asarray(values, dtype=object)
    table = np.full(len(values) + 1, NO_DATE)
    slow = np.arange(len(values))
    if len(values) > _MANY:
        table[:-1] = _parse_plain(values, timezone)
        slow = np.flatnonzero(table[:-1] == NO_DATE)
    zone, bad = ZoneInfo(timezone), np.zeros(len(values) + 1, dtype=bool)
    for i in slow:
        moment = _moment(values[i])
        bad[i] = moment is None
        if isinstance(moment, datetime):
            aware = moment if moment.tzinfo else moment.replace(tzinfo=zone)
            gone = (aware.replace(tzinfo=None) - _EPOCH) - (aware.utcoffset() or timedelta())
            table[i] = (gone.days * 86_400 + gone.seconds) * 1_000_000 + gone.microseconds
    if bad.any():
        raise _refuse(series, pd.Series(bad[codes], index=series.index), "is not an ISO date or time")
    return table[codes]


def _parse_plain(values: np.ndarray, timezone: str) -> np.ndarray:
    """Many strings without an offset at once; ``NO_DATE`` for all that are anything else."""
    texts = pd.Series(values, dtype=object)
    known = texts.map(lambda v: isinstance(v, str)) & texts.astype(str).str.fullmatch(_PLAIN)
    parsed = pd.to_datetime(texts.where(known, None), format="ISO8601", errors="coerce")
    return _stamps(parsed, timezone, skipped="NaT")


def _moment(value: Any) -> datetime | str | None:
    """A date or time; ``""`` where missing; None where it is neither."""
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime(warn=False)
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    if not isinstance(value, str):
        return None
    text = value.strip()
    if text.lower() in MISSING_WORDS:
        return ""
    try:
        return datetime.fromisoformat(text) if len(text) >= 10 and "-" in text[:8] else None
    except ValueError:
        return None


def text_features(series: pd.Series, buckets: int) -> np.ndarray:
    """Length, shares of character classes and hashed 3-grams: float32 ``(n, 6 + buckets)`` (docs/artifact.md)."""
    codes, values = _distinct(series)
    table = np.zeros((len(values) + 1, TEXT_CHANNELS + buckets), dtype=np.float32)
    for row, value in enumerate(values):
        table[row] = _one_text(category_text(value), buckets)
    return table[codes]


def _one_text(s: str, buckets: int) -> np.ndarray:
    out = np.zeros(TEXT_CHANNELS + buckets)
    if not s:
        return out
    letters, digits = sum(c.isalpha() for c in s), sum(c.isdigit() for c in s)
    spaces, upper = sum(c.isspace() for c in s), sum(c.isupper() for c in s)
    others = sum(not (c.isalpha() or c.isdigit() or c.isspace()) for c in s)
    out[0] = np.log1p(len(s))
    out[1:TEXT_CHANNELS] = np.array([letters, digits, spaces, upper, others]) / len(s)
    lower = s.lower()
    grams = [lower[i : i + 3] for i in range(len(lower) - 2)] or [lower]
    for gram in grams:
        out[TEXT_CHANNELS + zlib.crc32(gram.encode("utf-8")) % buckets] += 1 / len(grams)
    return out


def _refuse(series: pd.Series, bad: pd.Series, why: str) -> DataError:
    row = int(np.flatnonzero(bad.to_numpy(dtype=bool))[0])
    value = series.iloc[row]
    value = value.item() if isinstance(value, np.generic) else value
    shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
    return DataError(
        f"column {series.name!r}, row {row}: {shown} {why} ({int(bad.sum())} such values); "
        "mend the data, or change the column's kind in the schema file"
    )
