"""Basic checks of frames: two dimensions, unique string column names, not empty."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ganlib.errors import DataError
from serving.table.arrow import without_views

MARK = "_synthetic"
"""The column, or array of a file, that marks generated rows."""


@dataclass(frozen=True)
class Back:
    """Converts frames back to the library of the original table; None returns pandas frames unchanged."""

    library: Any = None

    def __call__(self, frame: pd.DataFrame) -> Any:
        """The frame as a table of that library."""
        if self.library is None:
            return frame
        import narwhals as nw
        import pyarrow as pa

        return nw.from_arrow(pa.Table.from_pandas(frame, preserve_index=False), backend=self.library).to_native()


def open_table(data: Any) -> tuple[Any, Back]:
    """Convert a frame of another library to pandas; also returns the way back. Pandas frames and arrays are unchanged.

    Accepts all tables that narwhals supports: polars, PyArrow, Modin, cuDF. Raises DataError for other tables.
    """
    if isinstance(data, pd.DataFrame) or not (hasattr(data, "columns") or hasattr(data, "to_pandas")):
        return data, Back()
    import narwhals as nw

    try:
        table = nw.from_native(data, eager_only=True)
    except TypeError as error:
        raise DataError(f"{type(data).__name__} cannot be read as a table; give a pandas frame") from error

    library = str(table.implementation).rpartition(".")[2].lower()
    return without_views(table.to_arrow()).to_pandas(types_mapper=pd.ArrowDtype), Back(library)


def as_frame(data: Any) -> pd.DataFrame:
    """A DataFrame with string column names; an array ``(n, k)`` gets the columns x0, x1, ...

    Frames of other libraries are converted by ``open_table``. Raises DataError for other data and for column names
    with several levels.
    """
    data = open_table(data)[0]
    if isinstance(data, pd.DataFrame):
        if data.columns.nlevels > 1:
            raise DataError("the columns have names in several levels; join them, e.g. '_'.join(name)")
        data = data.rename(columns=str) if any(not isinstance(c, str) for c in data.columns) else data
        # Convert long doubles, which pandas supports only in part.
        long = [n for n, t in data.dtypes.items() if isinstance(t, np.dtype) and t.kind == "f" and t.itemsize > 8]
        return data.astype(dict.fromkeys(long, np.float64)) if long else data
    array = np.asarray(data)
    if array.ndim != 2:
        raise DataError(f"a table has two dimensions; got shape {array.shape}. Reshape your data")
    return pd.DataFrame(array, columns=[f"x{i}" for i in range(array.shape[1])])


def check_names(frame: pd.DataFrame) -> None:
    """Raise DataError if column names repeat or are empty."""
    if twice := sorted({str(n) for n in frame.columns[frame.columns.duplicated()]}):
        raise DataError(f"column names must be unique; these come twice: {', '.join(twice)}")
    if any(str(n) == "" for n in frame.columns):
        position = [str(n) for n in frame.columns].index("")
        raise DataError(f"column {position} (counted from 0) has no name; give it one")


def check_frame(frame: pd.DataFrame) -> None:
    """Raise DataError if column names repeat or the frame is empty."""
    check_names(frame)
    if frame.shape[0] == 0 or frame.shape[1] == 0:
        raise DataError(f"the data has {frame.shape[0]} rows and {frame.shape[1]} columns; nothing to learn from")


def close_names(name: str, names: Iterable[Any]) -> str:
    """A hint with the closest column names, or with the first twenty."""
    known = [str(n) for n in names]
    lowered = {n.lower(): n for n in known}
    close = difflib.get_close_matches(str(name).lower(), list(lowered), n=3)
    if close:
        return f"did you mean {' or '.join(repr(lowered[c]) for c in close)}?"
    return f"the columns are {', '.join(repr(n) for n in known[:20])}{', ...' if len(known) > 20 else ''}"
