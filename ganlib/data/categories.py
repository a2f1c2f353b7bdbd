"""Category columns: their common values, and the type that their texts stand for."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pandas.api import types

from ganlib.data.column import Column
from ganlib.data.disguise import all_numbers
from ganlib.data.dtypes import name_of, object_kind, plain
from ganlib.data.values import ALL_WORDS, as_strings, category_text
from ganlib.errors import DataError
from serving.table.arrow import is_missing
from serving.table.words import AMBIGUOUS, MISSING_WORDS, Missing

COMMON = 5  # rows that share a value for it to be listed


def label_column(series: pd.Series, max_categories: int = 100) -> Column:
    """The column of a label, with all of its values if they are few."""
    return as_category(series, "label", max_categories)


def as_category(series: pd.Series, role: str, max_categories: int, dtype: str = "") -> Column:
    """A category column of the common values, sorted or in their given order; of all values for a label with few."""
    dtype = dtype or name_of(series)
    raw = as_strings(series)
    words = word_values(pd.Series(np.unique(raw.astype(str)))) if role == "feature" else set()
    missing, levels = Missing(MISSING_WORDS, words), _levels_of(series, raw, role)
    texts = as_strings(series, missing, levels)
    counts = pd.Series(texts[texts != ""]).value_counts(sort=False)
    values = counts.index
    listed = role == "label" and len(values) <= max_categories
    common = {str(v) for v in values[counts.to_numpy() >= (1 if listed else COMMON)]}
    order = sorted(common)
    if dtype.endswith(":ordered"):
        order = [v for v in as_strings(pd.Series(series.cat.categories), missing, levels) if v in common]
    notes = ["constant"] if len(values) == 1 else []
    if role == "label" and not listed:
        notes.append(f"{len(values)} different values: only those seen {COMMON} times or more are listed")
    if words:
        notes.append(f"{', '.join(sorted(words))} read as a value, not as missing (not_missing)")
    return Column(
        str(series.name),
        "category",
        role,
        dtype,
        bool((texts == "").any()),
        categories=tuple(order),
        rare=len(common) < len(values),
        note="; ".join(notes),
        levels=levels,
        not_missing=tuple(sorted(words)),
    )


def _levels_of(series: pd.Series, texts: np.ndarray, role: str) -> str:
    """The type of category strings, so that each level has one string however it is written.

    Raises DataError if objects of different types have the same text.
    """
    dtype = series.cat.categories.dtype if isinstance(series.dtype, pd.CategoricalDtype) else plain(series).dtype
    if types.is_bool_dtype(dtype):
        return "boolean"
    numeric = types.is_numeric_dtype(dtype) or types.is_timedelta64_dtype(dtype)
    if numeric or object_kind(series) in ("integer", "floating", "decimal", "timedelta"):
        return "number"
    dated = types.is_datetime64_any_dtype(dtype) or isinstance(dtype, pd.PeriodDtype)
    if dated or object_kind(series) in ("date", "datetime"):
        return "date"
    _check_alike(series)
    filled = pd.Series([t for t in np.unique(texts.astype(str)) if t not in ALL_WORDS], dtype=object)
    if role == "feature" or len(filled) == 0:
        return "text"
    if all_numbers(filled):
        return "number"
    return "boolean" if set(filled.str.lower()) <= {"true", "false"} else "text"


def _check_alike(series: pd.Series) -> None:
    if not types.is_object_dtype(series.dtype):
        return
    known: dict[str, object] = {}
    for value in series:
        if isinstance(value, str) or is_missing(value):
            continue
        known.setdefault(category_text(value), value)
    both = known.keys() & {v for v in series if isinstance(v, str)} if known else set()
    if both:
        text = min(both)
        raise DataError(
            f"column {series.name!r} holds {known[text]!r} and {text!r}, different values that are written alike; give "
            "the column one type"
        )


def word_values(texts: pd.Series) -> set[str]:
    """Words such as NA that may also be values; in text columns they are read as values."""
    return {text.strip() for text in texts if text.strip().lower() in AMBIGUOUS}
