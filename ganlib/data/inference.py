"""Schema inference: the most likely kind and role of each column, and the statistics that may be stored.

Privacy: categories, exact bounds and constants are stored only if at least ``COMMON`` rows share them. Other bounds are
rounded outward, and quantiles rounded, to three significant digits (dates to the day).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import numpy as np
import pandas as pd
from pandas.api import types

from ganlib.data.categories import COMMON, as_category, word_values
from ganlib.data.categories import label_column as label_column
from ganlib.data.column import Column, known_zone
from ganlib.data.constraints import find_constraints
from ganlib.data.disguise import read_texts
from ganlib.data.dtypes import date_mark, is_nested, name_of, object_kind, plain
from ganlib.data.frames import as_frame, close_names
from ganlib.data.frames import check_frame as check_frame
from ganlib.data.gaps import with_gaps
from ganlib.data.roles import assign_roles, with_requests
from ganlib.data.schema import Schema
from ganlib.data.values import ALL_WORDS, NO_DATE, as_booleans, as_microseconds, as_numbers, as_strings
from ganlib.errors import ConfigError, DataError
from serving.table.layouts import NumberLayout, find_step, is_clock, number_layout, resolution
from serving.table.spans import SpanLayout
from serving.table.values import whole_dates
from serving.table.words import AMBIGUOUS, MISSING_WORDS, Missing

TEXT_BUCKETS = 32
_DAY = 86_400_000_000  # microseconds: dates are stored to the day only
_POINTS = (0.0, 0.05, 0.5, 0.95, 1.0)
_HOUR = 3_600_000_000  # times of day are stored to the hour
EXACT = 2**53  # beyond it float64 cannot distinguish neighbouring whole numbers


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
    """Infer a schema for review. The ``note`` of a column explains why it is dropped or treated specially.

    - Whole numbers are integers however few values they have, unless their dtype is a category.
    - Strings that are all numbers become numbers, unless they have leading zeros; ISO dates become dates.
    - Strings with more than ``max_categories`` values become text features. They are dropped if all values differ and
      none looks like free text.
    - Distinct whole numbers are dropped if they are named like an identifier or increase over 20 rows or more, as long
      as another feature remains.
    - Empty columns and columns of lists or mappings are dropped.
    - For a detector, other clocks, counters and identifiers are dropped too, and dates are read by their cycles
      (``ganlib.data.roles``) and steady gaps (``ganlib.data.gaps``).
    - With ``for_generation``, relations between columns are proposed as constraints instead.

    ``label`` and ``group`` name the columns with these roles, ``drop`` and ``ids`` unused columns; naive times are
    read in ``timezone``. Raises DataError for duplicate column names, a missing column (with close matches), complex
    numbers, or a frame without rows, columns or features; ConfigError for an unknown time zone, conflicting roles or a
    limit below 2.
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
            columns.append(as_category(frame[name], "label" if name == label else "group", max_categories))
        else:
            columns.append(_inferred(frame[name], timezone, max_categories, name in unused))
    columns = assign_roles(frame, with_requests(columns, drop, ids), timezone, for_generation)
    columns = columns if for_generation else with_gaps(columns, frame, timezone)
    columns = [replace(c, role="id") if _is_identifier(c) else c for c in columns]
    schema = Schema(tuple(columns), timezone, missing_words=MISSING_WORDS)
    if not schema.features:
        notes = "; ".join(f"{c.name}: {c.note or c.role}" for c in columns[:20])
        raise DataError(f"no column can serve as a feature: {notes}")
    return replace(schema, constraints=find_constraints(frame, schema)) if for_generation else schema


def _is_identifier(column: Column) -> bool:
    """Whether a column was dropped as an identifier; it is then copied to the scores."""
    return column.role == "dropped" and "identifier" in column.note


def with_public(schema: Schema, frame: pd.DataFrame) -> Schema:
    """The schema with all values listed, however rare, for columns that are marked public."""
    for column in schema.columns:
        if column.public and column.kind == "category" and column.name in frame.columns:
            texts = as_strings(frame[column.name], schema.missing(column.name), column.levels)
            listed = dict.fromkeys([*(column.categories or ()), *sorted(set(texts) - {""})])
            schema = schema.with_column(column.name, categories=tuple(listed), rare=False)
    return schema


def _inferred(series: pd.Series, timezone: str, max_categories: int, unused: bool) -> Column:
    """Infer a column; unused columns may hold unreadable values."""
    try:
        return infer_column(series, timezone, max_categories)
    except DataError:
        if not unused:
            raise
        return Column(str(series.name), "text", dtype=name_of(series))


def infer_column(series: pd.Series, timezone: str = "UTC", max_categories: int = 100) -> Column:
    """Infer a column from its dtype if that is conclusive, and otherwise from its values.

    It has no role that other columns decide.
    """
    name, dtype = str(series.name), name_of(series)
    if isinstance(series.dtype, pd.CategoricalDtype):
        return _categorical(series, max_categories, timezone)
    series = plain(series)
    if series.isna().all():
        return Column(name, "number", "dropped", dtype, True, note="every value is missing")
    if is_nested(series):
        return Column(name, "text", "dropped", dtype, note="lists or mappings; spread them over separate columns")
    objects = object_kind(series)
    if types.is_bool_dtype(series.dtype) or objects == "boolean":
        return _boolean_column(series, dtype)
    if types.is_datetime64_any_dtype(series.dtype) or objects in ("date", "datetime"):
        return _date_column(series, dtype, timezone)
    if objects == "time":
        return _date_column(series, dtype, timezone, clock_of(series))
    if types.is_timedelta64_dtype(series.dtype) or types.is_numeric_dtype(series.dtype) or objects == "timedelta":
        return _number_column(series, dtype, timezone)
    return _infer_text(series, dtype, timezone, max_categories)


def _categorical(series: pd.Series, max_categories: int, timezone: str) -> Column:
    """A category if it has few levels, otherwise a column of the levels' type; times are never categories."""
    levels = series.cat.categories.dtype
    timed = types.is_datetime64_any_dtype(levels) or types.is_timedelta64_dtype(levels)
    if series.nunique() <= max_categories and not timed:
        if series.isna().all():
            return Column(str(series.name), "category", "dropped", "category", True, note="every value is missing")
        return as_category(series, "feature", max_categories)
    values = series.astype(levels) if timed else series.astype(object).infer_objects()
    return infer_column(values, timezone, max_categories)


def _infer_text(series: pd.Series, dtype: str, timezone: str, max_categories: int) -> Column:
    """Strings: numbers or dates in disguise, categories, identifiers or free text."""
    name, counts = str(series.name), pd.Series(as_strings(series)).value_counts(sort=False)
    texts = pd.Series(counts.index, dtype=object).str.strip()
    present = np.array([text not in ALL_WORDS for text in texts], dtype=bool)
    if not present.any() and all(text.lower() not in AMBIGUOUS for text in texts):
        return Column(name, "number", "dropped", dtype, True, note="every value is empty")
    filled = texts[present]
    if len(filled) and (disguised := _disguised(series, filled, dtype, timezone)):
        return disguised
    # In text columns, NA and None are values: a country, a grade.
    values = word_values(texts)
    present = np.array([text not in Missing(MISSING_WORDS, values) for text in texts], dtype=bool)
    filled, rows = texts[present], int(counts.to_numpy()[present].sum())
    distinct = len(filled)
    if distinct <= max_categories and (distinct < rows or distinct <= 2):
        return as_category(series, "feature", max_categories, dtype)
    lacks = rows < len(series)
    if distinct == rows and not filled.str.contains(" ").any() and filled.str.len().std() < 3:
        return Column(name, "text", "dropped", dtype, lacks, note="every value is different: an identifier")
    note = f"{distinct} different values: seen as length, character classes and hashed 3-grams; not generated"
    return Column(
        name, "text", "feature", dtype, lacks, buckets=TEXT_BUCKETS, note=note, not_missing=tuple(sorted(values))
    )


def _disguised(series: pd.Series, filled: pd.Series, dtype: str, timezone: str) -> Column | None:
    """Numbers, dates and booleans written as text; ``filled`` are the distinct values that are present."""
    if (found := read_texts(filled)) is None:
        return None
    if found.kind == "boolean":
        return _boolean_column(series, dtype, found.layout)
    if found.kind == "number":
        return _number_column(series, dtype, timezone, found.layout, found.note)
    try:
        return _date_column(series, dtype, timezone, found.layout, found.note)
    except DataError:  # looks like dates but is not: 2026-02-31
        return None


def _boolean_column(series: pd.Series, dtype: str, layout: str | None = None) -> Column:
    values = as_booleans(series)
    known = values[~np.isnan(values)]
    note = "constant" if known.min() == known.max() else ""
    return Column(
        str(series.name), "boolean", dtype=dtype, missing=len(known) < len(values), quantiles=_quantiles(known),
        note=note, layout=layout,
    )  # fmt: skip


def _number_column(series: pd.Series, dtype: str, timezone: str, layout: str | None = None, note: str = "") -> Column:
    values = as_numbers(series, layout=layout or None)
    if not layout and types.is_integer_dtype(series.dtype) and whole_dates(values):
        note = "whole numbers that are days, such as 20230623"
        return _date_column(series, dtype, timezone, "%Y%m%d", note)
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return Column(str(series.name), "number", "dropped", dtype, True, note="no value is finite")
    written = number_layout(layout)
    spans = types.is_timedelta64_dtype(series.dtype) or object_kind(series) == "timedelta"
    spans = spans or isinstance(written, SpanLayout)
    decimals = isinstance(written, NumberLayout) and written.spec.endswith("f")
    whole = not spans and not decimals and bool((finite == np.round(finite)).all())
    if _beyond_exact(series, values):
        note = "whole numbers beyond 2^53 that all differ: an identifier"
        return Column(str(series.name), "integer", "dropped", dtype, len(finite) < len(values), note=note)
    notes = [*filter(None, [note]), *["seconds"] * spans]
    step = find_step(finite)
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
        layout=layout or None,
        step=None if step is None or (whole and step == 1) else step,
    )


def _beyond_exact(series: pd.Series, values: np.ndarray) -> bool:
    """Whether these are distinct whole numbers beyond float64's precision; raises DataError if some repeat."""
    finite = values[np.isfinite(values)]
    if len(finite) == 0 or np.abs(finite).max() <= EXACT or not _is_whole_type(series):
        return False
    if series.nunique() < len(series):
        raise DataError(
            f"column {series.name!r} holds whole numbers beyond 2^53, which cannot be computed with exactly; give it "
            "the role id or dropped in the schema, or turn it into text"
        )
    return True


def _is_whole_type(series: pd.Series) -> bool:
    return types.is_integer_dtype(series.dtype) or object_kind(series) == "integer" or is_text_type(series)


def is_text_type(series: pd.Series) -> bool:
    """Whether a column has strings, or objects that may be strings."""
    return types.is_string_dtype(series.dtype) or types.is_object_dtype(series.dtype)


def _date_column(series: pd.Series, dtype: str, timezone: str, layout: str | None = None, note: str = "") -> Column:
    stamps = as_microseconds(series, zone_of(series) or timezone, layout=layout)
    present = stamps[stamps != NO_DATE]
    if len(present) == 0:
        return Column(str(series.name), "date", "dropped", dtype, True, note="every value is missing")
    zone = zone_of(series)
    mark = "" if layout else date_mark(series, present, zone or timezone)
    constant = present.min() == present.max()
    low, high = (present.min(), present.max()) if constant and len(present) >= COMMON else (None, None)
    points = np.quantile(present.astype(np.float64), _POINTS)
    unit, last = (_HOUR, _DAY - resolution(str(layout))) if is_clock(layout) else (_DAY, np.inf)
    return Column(
        str(series.name),
        "date",
        dtype=f"{dtype}:{mark}" if mark else dtype,
        missing=len(present) < len(stamps),
        minimum=float(present.min() // unit * unit if low is None else low),
        maximum=float(min(last, -(-present.max() // unit) * unit) if high is None else high),
        quantiles=tuple(float(min(last, q)) for q in np.round(points / unit) * unit),
        timezone=zone,
        note="; ".join(filter(None, [note, "constant" if constant else ""])),
        layout=layout,
    )


def clock_of(series: pd.Series) -> str:
    """The layout of a column of times of day, with microseconds if any value has some."""
    fine = any(value.microsecond for value in series if isinstance(value, time))
    return "%H:%M:%S.%6f" if fine else "%H:%M:%S"


def zone_of(series: pd.Series) -> str | None:
    """The name of a column's time zone: an IANA name, ``+hh:mm`` for an offset, or UTC for objects of several zones."""
    zone = getattr(series.dtype, "tz", None)
    if zone is None and types.is_object_dtype(series.dtype):
        zones = {str(v.tzinfo): v.tzinfo for v in series if isinstance(v, datetime) and v.tzinfo and v == v}
        zone = next(iter(zones.values()), None) if len(zones) < 2 else UTC
    if zone is None:
        return None
    try:
        return known_zone(str(zone))
    except ConfigError:
        minutes = int((zone.utcoffset(None) or timedelta()).total_seconds() // 60)
        return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}" if minutes else "UTC"


def _outward(values: np.ndarray, bound: float, rounding: np.ufunc, whole: bool) -> float:
    """A bound: exact if COMMON rows share it, otherwise rounded away from the data to three significant digits."""
    if bound == 0 or (whole and abs(bound) < 1000) or (values == bound).sum() >= COMMON:
        return float(bound)
    unit = 10.0 ** (np.floor(np.log10(abs(bound))) - 2)
    if unit == 0 or not np.isfinite(rounding(bound / unit) * unit):
        return float(bound)
    return float(f"{rounding(bound / unit) * unit:.12g}")


def _quantiles(values: np.ndarray) -> tuple[float, ...]:
    points = np.quantile(values[np.isfinite(values)], _POINTS)
    return tuple(float(f"{point:.3g}") for point in points)
