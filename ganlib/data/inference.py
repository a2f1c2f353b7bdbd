"""Schema inference: what each column of a frame most likely is, and what may be stored of it.

Privacy: only categories seen at least ``COMMON`` times are stored; quantiles are rounded to three significant digits.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from pandas.api import types

from ganlib.data.schema import Column, Schema
from ganlib.data.values import NO_DATE, as_booleans, as_microseconds, as_numbers, as_strings
from ganlib.errors import DataError

COMMON = 5
TEXT_BUCKETS = 32
_DAY = 86_400_000_000  # microseconds: dates are stored to the day only
_POINTS = (0.0, 0.05, 0.5, 0.95, 1.0)
_ISO = re.compile(r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?(Z|[+-]\d{2}:?\d{2})?$")


def infer_schema(
    frame: pd.DataFrame,
    label: str | None = None,
    group: str | None = None,
    timezone: str = "UTC",
    max_categories: int = 100,
) -> Schema:
    """A schema for this frame.

    ``label`` and ``group`` name columns that get these roles. Raises DataError on duplicate column names, an absent
    label or group (naming close ones), or a frame without rows or columns.
    """
    check_frame(frame)
    for name in (label, group):
        if name is not None and name not in frame.columns:
            raise DataError(f"there is no column {name!r}; {close_names(name, frame.columns)}")
    columns = []
    for name in frame.columns:
        column = _infer_column(frame[name], timezone, max_categories)
        if name == label:
            column = _as_category(frame[name], "label")
        elif name == group:
            column = _as_category(frame[name], "group")
        columns.append(column)
    schema = Schema(tuple(columns), timezone)
    if not schema.features:
        raise DataError("no column can serve as a feature: " + "; ".join(f"{c.name}: {c.note}" for c in columns))
    return schema


def check_frame(frame: pd.DataFrame) -> None:
    """Raise DataError where column names repeat or there is nothing in the frame."""
    if twice := sorted({str(n) for n in frame.columns[frame.columns.duplicated()]}):
        raise DataError(f"column names must be unique; these come twice: {', '.join(twice)}")
    if frame.shape[0] == 0 or frame.shape[1] == 0:
        raise DataError(f"the data has {frame.shape[0]} rows and {frame.shape[1]} columns; nothing to learn from")


def close_names(name: str, names: pd.Index) -> str:
    """Advice that names the closest columns."""
    import difflib

    close = difflib.get_close_matches(str(name), [str(n) for n in names], n=3)
    shown = ", ".join(repr(str(n)) for n in list(names)[:20])
    return f"did you mean {' or '.join(repr(c) for c in close)}?" if close else f"the columns are {shown}"


def _infer_column(series: pd.Series, timezone: str, max_categories: int) -> Column:
    name, dtype = str(series.name), str(series.dtype)
    present = series.dropna()
    if len(present) == 0:
        return Column(name, "number", "dropped", dtype, True, note="every value is missing")
    if types.is_bool_dtype(series.dtype) or (_is_texty(series) and present.map(lambda v: isinstance(v, bool)).all()):
        return Column(name, "boolean", dtype=dtype, missing=_lacks(series), quantiles=_quantiles(as_booleans(series)))
    if types.is_datetime64_any_dtype(series.dtype):
        return _date_column(series, timezone)
    if types.is_timedelta64_dtype(series.dtype) or types.is_numeric_dtype(series.dtype):
        return _number_column(series)
    if isinstance(series.dtype, pd.CategoricalDtype):
        return _as_category(series, "feature")
    return _infer_text(series, present.astype(str), timezone, max_categories)


def _infer_text(series: pd.Series, texts: pd.Series, timezone: str, max_categories: int) -> Column:
    """Strings: numbers or dates in disguise, categories, identifiers or free text."""
    stripped = texts.str.strip()
    filled = stripped[stripped != ""]
    if len(filled) == 0:
        return Column(str(series.name), "number", "dropped", str(series.dtype), True, note="every value is empty")
    if pd.to_numeric(filled, errors="coerce").notna().all():
        return _number_column(series)
    if filled.str.match(_ISO).all():
        return _date_column(series, timezone)
    if set(filled.str.lower()) == {"true", "false"}:
        return Column(str(series.name), "boolean", dtype=str(series.dtype), missing=_lacks(series),
                      quantiles=_quantiles(as_booleans(series)))  # fmt: skip
    distinct = filled.nunique()
    if distinct <= max_categories and (distinct < len(filled) or distinct <= 2):
        return _as_category(series, "feature")
    if distinct == len(filled) and not filled.str.contains(" ").any() and filled.str.len().std() < 3:
        note = "every value is different: an identifier"
        return Column(str(series.name), "text", "dropped", str(series.dtype), _lacks(series), note=note)
    note = f"{distinct} different values: seen as length, character classes and hashed 3-grams; not generated"
    dtype, lacks = str(series.dtype), _lacks(series)
    return Column(str(series.name), "text", "feature", dtype, lacks, buckets=TEXT_BUCKETS, note=note)


def _number_column(series: pd.Series) -> Column:
    values = as_numbers(series)
    finite = values[np.isfinite(values)]
    dtype = str(series.dtype)
    if len(finite) == 0:
        return Column(str(series.name), "number", "dropped", dtype, True, note="no value is finite")
    whole = not types.is_timedelta64_dtype(series.dtype) and bool((finite == np.round(finite)).all())
    note = "constant" if finite.min() == finite.max() else ""
    if types.is_timedelta64_dtype(series.dtype):
        note = "seconds"
    return Column(
        str(series.name),
        "integer" if whole else "number",
        dtype=dtype,
        missing=len(finite) < len(values),
        minimum=_outward(finite.min(), np.floor, whole),
        maximum=_outward(finite.max(), np.ceil, whole),
        quantiles=_quantiles(finite),
        note=note,
    )


def _date_column(series: pd.Series, timezone: str) -> Column:
    stamps = as_microseconds(series, timezone)
    present = stamps[stamps != NO_DATE].astype(np.float64)
    dtype = getattr(series.dtype, "tz", None)
    return Column(
        str(series.name),
        "date",
        dtype=str(series.dtype),
        missing=len(present) < len(stamps),
        minimum=float(np.floor(present.min() / _DAY) * _DAY),
        maximum=float(np.ceil(present.max() / _DAY) * _DAY),
        quantiles=tuple(float(q) for q in np.round(np.quantile(present, _POINTS) / _DAY) * _DAY),
        timezone=str(dtype) if dtype is not None else None,
    )


def _as_category(series: pd.Series, role: str) -> Column:
    texts = as_strings(series)
    values, counts = np.unique(texts[texts != ""].astype(str), return_counts=True)
    least = 1 if role == "label" else COMMON
    common = tuple(str(v) for v in values[counts >= least])
    return Column(
        str(series.name),
        "category",
        role,
        str(series.dtype),
        bool((texts == "").any()),
        categories=common,
        rare=len(common) < len(values),
    )


def _is_texty(series: pd.Series) -> bool:
    return types.is_object_dtype(series.dtype) or types.is_string_dtype(series.dtype)


def _lacks(series: pd.Series) -> bool:
    if _is_texty(series):
        return bool((series.isna() | (series.astype(str).str.strip() == "")).any())
    return bool(series.isna().any())


def _outward(value: float, rounding: np.ufunc, whole: bool) -> float:
    """Rounded away from the data to three significant digits; whole numbers below 1,000 stay as they are."""
    if value == 0 or (whole and abs(value) < 1000):
        return float(value)
    unit = 10.0 ** (np.floor(np.log10(abs(value))) - 2)
    return float(rounding(value / unit) * unit)


def _quantiles(values: np.ndarray) -> tuple[float, ...]:
    points = np.quantile(values[np.isfinite(values)], _POINTS)
    return tuple(float(f"{point:.3g}") for point in points)
