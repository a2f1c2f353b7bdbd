"""Names of pandas types that survive a YAML file, plain forms of exotic ones, and the way back.

A name is pandas' own (``Int64``, ``datetime64[us, UTC]``, ``string[pyarrow]``), with marks after colons for what it
does not say: ``object:decimal`` (what the objects are), ``category:int64:ordered`` (what the levels are), ``str:day``
(dates written as ``2026-01-31``), ``datetime64[us]:second`` (nothing finer than a second was seen).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

_OBJECTS = {
    "integer": "integer", "floating": "floating", "mixed-integer-float": "floating", "decimal": "decimal",
    "boolean": "boolean", "date": "date", "datetime": "datetime", "datetime64": "datetime", "timedelta": "timedelta",
    "timedelta64": "timedelta",
}  # fmt: skip
DATE_MARKS = ("day", "second", "utc")
_TEXTS = ("object", "str", "string", "string[pyarrow]", "large_string[pyarrow]")


def split_name(name: str) -> tuple[str, tuple[str, ...]]:
    """A dtype name and its marks."""
    known = {*_OBJECTS.values(), *DATE_MARKS, "ordered", "bool", "int64", "float64", "str"}
    parts = name.split(":")
    marks: list[str] = []
    while len(parts) > 1 and parts[-1] in known:
        marks.insert(0, parts.pop())
    return ":".join(parts), tuple(marks)


def object_kind(series: pd.Series) -> str:
    """What an object column holds: one of the marks for objects, else an empty string."""
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
    """Arrow, sparse and period columns as the ordinary pandas type that holds the same values."""
    dtype = series.dtype
    if isinstance(dtype, pd.SparseDtype):
        return series.sparse.to_dense()
    if isinstance(dtype, pd.PeriodDtype):
        return series.dt.to_timestamp()
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


def dtype_of(name: str) -> Any:
    """The pandas dtype of a name without marks; raises TypeError or ValueError where there is none here."""
    if not name.endswith("[pyarrow]"):
        return pd.api.types.pandas_dtype(name)
    import pyarrow as pa

    inner = name.removesuffix("[pyarrow]")
    if found := re.fullmatch(r"dictionary<values=(\w+), indices=(\w+), ordered=(\d)>", inner):
        values, indices, ordered = found.groups()
        alias = pa.type_for_alias
        return pd.ArrowDtype(pa.dictionary(alias(indices), alias(values), ordered == "1"))
    if found := re.fullmatch(r"timestamp\[(\w+), tz=(.+)\]", inner):
        return pd.ArrowDtype(pa.timestamp(*found.groups()))
    if found := re.fullmatch(r"decimal128\((\d+), (\d+)\)", inner):
        return pd.ArrowDtype(pa.decimal128(int(found[1]), int(found[2])))
    return pd.ArrowDtype(pa.type_for_alias(inner))


def is_text(name: str) -> bool:
    """Whether a name without marks is a column of strings or objects."""
    return name in _TEXTS or name.startswith("string")


def cast(series: pd.Series, name: str) -> pd.Series:
    """To the dtype of a name without marks, or unchanged where the values or this pandas do not allow it."""
    try:
        return series.astype(dtype_of(name))
    except (TypeError, ValueError, NotImplementedError):
        return series


def restore_numbers(values: np.ndarray, whole: bool, name: str) -> pd.Series:
    """float64 values (NaN missing) as a column of the named dtype.

    A plain integer type that now lacks values stays float64: it has no value for missing.
    """
    base, marks = split_name(name)
    series = pd.Series(values)
    if base.startswith("timedelta") or base.startswith("duration") or "timedelta" in marks:
        spans = pd.to_timedelta(series, unit="s")
        return spans.astype(object) if base == "object" else cast(spans, base)
    if is_text(base) and marks not in (("integer",), ("floating",)):
        make = Decimal if marks == ("decimal",) else str
        texts = [None if np.isnan(v) else make(_short(v, whole)) for v in values]
        return cast(pd.Series(texts, dtype=object), base)
    if is_text(base):
        number = int if whole or marks == ("integer",) else float
        return pd.Series([None if np.isnan(v) else number(v) for v in values], dtype=object)
    if base.startswith("decimal"):
        texts = [None if np.isnan(v) else Decimal(f"{v:.{_scale(base)}f}") for v in values]
        return cast(pd.Series(texts, dtype=object), base)
    if np.isnan(values).any() and re.match(r"u?int", base) and not base.endswith("[pyarrow]"):
        return series
    return cast(_nullable(series) if whole else series, base)


def _nullable(series: pd.Series) -> pd.Series:
    try:
        return series.astype("Int64")
    except (TypeError, ValueError, OverflowError):
        return series


def _short(value: float, whole: bool) -> str:
    return str(int(value)) if whole else repr(float(f"{value:.10g}"))


def _scale(base: str) -> int:
    found = re.search(r"\(\d+, (\d+)\)", base)
    return int(found[1]) if found else 6


def restore_booleans(values: np.ndarray, name: str) -> pd.Series:
    """0/1 values (NaN missing) as a column of the named dtype; strings read ``true`` and ``false``."""
    base, marks = split_name(name)
    words = is_text(base) and marks != ("boolean",)
    truth = {1.0: "true" if words else True, 0.0: "false" if words else False}
    return cast(pd.Series([truth.get(v) for v in values], dtype=object), base)


def restore_categories(values: np.ndarray, categories: Sequence[str], rare: bool, name: str) -> pd.Series:
    """Strings (``""`` missing) as a column of the named dtype.

    The stand-in ``rare`` exists only among strings; a type of numbers, booleans or ordered levels gets a missing value.
    """
    base, marks = split_name(name)
    series = pd.Series(values, dtype=object).where(values != "", None)
    listed = series.isin(list(categories))
    if base != "category":
        return cast(series, base) if is_text(base) and not marks else _typed(series.where(listed, None), base, marks)
    ordered = "ordered" in marks
    kind = next((m for m in marks if m != "ordered"), "str")
    if kind != "str":
        levels = _typed(pd.Series(list(categories), dtype=object), kind, ())
        series = pd.Series(pd.Categorical.from_codes(_codes(series, categories), levels, ordered))
        return series
    levels = [*categories, *["rare"] * (rare and not ordered and "rare" not in categories)]
    return pd.Series(pd.Categorical.from_codes(_codes(series, levels), pd.Index(levels), ordered))


def _codes(series: pd.Series, levels: Sequence[str]) -> np.ndarray:
    place = {level: i for i, level in enumerate(levels)}
    return np.array([place.get(v, -1) for v in series], dtype=np.int64)


def _typed(series: pd.Series, base: str, marks: tuple[str, ...]) -> pd.Series:
    """Category strings as numbers or booleans again."""
    if "bool" in base or marks == ("boolean",):
        return cast(series.map({"true": True, "false": False}).astype(object).where(series.notna(), None), base)
    numbers = pd.to_numeric(series, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isnan(numbers[series.notna().to_numpy()]).any():
        return cast(series, base)
    whole = bool((numbers[~np.isnan(numbers)] % 1 == 0).all())
    return restore_numbers(numbers, whole, ":".join([base, *marks]))


def restore_dates(stamps: np.ndarray, missing: int, zone: str, name: str) -> pd.Series:
    """Microseconds UTC as a column of the named dtype, in ``zone``, rounded to the resolution that was seen."""
    base, marks = split_name(name)
    none = np.datetime64("NaT", "us")
    utc = pd.Series(np.where(stamps == missing, none, stamps.astype("datetime64[us]"))).dt.tz_localize("UTC")
    local = utc.dt.tz_convert(zone).dt.tz_localize(None)
    unit = "D" if "day" in marks or "date" in marks or base.startswith(("date32", "date64", "period[D")) else None
    unit = unit or ("s" if "second" in marks or (is_text(base) and not marks) else None)
    local = local.dt.round(unit) if unit else local
    if is_text(base):
        return cast(_written(local, utc, marks), base)
    if base.startswith("period"):
        return local.dt.to_period(base[len("period[") : -1])
    if "," in base or "tz=" in base:
        return cast(_in_zone(local, zone) if unit else utc.dt.tz_convert(zone), base)
    return cast(local.dt.date if base.startswith("date") and base.endswith("[pyarrow]") else local, base)


def _in_zone(local: pd.Series, zone: str) -> pd.Series:
    return local.dt.tz_localize(zone, ambiguous=np.ones(len(local), bool), nonexistent="shift_forward")


def _written(local: pd.Series, utc: pd.Series, marks: tuple[str, ...]) -> pd.Series:
    """Dates as the strings or objects they came as."""
    if "date" in marks or "datetime" in marks:
        times: list[date | datetime | None] = [None if pd.isna(t) else t.to_pydatetime() for t in local]
        made = [t.date() if isinstance(t, datetime) and "date" in marks else t for t in times]
        return pd.Series(made, dtype=object)
    if "day" in marks:
        texts = local.dt.strftime("%Y-%m-%d")
    elif "utc" in marks:
        texts = utc.dt.round("s").dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    else:
        texts = local.dt.strftime("%Y-%m-%dT%H:%M:%S")
    return texts.astype(object).where(local.notna(), None)


def date_mark(series: pd.Series, stamps: np.ndarray, zone: str) -> str:
    """What the way back must know of a date column: ``day``, ``second``, ``utc`` (strings with an offset) or nothing.

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
