"""Train, validation and calibration splits: by row content, by group or by time."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from pandas.api import types

from ganlib.data.content import row_hash
from ganlib.data.dtypes import plain
from ganlib.data.frames import as_frame, close_names
from ganlib.data.values import NO_DATE, as_microseconds, as_numbers
from ganlib.errors import ConfigError, DataError


def split_rows(
    frame: pd.DataFrame,
    fractions: Mapping[str, float],
    by: str = "hash",
    column: str | None = None,
    seed: int = 0,
    least: int = 1,
) -> dict[str, np.ndarray]:
    """Split the rows; returns the ascending row positions of each part. Every row is in exactly one part.

    - ``hash``: by row content (``ganlib.data.content``). Equal rows stay together, and the split does not depend on
      row order, types or file format.
    - ``group``: by ``column``; rows with the same value stay together (missing values form one group).
    - ``time``: ordered by ``column``, parts in the given order; equal times stay together.

    Fractions must sum to 1 and are met as closely as ties allow. Raises ConfigError for bad fractions, an unknown
    method or a missing column; DataError if a time is missing or a part would have fewer than ``least`` rows.
    """
    _check_fractions(fractions)
    frame = as_frame(frame)
    if by == "time":
        keys = sortable_times(frame[_known(frame, column, by)])
    elif by == "group":
        keys = mixed(seeded(row_hash(frame[[_known(frame, column, by)]]), seed))
    elif by == "hash":
        keys = mixed(seeded(row_hash(frame), seed))
    else:
        raise ConfigError(f"rows are split by hash, group or time, not by {by!r}")
    order = np.argsort(keys, kind="stable")
    unit = {"hash": "different rows", "group": f"rows in more values of {column!r}", "time": "rows at different times"}
    return _cut(order, keys[order], fractions, least, unit[by])


def seeded(hashes: np.ndarray, seed: int) -> np.ndarray:
    """Hashes ``uint64 (n,)`` combined with the seed."""
    return hashes ^ np.uint64((seed * 0x9E3779B97F4A7C15 + 0x2545F4914F6CDD1D) % 2**64)


def mixed(keys: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014)."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


def sortable_times(series: pd.Series) -> np.ndarray:
    """Sortable times: numbers unchanged, dates as microseconds. Raises DataError if one is missing."""
    series = plain(series)
    if types.is_numeric_dtype(series.dtype) or types.is_timedelta64_dtype(series.dtype) or _are_numbers(series):
        keys = as_numbers(series)
        missing = np.isnan(keys)
    else:
        keys = as_microseconds(series, "UTC")
        missing = keys == NO_DATE
    if missing.any():
        raise DataError(
            f"column {series.name!r}, row {int(np.flatnonzero(missing)[0])}: no time ({int(missing.sum())} such rows); "
            "a split by time needs one in each row: drop these rows or split by hash"
        )
    return keys


def _are_numbers(series: pd.Series) -> bool:
    """Whether a text column holds numbers."""
    if not types.is_string_dtype(series.dtype):
        return False
    try:
        return not np.isnan(as_numbers(series)).all()
    except DataError:
        return False


def _check_fractions(fractions: Mapping[str, float]) -> None:
    shares = list(fractions.values())
    if not shares or not all(math.isfinite(s) and s > 0 for s in shares) or abs(sum(shares) - 1) > 1e-9:
        raise ConfigError(f"split fractions must be positive and sum to 1; got {dict(fractions)}")


def _known(frame: pd.DataFrame, column: str | None, by: str) -> str:
    if column is None:
        raise ConfigError(f"a split by {by} needs a column; name one of {', '.join(map(repr, frame.columns[:20]))}")
    if column not in frame.columns:
        hint = close_names(column, frame.columns)
        raise ConfigError(f"a split by {by} needs a column; there is no {column!r}: {hint}")
    return column


def _cut(
    order: np.ndarray, keys: np.ndarray, fractions: Mapping[str, float], least: int, unit: str
) -> dict[str, np.ndarray]:
    """Cut the ordered rows at the fractions, moving each cut past rows with an equal key."""
    n, parts, start, share = len(order), {}, 0, 0.0
    names = list(fractions)
    for name in names:
        share += fractions[name]
        stop = n if name == names[-1] else max(start, round(n * share))
        if 0 < stop < n:
            stop = int(np.searchsorted(keys, keys[stop - 1], side="right"))
        parts[name] = np.sort(order[start:stop])
        start = stop
    for name, rows in parts.items():
        if len(rows) < least:
            needed = max(math.ceil(least / fractions[name]), len(names) * least)
            raise DataError(
                f"the {name} part would hold {len(rows)} of {n} rows, fewer than {least}; about {needed} {unit} "
                f"are needed, or a larger {name} share"
            )
    return parts
