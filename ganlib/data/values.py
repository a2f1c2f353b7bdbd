"""Converts raw values to numbers, strings and microseconds with the same code as scoring.

That code is ``serving.table``; this module accepts pandas columns and raises this package's errors.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

from ganlib.errors import ConfigError, DataError, DependencyError
from serving import errors, textfeatures
from serving.table import arrow, values
from serving.table.arrow import plain_text
from serving.table.words import MISSING_WORDS, Missing

NO_DATE = values.NO_DATE
TEXT_CHANNELS = textfeatures.CHANNELS
category_text = plain_text
ALL_WORDS = Missing(MISSING_WORDS)
NO_WORDS = Missing(())
_OURS = {errors.UsageError: ConfigError, errors.DataError: DataError, errors.DependencyError: DependencyError}


def reading(read: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator that converts errors of ``serving`` to this package's errors, with the same message and exit code."""

    @wraps(read)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return read(*args, **kwargs)
        except errors.ServingError as error:
            for theirs, ours in _OURS.items():
                if isinstance(error, theirs):
                    raise ours(str(error)) from error
            raise

    return wrapped


@reading
def arrow_of(series: pd.Series) -> Any:
    """A column as Arrow; raises DataError for lists, mappings, complex numbers and lone surrogates."""
    return arrow.column(str(series.name), series)


@reading
def as_strings(series: pd.Series, missing: Missing = NO_WORDS, levels: str | None = None) -> np.ndarray:
    """Category values as an object array of str, ``""`` if missing; raises DataError for lists and mappings."""
    array = arrow_of(series)
    if values.pa.types.is_nested(array.type):
        values.feed({"name": str(series.name), "kind": "category"}, array, (), "UTC")
    return values.categories(array, missing, levels)


@reading
def as_numbers(series: pd.Series, missing: Missing = ALL_WORDS, layout: str | None = None) -> np.ndarray:
    """float64 with NaN for missing (``±inf`` stays); raises DataError naming the first value that is not a number."""
    return values.numbers(str(series.name), arrow_of(series), missing, layout)


@reading
def as_booleans(series: pd.Series, missing: Missing = ALL_WORDS, layout: str | None = None) -> np.ndarray:
    """float64 0/1 with NaN for missing; raises DataError naming the first value that is neither."""
    return values.booleans(str(series.name), arrow_of(series), missing, layout)


@reading
def as_microseconds(
    series: pd.Series, timezone: str, missing: Missing = ALL_WORDS, layout: str | None = None
) -> np.ndarray:
    """int64 microseconds since 1970 UTC, ``NO_DATE`` for missing.

    Naive times are read in ``timezone``: ambiguous ones are the earlier of the two, skipped ones are shifted forward.
    Raises DataError naming the first value that is not a date.
    """
    return values.dates(str(series.name), arrow_of(series), missing, timezone, layout)


def text_features(series: pd.Series, buckets: int) -> np.ndarray:
    """Length, shares of character classes and hashed 3-grams: float32 ``(n, 6 + buckets)`` (docs/artifact.md)."""
    return textfeatures.text_features(as_strings(series).tolist(), buckets)


def present_values(series: pd.Series, missing: Missing) -> pd.Series:
    """The values that are not missing; text as strings."""
    if types.is_numeric_dtype(series.dtype) or types.is_datetime64_any_dtype(series.dtype):
        return series.dropna()
    texts = pd.Series(as_strings(series, missing))
    return texts[texts != ""]
