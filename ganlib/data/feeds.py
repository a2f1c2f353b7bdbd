"""Frames to feeds: the raw inputs of a sealed artifact, one array per column (docs/artifact.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ganlib.data.inference import close_names
from ganlib.data.schema import Column, Schema
from ganlib.data.values import as_booleans, as_microseconds, as_numbers, as_strings, text_features
from ganlib.errors import DataError


def as_frame(data: Any) -> pd.DataFrame:
    """A DataFrame as it is, an array with columns x0, x1, ...; raises DataError on anything else."""
    if isinstance(data, pd.DataFrame):
        return data.rename(columns=str) if any(not isinstance(c, str) for c in data.columns) else data
    array = np.asarray(data)
    if array.ndim != 2:
        raise DataError(f"a table has two dimensions; got shape {array.shape}. Reshape your data")
    return pd.DataFrame(array, columns=[f"x{i}" for i in range(array.shape[1])])


def make_feeds(schema: Schema, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Raw feeds by input name for the feature columns and the group column; extra columns are ignored.

    Raises DataError on missing or repeated columns, or on values against a column's kind.
    """
    wanted = [c for c in schema.columns if c.role in ("feature", "group")]
    repeated = frame.columns[frame.columns.duplicated()]
    if twice := sorted({str(n) for n in repeated}):
        raise DataError(f"column names must be unique; these come twice: {', '.join(twice)}")
    if lacking := [c.name for c in wanted if c.name not in frame.columns]:
        hints = "; ".join(f"{name!r}: {close_names(name, frame.columns)}" for name in lacking[:5])
        raise DataError(f"{len(lacking)} columns are missing: {hints}")
    return {column.input: _feed(column, frame[column.name], schema.timezone) for column in wanted}


def _feed(column: Column, series: pd.Series, timezone: str) -> np.ndarray:
    if column.kind in ("number", "integer"):
        return as_numbers(series)
    if column.kind == "boolean":
        return as_booleans(series)
    if column.kind == "date":
        return as_microseconds(series, column.timezone or timezone)
    if column.kind == "text":
        return text_features(series, column.buckets or 0)
    return as_strings(series)
