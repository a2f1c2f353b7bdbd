"""What every part asks of a frame before looking at a value: two dimensions, unique string names, something in it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from ganlib.errors import DataError


def as_frame(data: Any) -> pd.DataFrame:
    """A DataFrame with string column names; an array ``(n, k)`` gets the columns x0, x1, ...

    Raises DataError on anything else, and on column names in several levels.
    """
    if isinstance(data, pd.DataFrame):
        if data.columns.nlevels > 1:
            raise DataError("the columns have names in several levels; join them, e.g. '_'.join(name)")
        return data.rename(columns=str) if any(not isinstance(c, str) for c in data.columns) else data
    array = np.asarray(data)
    if array.ndim != 2:
        raise DataError(f"a table has two dimensions; got shape {array.shape}. Reshape your data")
    return pd.DataFrame(array, columns=[f"x{i}" for i in range(array.shape[1])])


def check_names(frame: pd.DataFrame) -> None:
    """Raise DataError where column names repeat or are empty."""
    if twice := sorted({str(n) for n in frame.columns[frame.columns.duplicated()]}):
        raise DataError(f"column names must be unique; these come twice: {', '.join(twice)}")
    if any(str(n) == "" for n in frame.columns):
        position = [str(n) for n in frame.columns].index("")
        raise DataError(f"column {position} (counted from 0) has no name; give it one")


def check_frame(frame: pd.DataFrame) -> None:
    """Raise DataError where column names repeat or there is nothing in the frame."""
    check_names(frame)
    if frame.shape[0] == 0 or frame.shape[1] == 0:
        raise DataError(f"the data has {frame.shape[0]} rows and {frame.shape[1]} columns; nothing to learn from")


def close_names(name: str, names: Iterable[Any]) -> str:
    """Advice that names the closest columns, or the first twenty."""
    known = [str(n) for n in names]
    lowered = {n.lower(): n for n in known}
    close = difflib.get_close_matches(str(name).lower(), list(lowered), n=3)
    if close:
        return f"did you mean {' or '.join(repr(lowered[c]) for c in close)}?"
    return f"the columns are {', '.join(repr(n) for n in known[:20])}{', ...' if len(known) > 20 else ''}"
