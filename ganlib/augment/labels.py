"""Labels of any kind, with the type they came in: what classes are called, and how they are given back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ganlib.data.frames import open_table


@dataclass(frozen=True)
class Labels:
    """``plain``: labels that scikit-learn and NumPy read; ``name``; ``dtype``: pandas' own where NumPy has none."""

    plain: Any
    name: Any = None
    dtype: Any = None
    column: bool = False

    @classmethod
    def read(cls, y: Any) -> Labels:
        """Open a Series, an array, a list, or a frame of one column; one-hot arrays and None pass unchanged."""
        if y is None or isinstance(y, np.ndarray | list | tuple):
            return cls(y)
        if hasattr(y, "__arrow_c_stream__") and not isinstance(y, pd.Series | pd.DataFrame):
            y = open_table(y)[0] if hasattr(y, "columns") else pd.Series(y.to_numpy(), name=getattr(y, "name", None))
        if isinstance(y, pd.DataFrame):
            if y.shape[1] != 1:
                return cls(y)
            return cls(_plain(y.iloc[:, 0]), y.columns[0], y.dtypes.iloc[0], True)
        return cls(_plain(y), y.name, y.dtype) if isinstance(y, pd.Series) else cls(y)

    def restored(self, values: Any) -> Any:
        """Class values in the type that the labels came in; a Series or a frame where they were one."""
        if self.dtype is None:
            return values
        series = values if isinstance(values, pd.Series) else pd.Series(values)
        series = series.astype(self.dtype)
        series.name = self.name
        return series.to_frame() if self.column else series


def _plain(series: pd.Series) -> pd.Series:
    """A Series of a NumPy type with the same values; missing ones make objects of it."""
    if isinstance(series.dtype, np.dtype) or series.isna().any():
        return series
    if pd.api.types.is_bool_dtype(series.dtype):
        return series.astype(bool)
    if pd.api.types.is_integer_dtype(series.dtype):
        return series.astype(np.int64)
    if pd.api.types.is_float_dtype(series.dtype):
        return series.astype(np.float64)
    return series.astype(object).infer_objects() if not pd.api.types.is_string_dtype(series.dtype) else series
