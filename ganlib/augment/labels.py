"""Labels of any type: converts them for training and restores their type afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ganlib.data.frames import Back, open_table


@dataclass(frozen=True)
class Labels:
    """``plain`` labels for scikit-learn and NumPy, and what is needed to restore the originals.

    These are the ``name`` and pandas ``dtype``, whether they were a frame of one ``column``, and the way ``back`` to
    their library.
    """

    plain: Any
    name: Any = None
    dtype: Any = None
    column: bool = False
    back: Back = field(default_factory=Back)

    @classmethod
    def read(cls, y: Any) -> Labels:
        """Open a Series, an array, a list, or a frame of one column; one-hot arrays and None pass unchanged."""
        if y is None or isinstance(y, np.ndarray | list | tuple):
            return cls(y)
        column, back = isinstance(y, pd.DataFrame), Back()
        if hasattr(y, "__arrow_c_stream__") and not isinstance(y, pd.Series | pd.DataFrame):
            column = hasattr(y, "columns")
            y, back = open_table(y if column else _as_table(y))
        if isinstance(y, pd.DataFrame):
            if y.shape[1] != 1:
                return cls(y)
            return cls(_plain(y.iloc[:, 0]), y.columns[0], y.dtypes.iloc[0], column, back)
        return cls(_plain(y), y.name, y.dtype) if isinstance(y, pd.Series) else cls(y)

    def restored(self, values: Any) -> Any:
        """Class values in the type of the original labels; a Series or frame if they were one."""
        if self.dtype is None:
            return values
        series = values if isinstance(values, pd.Series) else pd.Series(values)
        series = series.astype(self.dtype)
        series.name = self.name
        if self.back.library is not None:
            return _of_library(self.back(series.to_frame(name=self.name)), self.column)
        return series.to_frame() if self.column else series


def free_name(name: Any, frame: pd.DataFrame) -> Any:
    """A name for a new column; the given one unless the frame has it."""
    while str(name) in frame.columns:
        name = f"{name}_"
    return name


def _as_table(series: Any) -> Any:
    """A series of another library as a table of one column."""
    import narwhals as nw

    opened = nw.from_native(series, series_only=True)
    return opened.alias(opened.name or "y").to_frame().to_native()


def _of_library(table: Any, column: bool) -> Any:
    """A table of one column, or its column."""
    import narwhals as nw

    if column:
        return table
    opened = nw.from_native(table, eager_only=True)
    return opened[opened.columns[0]].to_native()


def _plain(series: pd.Series) -> pd.Series:
    """A Series of a NumPy type with the same values; unchanged if values are missing."""
    if isinstance(series.dtype, np.dtype) or series.isna().any():
        return series
    if pd.api.types.is_bool_dtype(series.dtype):
        return series.astype(bool)
    if pd.api.types.is_integer_dtype(series.dtype):
        return series.astype(np.int64)
    if pd.api.types.is_float_dtype(series.dtype):
        return series.astype(np.float64)
    return series.astype(object).infer_objects() if not pd.api.types.is_string_dtype(series.dtype) else series
