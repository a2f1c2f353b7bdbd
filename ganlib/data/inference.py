"""Schema inference: what each column of a frame most likely is, and what may be stored of it.

Privacy: categories, exact bounds and constants are stored only where at least ``COMMON`` rows share them; other bounds
are rounded outward, and quantiles rounded, to three significant digits (dates to the day).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd
from pandas.api import types

from ganlib.data.dtypes import date_mark, is_nested, name_of, object_kind, plain
from ganlib.data.frames import as_frame, close_names
from ganlib.data.frames import check_frame as check_frame
from ganlib.data.roles import assign_roles, with_requests
from ganlib.data.schema import Column, Schema, known_zone
from ganlib.data.values import MISSING_WORDS, NO_DATE, as_booleans, as_microseconds, as_numbers, as_strings
from ganlib.errors import ConfigError, DataError

COMMON = 5
TEXT_BUCKETS = 32
_DAY = 86_400_000_000  # microseconds: dates are stored to the day only
_POINTS = (0.0, 0.05, 0.5, 0.95, 1.0)
_ISO = re.compile(r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?)?$")


def infer_schema(
    frame: pd.DataFrame,
    label: str | None = None,
    group: str | None = None,
    timezone: str = "UTC",
    max_categories: int = 100,
    *,
    for_generation: bool = False,
    drop: Iterable[str] = (),
    ids: Iterable[str] = (),
) -> Schema:
    """A schema for this frame, to be reviewed: the ``note`` of a column says why it is dropped or specially treated.

    Whole numbers stay integers however few values they have, unless their dtype is a category; strings that are all
    numbers become numbers (not where leading zeros mark codes); ISO dates become dates. Strings with more than
    ``max_categories`` values become text features, or are dropped where every value differs and none looks like free
    text; whole numbers that all differ are dropped where they are named like an identifier, or only grow over 20 rows
    or more, as long as another feature is left. Columns without a value or of lists and mappings are dropped.
    For a detector, other clocks, counters and identifiers are dropped too, and dates are read by what recurs of them
    (``ganlib.data.roles``); not so ``for_generation``.

    ``label`` and ``group`` name columns that get these roles, ``drop`` and ``ids`` columns that are not used;
    ``timezone`` is how naive times are read.
    Raises DataError on duplicate column names, an absent column (naming close ones), complex numbers, or a frame
    without rows, columns or features; ConfigError on an unknown time zone, roles that clash or a limit below 2.
    """
    if max_categories < 2:
        raise ConfigError(f"max_categories must be 2 or more, not {max_categories}")
    known_zone(timezone)
    frame = as_frame(frame)
    check_frame(frame)
    for name, role in ((label, "label"), (group, "group")):
        if name is not None and name not in frame.columns:
            raise DataError(f"there is no column {name!r} to be the {role}; {close_names(name, frame.columns)}")
    drop, ids = tuple(drop), tuple(ids)
    columns, unused = [], {*drop, *ids}
    for name in frame.columns:
        if name in (label, group):
            columns.append(_as_category(frame[name], "label" if name == label else "group", max_categories))
        else:
            columns.append(_inferred(frame[name], timezone, max_categories, name in unused))
    columns = assign_roles(frame, with_requests(columns, drop, ids), timezone, for_generation)
    schema = Schema(tuple(columns), timezone)
    if not schema.features:
        notes = "; ".join(f"{c.name}: {c.note or c.role}" for c in columns[:20])
        raise DataError(f"no column can serve as a feature: {notes}")
    return schema


def _inferred(series: pd.Series, timezone: str, max_categories: int, unused: bool) -> Column:
    """A column; one that is not to be used may hold what no column can."""
    try:
        return _infer_column(series, timezone, max_categories)
    except DataError:
        if not unused:
            raise
        return Column(str(series.name), "text", dtype=name_of(series))


def _infer_column(series: pd.Series, timezone: str, max_categories: int) -> Column:
    """Told by the dtype where it tells, else by the values."""
    name, dtype = str(series.name), name_of(series)
    if isinstance(series.dtype, pd.CategoricalDtype):
        return _categorical(series, max_categories, timezone)
    series = plain(series)
    if series.isna().all():
        return Column(name, "number", "dropped", dtype, True, note="every value is missing")
    if is_nested(series):
        return Column(name, "text", "dropped", dtype, note="lists or mappings; spread them over columns of their own")
    objects = object_kind(series)
    if types.is_bool_dtype(series.dtype) or objects == "boolean":
        return _boolean_column(series, dtype)
    if types.is_datetime64_any_dtype(series.dtype) or objects in ("date", "datetime"):
        return _date_column(series, dtype, timezone)
    if types.is_timedelta64_dtype(series.dtype) or types.is_numeric_dtype(series.dtype) or objects == "timedelta":
        return _number_column(series, dtype)
    return _infer_text(series, dtype, timezone, max_categories)


def _categorical(series: pd.Series, max_categories: int, timezone: str) -> Column:
    """A category while its levels are few, else what the levels are."""
    if series.nunique() <= max_categories:
        if series.isna().all():
            return Column(str(series.name), "category", "dropped", "category", True, note="every value is missing")
        return _as_category(series, "feature", max_categories)
    values = series.astype(object)
    return _infer_column(values.infer_objects(), timezone, max_categories)


def _infer_text(series: pd.Series, dtype: str, timezone: str, max_categories: int) -> Column:
    """Strings: numbers or dates in disguise, categories, identifiers or free text."""
    name, counts = str(series.name), pd.Series(as_strings(series)).value_counts(sort=False)
    texts = pd.Series(counts.index, dtype=object).str.strip()
    present = ~texts.str.lower().isin(MISSING_WORDS).to_numpy()
    filled, rows = texts[present], int(counts.to_numpy()[present].sum())
    if rows == 0:
        return Column(name, "number", "dropped", dtype, True, note="every value is empty")
    if disguised := _disguised(series, filled, dtype, timezone):
        return disguised
    distinct = len(filled)
    if distinct <= max_categories and (distinct < rows or distinct <= 2):
        return _as_category(series, "feature", max_categories, dtype)
    lacks = rows < len(series)
    if distinct == rows and not filled.str.contains(" ").any() and filled.str.len().std() < 3:
        return Column(name, "text", "dropped", dtype, lacks, note="every value is different: an identifier")
    note = f"{distinct} different values: seen as length, character classes and hashed 3-grams; not generated"
    return Column(name, "text", "feature", dtype, lacks, buckets=TEXT_BUCKETS, note=note)


def _disguised(series: pd.Series, filled: pd.Series, dtype: str, timezone: str) -> Column | None:
    """Numbers, dates and booleans written as text; ``filled`` are the distinct values that are present."""
    if _all_numbers(filled[:100]) and _all_numbers(filled):
        return _number_column(series, dtype)
    if filled.str.match(_ISO).all():
        try:
            return _date_column(series, dtype, timezone)
        except DataError:  # looks like dates but is none: 2026-02-31
            return None
    if set(filled[:5].str.lower()) == {"true", "false"} and set(filled.str.lower()) == {"true", "false"}:
        return _boolean_column(series, dtype)
    return None


def _all_numbers(texts: pd.Series) -> bool:
    """Leading zeros (postcodes, account numbers) make codes of numbers."""
    coded = texts.str.match(r"^[+-]?0\d").any()
    return bool(not coded and pd.to_numeric(texts, errors="coerce").notna().all())


def _boolean_column(series: pd.Series, dtype: str) -> Column:
    values = as_booleans(series)
    known = values[~np.isnan(values)]
    note = "constant" if known.min() == known.max() else ""
    return Column(
        str(series.name), "boolean", dtype=dtype, missing=len(known) < len(values), quantiles=_quantiles(known),
        note=note,
    )  # fmt: skip


def _number_column(series: pd.Series, dtype: str) -> Column:
    values = as_numbers(series)
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return Column(str(series.name), "number", "dropped", dtype, True, note="no value is finite")
    spans = types.is_timedelta64_dtype(series.dtype) or object_kind(series) == "timedelta"
    whole = not spans and bool((finite == np.round(finite)).all())
    notes = ["seconds"] if spans else []
    if finite.min() == finite.max():
        notes.append("constant")
    return Column(
        str(series.name),
        "integer" if whole else "number",
        dtype=dtype,
        missing=len(finite) < len(values),
        minimum=_outward(finite, finite.min(), np.floor, whole),
        maximum=_outward(finite, finite.max(), np.ceil, whole),
        quantiles=_quantiles(finite),
        note="; ".join(notes),
    )


def _date_column(series: pd.Series, dtype: str, timezone: str) -> Column:
    stamps = as_microseconds(series, timezone)
    present = stamps[stamps != NO_DATE]
    if len(present) == 0:
        return Column(str(series.name), "date", "dropped", dtype, True, note="every value is missing")
    zone = zone_of(series)
    mark = date_mark(series, present, zone or timezone)
    constant = present.min() == present.max()
    low, high = (present.min(), present.max()) if constant and len(present) >= COMMON else (None, None)
    points = np.quantile(present.astype(np.float64), _POINTS)
    return Column(
        str(series.name),
        "date",
        dtype=f"{dtype}:{mark}" if mark else dtype,
        missing=len(present) < len(stamps),
        minimum=float(present.min() // _DAY * _DAY if low is None else low),
        maximum=float(-(-present.max() // _DAY) * _DAY if high is None else high),
        quantiles=tuple(float(q) for q in np.round(points / _DAY) * _DAY),
        timezone=zone,
        note="constant" if constant else "",
    )


def zone_of(series: pd.Series) -> str | None:
    """The IANA name of a column's time zone; fixed offsets become ``Etc/GMT...`` where whole hours, else UTC."""
    zone = getattr(series.dtype, "tz", None)
    if zone is None:
        return None
    try:
        return known_zone(str(zone))
    except ConfigError:
        offset = zone.utcoffset(None)
        hours = 0.0 if offset is None else offset.total_seconds() / 3600
        return f"Etc/GMT{-int(hours):+d}" if hours and hours == int(hours) else "UTC"


def _as_category(series: pd.Series, role: str, max_categories: int, dtype: str = "") -> Column:
    """Values seen often enough, sorted (ordered levels in their order); a label keeps all while they are few."""
    dtype = dtype or name_of(series)
    texts = as_strings(series)
    counts = pd.Series(texts[texts != ""]).value_counts(sort=False)
    values = counts.index
    listed = role == "label" and len(values) <= max_categories
    common = {str(v) for v in values[counts.to_numpy() >= (1 if listed else COMMON)]}
    order = sorted(common)
    if dtype.endswith(":ordered"):
        order = [v for v in as_strings(pd.Series(series.cat.categories)) if v in common]
    note = "constant" if len(values) == 1 else ""
    if role == "label" and not listed:
        note = f"{len(values)} different values: only those seen {COMMON} times or more are listed"
    return Column(
        str(series.name),
        "category",
        role,
        dtype,
        bool((texts == "").any()),
        categories=tuple(order),
        rare=len(common) < len(values),
        note=note,
    )


def _outward(values: np.ndarray, bound: float, rounding: np.ufunc, whole: bool) -> float:
    """A bound, exact where COMMON rows share it; else rounded away from the data to three significant digits."""
    if bound == 0 or (whole and abs(bound) < 1000) or (values == bound).sum() >= COMMON:
        return float(bound)
    unit = 10.0 ** (np.floor(np.log10(abs(bound))) - 2)
    if unit == 0 or not np.isfinite(rounding(bound / unit) * unit):
        return float(bound)
    return float(f"{rounding(bound / unit) * unit:.12g}")


def _quantiles(values: np.ndarray) -> tuple[float, ...]:
    points = np.quantile(values[np.isfinite(values)], _POINTS)
    return tuple(float(f"{point:.3g}") for point in points)
