"""Names of pandas dtypes for YAML files, and conversion of exotic dtypes to plain ones.

A name is that of pandas (``Int64``, ``datetime64[us, UTC]``, ``string[pyarrow]``) with marks for further information:
``object:decimal`` (type of the objects), ``category:int64:ordered`` (type of the levels), ``str:day`` (dates written as
``2026-01-31``), ``datetime64[us]:second`` (resolution in the training data).
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from pandas.api import types

_OBJECTS = {
    "integer": "integer", "floating": "floating", "mixed-integer-float": "floating", "decimal": "decimal",
    "boolean": "boolean", "date": "date", "datetime": "datetime", "datetime64": "datetime", "time": "time",
    "timedelta": "timedelta", "timedelta64": "timedelta",
}  # fmt: skip


def object_kind(series: pd.Series) -> str:
    """The mark for the objects in a column; empty if there is none."""
    if not types.is_object_dtype(series.dtype):
        return ""
    return _OBJECTS.get(types.infer_dtype(series, skipna=True), "")


def name_of(series: pd.Series) -> str:
    """The name of a column's dtype, with its marks."""
    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        levels = dtype.categories
        kind = next((k for k, test in _LEVELS.items() if test(levels.dtype)), "str")
        return "category" + (f":{kind}" if kind != "str" else "") + (":ordered" if dtype.ordered else "")
    mark = object_kind(series)
    return f"{dtype}:{mark}" if mark else str(dtype)


_LEVELS = {"bool": types.is_bool_dtype, "int64": types.is_integer_dtype, "float64": types.is_float_dtype}


def plain(series: pd.Series) -> pd.Series:
    """Convert Arrow, sparse and period columns to an ordinary pandas type with the same values."""
    dtype = series.dtype
    if isinstance(dtype, pd.SparseDtype):
        return series.sparse.to_dense()
    if isinstance(dtype, pd.PeriodDtype):
        return series.dt.to_timestamp()
    if isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype.itemsize > 8:
        return series.astype(np.float64)
    return _from_arrow(series, dtype) if isinstance(dtype, pd.ArrowDtype) else series


def _from_arrow(series: pd.Series, dtype: pd.ArrowDtype) -> pd.Series:
    import pyarrow as pa

    kind = dtype.pyarrow_dtype
    if pa.types.is_timestamp(kind):
        unit = kind.unit
        return series.astype(pd.DatetimeTZDtype(unit, kind.tz) if kind.tz else f"datetime64[{unit}]")
    if pa.types.is_date(kind):
        return series.astype("datetime64[s]")
    if pa.types.is_duration(kind):
        return series.astype(f"timedelta64[{kind.unit}]")
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return series
    if pa.types.is_decimal(kind):
        return pd.Series(series.to_numpy(dtype=np.float64, na_value=np.nan), series.index, name=series.name)
    values = series.astype(object)
    return values.where(series.notna(), None)


def is_nested(series: pd.Series) -> bool:
    """Whether any value is a list, mapping, set or array."""
    if not types.is_object_dtype(series.dtype):
        return False
    return any(isinstance(v, list | dict | set | tuple | np.ndarray) for v in series)


def date_mark(series: pd.Series, stamps: np.ndarray, zone: str) -> str:
    """The mark needed to restore a date column: ``day``, ``second``, ``utc`` (strings with an offset) or empty.

    ``stamps`` are its present values in microseconds UTC.
    """
    texts = types.is_string_dtype(series.dtype) or types.is_object_dtype(series.dtype)
    first = next((v for v in series if isinstance(v, str)), None) if texts else None
    if first is not None and re.search(r":\d\d.*(Z|[+-]\d\d:?\d\d)$", first.strip()):
        return "utc"
    local = pd.Series(stamps.astype("datetime64[us]")).dt.tz_localize("UTC").dt.tz_convert(zone).dt.tz_localize(None)
    if (local == local.dt.normalize()).all():
        return "day"
    return "second" if first is None and (stamps % 1_000_000 == 0).all() else ""
