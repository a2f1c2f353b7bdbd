"""Splits made before anything is fitted: by row content, by group or by time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ganlib.errors import ConfigError, DataError


def split_rows(
    frame: pd.DataFrame,
    fractions: Mapping[str, float],
    by: str = "hash",
    column: str | None = None,
    seed: int = 0,
    least: int = 1,
) -> dict[str, np.ndarray]:
    """Row positions of each part.

    ``hash``: by the rows' content, so that equal rows land on one side and the same data split alike anywhere;
    ``group``: whole values of ``column``; ``time``: ordered by ``column``, parts in the order given. Fractions sum
    to 1. Raises DataError where a part would hold fewer than ``least`` rows, naming how many rows are needed.
    """
    if abs(sum(fractions.values()) - 1) > 1e-9 or min(fractions.values()) <= 0:
        raise ConfigError(f"split fractions must be positive and sum to 1; got {dict(fractions)}")
    if by == "time":
        order = np.argsort(frame[_known(frame, column, by)].to_numpy(), kind="stable")
        keys = np.arange(len(frame))
    elif by in ("hash", "group"):
        source = frame if by == "hash" else frame[[_known(frame, column, by)]]
        keys = _mixed_hash(source, seed)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
    else:
        raise ConfigError(f"rows are split by hash, group or time, not by {by!r}")
    return _cut(order, keys, fractions, least)


def _known(frame: pd.DataFrame, column: str | None, by: str) -> str:
    if column is None or column not in frame.columns:
        raise ConfigError(
            f"a split by {by} needs a column; {column!r} is not among {list(map(str, frame.columns))}"
        )
    return column


def _mixed_hash(frame: pd.DataFrame, seed: int) -> np.ndarray:
    texts = frame.astype(str) if any(frame.dtypes.astype(str).isin(["category", "boolean"])) else frame
    hashes = pd.util.hash_pandas_object(texts, index=False).to_numpy(dtype=np.uint64)
    mixed = (hashes ^ np.uint64((seed * 0x9E3779B97F4A7C15) % 2**64)) * np.uint64(0xBF58476D1CE4E5B9)
    return mixed ^ (mixed >> np.uint64(31))


def _cut(order: np.ndarray, keys: np.ndarray, fractions: Mapping[str, float], least: int) -> dict[str, np.ndarray]:
    """Cut the ordered rows at the fractions, moving each cut past rows with an equal key."""
    n, parts, start, share = len(order), {}, 0, 0.0
    names = list(fractions)
    for name in names:
        share += fractions[name]
        stop = n if name == names[-1] else round(n * share)
        while 0 < stop < n and keys[stop] == keys[stop - 1]:
            stop += 1
        parts[name] = np.sort(order[start:stop])
        start = max(start, stop)
    for name, rows in parts.items():
        if len(rows) < least:
            needed = int(np.ceil(least / fractions[name]))
            raise DataError(
                f"the {name} part would hold {len(rows)} of {n} rows, fewer than {least}; about {needed} different "
                f"rows are needed, or a larger {name} share"
            )
    return parts
