"""From encoded rows back to raw columns: dtypes, bounds, whole numbers, categories and missing values restored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ganlib.data.codes import ColumnCode, soft_unclip
from ganlib.data.dtypes import restore_booleans, restore_categories, restore_dates, restore_numbers
from ganlib.data.normal_scores import from_scores
from ganlib.data.schema import Column
from ganlib.data.values import NO_DATE
from ganlib.errors import DataError

if TYPE_CHECKING:
    from ganlib.data.encoder import TableEncoder


def decode_rows(encoder: TableEncoder, rows: np.ndarray) -> pd.DataFrame:
    """A frame of the encoder's columns from ``(n, d)`` encoded rows (see ``decode_feeds``)."""
    feeds = decode_feeds(encoder, rows)
    return pd.DataFrame({c.name: to_series(c, feeds[c.input], encoder.schema.timezone) for c in encoder.columns()})


def decode_feeds(encoder: TableEncoder, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Raw feeds from encoded rows: flags compare with 0.5, categories by argmax, numbers within bounds.

    Raises DataError where the encoder is not for generation (texts have no way back) or the width differs.
    """
    if not encoder.for_generation and any(c.kind in ("text", "date") for c in encoder.codes):
        raise DataError("texts and cyclic dates have no way back; use an encoder made with for_generation=True")
    if rows.ndim != 2 or rows.shape[1] != encoder.width:
        raise DataError(f"encoded rows have {encoder.width} values each; got shape {rows.shape}")
    out = {}
    for code, column in zip(encoder.codes, encoder.columns(), strict=True):
        if code.kind == "category":
            names = [*code.categories, *["rare"] * code.has_rare, *[""] * code.has_missing] or [""]
            chosen = rows[:, code.start : code.start + code.width].argmax(1)
            out[code.input] = np.array(names, dtype=object)[chosen]
            continue
        values = _raw_numbers(code, column, rows[:, code.start].astype(np.float64))
        if code.missing_position is not None:
            values = np.where(rows[:, code.missing_position] > 0.5, np.nan, values)
        if code.kind == "date":
            values = np.where(np.isnan(values), NO_DATE, np.nan_to_num(values)).astype(np.int64)
        out[code.input] = values
    return out


def _raw_numbers(code: ColumnCode, column: Column, encoded: np.ndarray) -> np.ndarray:
    if code.kind == "boolean":
        return (encoded > 0.5).astype(np.float64)
    if code.knots:
        values = from_scores(encoded, code.knots, code.scores)
    else:
        values = soft_unclip(encoded) * float(code.scale) + float(code.center)  # type: ignore[arg-type]
    if column.minimum is not None and column.maximum is not None:
        values = np.clip(values, column.minimum, column.maximum)
    return np.round(values) if code.kind in ("integer", "date") else values


def to_series(column: Column, feed: np.ndarray, timezone: str) -> pd.Series:
    """A raw feed as a pandas column of the training dtype (see ``ganlib.data.dtypes`` for its limits)."""
    if column.kind == "date":
        return restore_dates(feed, NO_DATE, column.timezone or timezone, column.dtype)
    if column.kind == "category":
        return restore_categories(feed, column.categories or (), column.rare, column.dtype)
    if column.kind == "boolean":
        return restore_booleans(feed, column.dtype)
    return restore_numbers(feed, column.kind == "integer", column.dtype)
