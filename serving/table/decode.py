"""Converts generated values to pandas columns of the training table's types and layouts.

The type is the schema's ``dtype`` (``ganlib.data.dtypes`` lists the names). If the real column is available, its type
is used instead, and its levels are returned as the original objects.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from serving.table.layouts import is_clock, number_layout, parts_of, resolution, write_date
from serving.table.values import NO_DATE
from serving.table.zones import zone

OBJECTS = ("integer", "floating", "decimal", "boolean", "date", "datetime", "time", "timedelta")
DATE_MARKS = ("day", "second", "utc")
_TEXTS = ("object", "str", "string", "string[pyarrow]", "large_string[pyarrow]")


@dataclass(frozen=True)
class Like:
    """The type of a real column, and its levels by category string."""

    dtype: Any = None
    levels: Mapping[str, Any] = field(default_factory=dict)


def decode(column: Mapping[str, Any], values: np.ndarray, timezone: str, like: Like | None = None) -> pd.Series:
    """Convert a graph's output for one column to a pandas column; ``like`` is the real column's type, if available."""
    kind, name, layout = column["kind"], str(column["dtype"]), column.get("layout")
    if kind == "date":
        made = restore_dates(values, NO_DATE, column.get("timezone") or timezone, name, layout)
        if column.get("timezone") and name.startswith("object:datetime"):
            made = _aware(made, zone(str(column["timezone"])))
    elif kind == "category":
        made = (
            _levels(values, column, like)
            if like and like.levels
            else restore_categories(values, column.get("categories") or (), bool(column.get("rare")), name)
        )
    elif kind == "boolean":
        made = restore_booleans(values, name, layout)
    else:
        made = restore_numbers(values, kind == "integer", name, layout, column.get("step"))
    return made if like is None or like.dtype is None else _as(made, like.dtype)


def _aware(made: pd.Series, where: tzinfo) -> pd.Series:
    """Attach the time zone to a column of datetime objects."""
    return pd.Series([None if t is None else t.replace(tzinfo=where) for t in made], dtype=object)


def _as(series: pd.Series, dtype: Any) -> pd.Series:
    """Cast to the real column's type, if it can hold the values."""
    if series.dtype == dtype:
        return series
    try:
        return series.astype(dtype)
    except (TypeError, ValueError, OverflowError, NotImplementedError):
        return series


def _levels(values: np.ndarray, column: Mapping[str, Any], like: Like) -> pd.Series:
    """Levels as the original objects; keeps all categories of a real column and their order."""
    texts = pd.Series(values, dtype=object)
    if isinstance(like.dtype, pd.CategoricalDtype):
        place = {like.levels[text]: text for text in like.levels}
        codes = {place.get(level, level): i for i, level in enumerate(like.dtype.categories)}
        return pd.Series(pd.Categorical.from_codes([codes.get(t, -1) for t in texts], dtype=like.dtype))
    objects = np.empty(len(texts), dtype=object)
    objects[:] = [like.levels.get(text) for text in texts]
    return pd.Series(objects, dtype=object)


def split_name(name: str) -> tuple[str, tuple[str, ...]]:
    """Split a dtype name into its base and its marks."""
    known = {*OBJECTS, *DATE_MARKS, "ordered", "bool", "int64", "float64", "str"}
    parts = name.split(":")
    marks: list[str] = []
    while len(parts) > 1 and parts[-1] in known:
        marks.insert(0, parts.pop())
    return ":".join(parts), tuple(marks)


def dtype_of(name: str) -> Any:
    """The pandas dtype of a name without marks; raises TypeError or ValueError for unknown names."""
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
    """Whether a name without marks denotes strings or objects."""
    return name in _TEXTS or name.startswith("string")


def cast(series: pd.Series, name: str) -> pd.Series:
    """Cast to the dtype of a name without marks; returns the column unchanged if that is not possible."""
    try:
        return series.astype(dtype_of(name))
    except (TypeError, ValueError, NotImplementedError):
        return series


def restore_numbers(
    values: np.ndarray, whole: bool, name: str, layout: str | None = None, step: float | None = None
) -> pd.Series:
    """Convert float64 values (NaN missing) to a column of the named dtype; text is formatted by ``layout``.

    Plain integer types cannot hold missing values; such columns stay float64 if values are missing.
    """
    base, marks = split_name(name)
    series = pd.Series(values)
    if base.startswith(("timedelta", "duration")) or "timedelta" in marks:
        return _spans(values, base)
    if is_text(base) and marks not in (("integer",), ("floating",)):
        write = _writer(whole, layout, step)
        make = Decimal if marks == ("decimal",) else str
        texts = [None if np.isnan(v) else make(write(v)) for v in values]
        return cast(pd.Series(texts, dtype=object), base)
    if is_text(base):
        number = int if whole or marks == ("integer",) else float
        return pd.Series([None if np.isnan(v) else number(v) for v in values], dtype=object)
    if base.startswith("decimal"):
        texts = [None if np.isnan(v) else Decimal(f"{v:.{_scale(base)}f}") for v in values]
        return cast(pd.Series(texts, dtype=object), base)
    if np.isnan(values).any() and re.match(r"u?int", base) and not base.endswith("[pyarrow]"):
        return series
    return cast(_nullable(series) if whole and not re.match(r"float|double", base, re.I) else series, base)


def _spans(values: np.ndarray, base: str) -> pd.Series:
    """Convert seconds to durations, rounded to microseconds."""
    missing = np.isnan(values)
    whole = np.round(np.where(missing, 0.0, values) * 1e6).astype("timedelta64[us]")
    spans = pd.Series(np.where(missing, np.timedelta64("NaT", "us"), whole))
    return spans.astype(object).where(~missing, None) if base == "object" else cast(spans, base)


def _writer(whole: bool, layout: str | None, step: float | None) -> Callable[[float], str]:
    if found := number_layout(layout):
        return found.write
    decimals = parts_of(step)[1] if step else None
    return lambda value: _short(value if decimals is None else round(value, decimals), whole)


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


def restore_booleans(values: np.ndarray, name: str, layout: str | None = None) -> pd.Series:
    """Convert 0/1 values (NaN missing) to a column of the named dtype; text uses ``layout``, or true and false."""
    base, marks = split_name(name)
    words = (layout or "true|false").split("|") if is_text(base) and marks != ("boolean",) else (True, False)
    truth = {1.0: words[0], 0.0: words[1]}
    return cast(pd.Series([truth.get(v) for v in values], dtype=object), base)


def restore_categories(values: np.ndarray, categories: Sequence[str], rare: bool, name: str) -> pd.Series:
    """Convert strings (``""`` missing) to a column of the named dtype.

    Only string columns can hold the placeholder ``rare``; numbers, booleans and ordered levels get a missing value.
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
    """Convert category strings back to numbers or booleans."""
    if "bool" in base or marks == ("boolean",):
        return cast(series.map({"true": True, "false": False}).astype(object).where(series.notna(), None), base)
    numbers = pd.to_numeric(series, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isnan(numbers[series.notna().to_numpy()]).any():
        return cast(series, base)
    whole = bool((numbers[~np.isnan(numbers)] % 1 == 0).all())
    return restore_numbers(numbers, whole, ":".join([base, *marks]))


def restore_dates(stamps: np.ndarray, missing: int, timezone: str, name: str, layout: str | None = None) -> pd.Series:
    """Convert microseconds UTC to a column of the named dtype in ``timezone``, rounded to the training resolution."""
    base, marks = split_name(name)
    if layout:
        first = layout.partition("|")[0]
        if is_clock(first) and (marks == ("time",) or base.startswith("time")):
            return _times_of_day(stamps, missing, base, first)
        return _dates_as_written(stamps, missing, timezone, base, first)
    none, where = np.datetime64("NaT", "us"), zone(timezone)
    utc = pd.Series(np.where(stamps == missing, none, stamps.astype("datetime64[us]"))).dt.tz_localize("UTC")
    local = utc.dt.tz_convert(where).dt.tz_localize(None)
    unit = "D" if "day" in marks or "date" in marks or base.startswith(("date32", "date64", "period[D")) else None
    unit = unit or ("s" if "second" in marks or (is_text(base) and not marks) else None)
    local = local.dt.round(unit) if unit else local
    if is_text(base):
        return cast(_written(local, utc, marks), base)
    if base.startswith("period"):
        return local.dt.to_period(base[len("period[") : -1])
    if "," in base or "tz=" in base:
        return cast(_in_zone(local, where) if unit else utc.dt.tz_convert(where), base)
    return cast(local.dt.date if base.startswith("date") and base.endswith("[pyarrow]") else local, base)


def _times_of_day(stamps: np.ndarray, missing: int, base: str, layout: str) -> pd.Series:
    """Convert microseconds since midnight to times, at the layout's resolution."""
    unit, midnight = resolution(layout), datetime(1970, 1, 1)
    rounded = (np.where(stamps == missing, 0, stamps) + unit // 2) // unit * unit
    times: list[time | None] = [(midnight + timedelta(microseconds=stamp)).time() for stamp in rounded.tolist()]
    return cast(pd.Series(times, dtype=object).where(stamps != missing, None), base)


def _dates_as_written(stamps: np.ndarray, missing: int, timezone: str, base: str, layout: str) -> pd.Series:
    """Format dates by a layout, as text or as whole numbers such as 20230623."""
    where, unit = (UTC if layout.endswith("Z") or is_clock(layout) else zone(timezone)), resolution(layout)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    texts: list[str | None] = []
    for stamp in stamps.tolist():
        if stamp == missing:
            texts.append(None)
            continue
        moment = (epoch + timedelta(microseconds=stamp)).astimezone(where)
        local = moment.replace(tzinfo=None) - datetime(1, 1, 1)
        step = timedelta(microseconds=unit)
        rounded = datetime(1, 1, 1) + (local + step / 2) // step * step
        texts.append(write_date(rounded.replace(tzinfo=where), layout))
    if is_text(base):
        return cast(pd.Series(texts, dtype=object), base)
    numbers = pd.Series([None if t is None else int(t) for t in texts], dtype="Int64")
    if re.match(r"u?int", base) and not base.endswith("[pyarrow]") and numbers.isna().any():
        return numbers.astype("float64")
    return cast(numbers, base)


def _in_zone(local: pd.Series, zone: tzinfo) -> pd.Series:
    return local.dt.tz_localize(zone, ambiguous=np.ones(len(local), bool), nonexistent="shift_forward")


def _written(local: pd.Series, utc: pd.Series, marks: tuple[str, ...]) -> pd.Series:
    """Convert dates to the strings or objects of the training column."""
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
