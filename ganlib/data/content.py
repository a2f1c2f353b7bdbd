"""Normalised values and hashes of rows that do not depend on column types or file formats.

``1``, ``1.0``, ``True`` and the text ``1`` of a CSV file are the same value, and so are a date and its ISO text. Rows
are split by these hashes, so that a table is split the same way from CSV, Parquet and memory.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ganlib.data.values import ALL_WORDS, NO_DATE, arrow_of
from ganlib.errors import DataError
from serving.errors import ValueRefused
from serving.table.arrow import plain_text
from serving.table.values import as_float, dates, moment_of, numbers

_EXACT = 2.0**53  # beyond it float64 cannot distinguish neighbouring whole numbers
_TRUTHS = {"true": 1.0, "false": 0.0}


def row_hash(frame: pd.DataFrame) -> np.ndarray:
    """A 64-bit hash of each row's values in column order, uint64 ``(n,)``; ignores names and types."""
    values = {position: plain_values(frame.iloc[:, position]) for position in range(frame.shape[1])}
    return pd.util.hash_pandas_object(pd.DataFrame(values), index=False).to_numpy(dtype=np.uint64)


def plain_values(series: pd.Series) -> np.ndarray:
    """A column as float64 (numbers, booleans, seconds), int64 (microseconds UTC) or strings, whatever its type.

    Missing values and missing words become NaN, ``NO_DATE`` or ``""``. Columns with whole numbers beyond 2^53 or with
    values of different kinds become strings.
    """
    try:
        array = arrow_of(series)
    except DataError:  # complex numbers, and mixed objects with lists among them
        return _written(series)
    kind = array.type
    if pa.types.is_nested(kind):
        return _written(series)
    if array.null_count == len(array):
        return np.full(len(array), np.nan)
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return dates(str(series.name), array, ALL_WORDS, "UTC")
    if pa.types.is_time(kind):
        array = array.cast(pa.time64("us"), safe=False).cast(pa.int64()).cast(pa.duration("us"))
    elif pa.types.is_float32(kind):
        array = array.cast(pa.string())  # 0.1 as files write it, not 0.10000000149
    found = _as_numbers(array)
    return _read(array) if found is None else found


def _written(series: pd.Series) -> np.ndarray:
    return series.map(repr).to_numpy(dtype=object)


def _as_numbers(array: pa.Array) -> np.ndarray | None:
    """A column as float64; None if it is not numeric, or if float64 cannot distinguish its whole numbers."""
    if pa.types.is_decimal(array.type) or pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
        return None
    try:
        found = numbers("", array, ALL_WORDS)
    except ValueRefused:
        return None
    return None if not pa.types.is_floating(array.type) and _runs_together(found) else _tidy(found)


def _runs_together(values: np.ndarray) -> bool:
    return bool((np.abs(values[np.isfinite(values)]) > _EXACT).any())


def _tidy(values: np.ndarray) -> np.ndarray:
    """Normalise -0.0 to 0.0 and all NaN to one."""
    return np.where(np.isnan(values), np.nan, values + 0.0)


def _read(array: pa.Array) -> np.ndarray:
    """Normalise text and other non-numeric columns by their distinct values."""
    encoded = array.dictionary_encode()
    texts = [plain_text(value).strip() for value in encoded.dictionary.to_pylist()]
    codes = pc.fill_null(encoded.indices, len(texts)).to_numpy(zero_copy_only=False)
    missing = np.array([*(text in ALL_WORDS for text in texts), True], dtype=bool)
    read = np.array([*map(_number, texts), np.nan])
    if (~np.isnan(read) | missing).all():
        return _tidy(read)[codes]
    stamps = np.array([*map(_stamp, texts), NO_DATE], dtype=np.int64)
    if ((stamps != NO_DATE) | missing).all():
        return stamps[codes]
    names = [_name(*parts) for parts in zip([*texts, ""], missing, read, stamps, strict=True)]
    return np.array(names, dtype=object)[codes]


def _number(text: str) -> float:
    """Parse a number, boolean or duration (in seconds); NaN for other text and for whole numbers beyond 2^53."""
    if (truth := _TRUTHS.get(text.lower())) is not None:
        return truth
    number = as_float(text)
    if number is None or (abs(number) > _EXACT and text.lstrip("+-").isdigit()):
        return np.nan
    return number


def _stamp(text: str) -> int:
    return NO_DATE if (found := moment_of(text)) is None else found


def _name(text: str, lacks: bool, number: float, stamp: int) -> str:
    """The string of a value in a column of different kinds."""
    if lacks:
        return ""
    if not np.isnan(number):
        return repr(float(number) + 0.0)
    return text if stamp == NO_DATE else f"@{stamp}"
