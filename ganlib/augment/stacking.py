"""Appends generated rows to real rows, in the types of the real ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ganlib.data.frames import MARK
from ganlib.errors import DataError


def mark(real: pd.DataFrame, made: pd.DataFrame, only_synthetic: bool = False) -> pd.DataFrame:
    """Real rows, then generated ones, with the boolean column ``_synthetic``."""
    both = stack(real, made)
    both[MARK] = np.arange(len(both)) >= len(real)
    return both[both[MARK]].reset_index(drop=True) if only_synthetic else both


def like_array(made: pd.DataFrame, dtype: np.dtype) -> np.ndarray:
    """Convert generated rows to an array to append to one of ``dtype``, without truncating text or numbers."""
    values = made.astype(object).to_numpy()
    if dtype.kind in "US":
        return values.astype(dtype.kind)
    cast = values.astype(dtype)
    if dtype.kind in "iu" and not (cast.astype(object) == values).all():
        raise DataError(f"generated values do not fit {dtype}; give the data as a frame or as floats")
    return cast


def stack(real: pd.DataFrame, made: pd.DataFrame) -> pd.DataFrame:
    """Concatenate both; each column keeps the real dtype if that can hold the generated values."""
    columns = {}
    for position, name in enumerate(real.columns):
        above, below = real.iloc[:, position].reset_index(drop=True), made.iloc[:, position]
        try:
            below = below.astype(above.dtype)
        except (TypeError, ValueError):
            below = below.astype(object)
        columns[name] = pd.concat([above, below], ignore_index=True)
    return pd.DataFrame(columns, columns=real.columns)
