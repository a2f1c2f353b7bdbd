"""Raw values as numbers, strings and microseconds: the one place where pandas' many types are told apart.

``serving.frame`` reads the same format (docs/artifact.md) with its own code; the parity tests hold both together.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

from ganlib.errors import DataError

NO_DATE = np.iinfo(np.int64).min
TEXT_CHANNELS = 6


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
    """Category values, missing as ``""``: object array of str."""
    codes, values = pd.factorize(series, use_na_sentinel=True)
    table = np.array([*(category_text(v) for v in values), ""], dtype=object)
    return table[codes]


def as_numbers(series: pd.Series) -> np.ndarray:
    """float64 with NaN for missing; raises DataError naming the first value that is no number."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(series.cat.categories.dtype)
    if types.is_timedelta64_dtype(series.dtype):
        return series.dt.total_seconds().to_numpy(dtype=np.float64, na_value=np.nan)
    if types.is_bool_dtype(series.dtype) or types.is_numeric_dtype(series.dtype):
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    parsed = pd.to_numeric(series.replace("", None).astype(object), errors="coerce")
    bad = parsed.isna() & series.notna() & ~series.astype(str).str.strip().str.lower().isin(["", "nan"])
    if bad.any():
        raise _refuse(series, bad, "is not a number")
    return parsed.to_numpy(dtype=np.float64, na_value=np.nan)


_TRUTH = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "yes": 1.0, "no": 0.0, "": np.nan, "nan": np.nan}


def as_booleans(series: pd.Series) -> np.ndarray:
    """float64 0/1 with NaN for missing; raises DataError naming the first value that is neither."""
    if types.is_bool_dtype(series.dtype):
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    texts = pd.Series(as_strings(series), index=series.index).str.strip().str.lower()
    bad = ~texts.isin(_TRUTH)
    if bad.any():
        raise _refuse(series, bad, "is neither true nor false")
    return texts.map(_TRUTH).to_numpy(dtype=np.float64)


def as_microseconds(series: pd.Series, timezone: str) -> np.ndarray:
    """int64 microseconds since 1970 UTC, ``NO_DATE`` for missing; naive times are read in ``timezone``."""
    parsed = series
    if not types.is_datetime64_any_dtype(series.dtype):
        texts = series.astype(object).where(series.notna(), None)
        texts = texts.where(texts.astype(str).str.strip() != "", None)
        parsed = pd.to_datetime(texts, errors="coerce", format="ISO8601", utc=_any_zone(texts))
        bad = parsed.isna() & texts.notna()
        if bad.any():
            raise _refuse(series, bad, "is not an ISO date or time")
    if parsed.dt.tz is None:
        parsed = parsed.dt.tz_localize(timezone, ambiguous=np.zeros(len(parsed), bool), nonexistent="shift_forward")
    stamps = parsed.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(dtype="datetime64[us]")
    return np.where(np.isnat(stamps), NO_DATE, stamps.astype(np.int64))


def _any_zone(texts: pd.Series) -> bool:
    first = next((t for t in texts if t is not None), None)
    if hasattr(first, "tzinfo"):
        return first.tzinfo is not None
    return bool(texts.dropna().astype(str).str.contains(r"(?:Z|[+-]\d\d:?\d\d)$", regex=True).any())


def text_features(series: pd.Series, buckets: int) -> np.ndarray:
    """Length, shares of character classes and hashed 3-grams: float32 ``(n, 6 + buckets)`` (docs/artifact.md)."""
    codes, values = pd.factorize(series, use_na_sentinel=True)
    table = np.zeros((len(values) + 1, TEXT_CHANNELS + buckets), dtype=np.float32)
    for row, value in enumerate(values):
        table[row] = _one_text(str(value), buckets)
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
    row = int(np.flatnonzero(bad.to_numpy())[0])
    return DataError(
        f"column {series.name!r}, row {row}: {series.iloc[row]!r} {why} ({int(bad.sum())} such values); "
        "mend the data, or change the column's kind in the schema file"
    )
