"""From encoded rows back to raw columns: dtypes, bounds, whole numbers, categories and missing values restored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ganlib.data.schema import Column
from ganlib.data.values import NO_DATE

if TYPE_CHECKING:
    from ganlib.data.encoder import ColumnCode, TableEncoder


def decode_rows(encoder: TableEncoder, rows: np.ndarray) -> pd.DataFrame:
    """A frame of the encoder's columns from ``(n, d)`` encoded rows (see ``decode_feeds``)."""
    feeds = decode_feeds(encoder, rows)
    return pd.DataFrame({c.name: to_series(c, feeds[c.input], encoder.schema.timezone) for c in encoder.columns()})


def decode_feeds(encoder: TableEncoder, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Raw feeds from encoded rows: flags compare with 0.5, categories by argmax, numbers within bounds."""
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
        values = from_scores(code, encoded)
    else:
        from ganlib.data.encoder import soft_unclip

        values = soft_unclip(encoded) * float(code.scale) + float(code.center)  # type: ignore[arg-type]
    if column.minimum is not None and column.maximum is not None:
        values = np.clip(values, column.minimum, column.maximum)
    return np.round(values) if code.kind in ("integer", "date") else values


def from_scores(code: ColumnCode, encoded: np.ndarray) -> np.ndarray:
    """Inverse of the normal-score map."""
    knots, scores = np.array(code.knots), np.array(code.scores)
    slope = (knots[-1] - knots[0]) / (scores[-1] - scores[0])
    inside = np.interp(encoded, scores, knots)
    return inside + slope * (np.minimum(encoded - scores[0], 0) + np.maximum(encoded - scores[-1], 0))


def to_series(column: Column, feed: np.ndarray, timezone: str) -> pd.Series:
    """A raw feed as a pandas column of the training dtype."""
    if column.kind == "date":
        return _dates(column, feed, timezone)
    if column.kind == "category":
        series = pd.Series(feed, dtype=object).where(feed != "", None)
        return _restore_category(column, series)
    series = pd.Series(feed)
    if column.kind == "boolean":
        series = series.map({1.0: True, 0.0: False}).astype(object).where(series.notna(), None)
    if column.dtype.startswith("timedelta"):
        return pd.to_timedelta(series, unit="s").astype(column.dtype)
    return _cast(series, column)


def _cast(series: pd.Series, column: Column) -> pd.Series:
    """To the training dtype; text dtypes get the number's text, and plain integers that now lack values stay float."""
    dtype = column.dtype
    if dtype in ("object", "str", "string") and column.kind in ("number", "integer"):
        texts = series.map(lambda v: str(int(v)) if column.kind == "integer" else str(v), na_action="ignore")
        return texts.astype(dtype)
    try:
        return series.astype("Int64").astype(dtype) if column.kind == "integer" else series.astype(dtype)
    except (TypeError, ValueError):
        return series


def _restore_category(column: Column, series: pd.Series) -> pd.Series:
    if column.dtype == "category":
        return series.astype(pd.CategoricalDtype(list(column.categories or ())))
    if column.dtype.startswith(("int", "Int", "uint", "float", "Float")):
        return pd.to_numeric(series).astype(column.dtype)
    try:
        return series.astype(column.dtype)
    except (TypeError, ValueError):
        return series


def _dates(column: Column, feed: np.ndarray, timezone: str) -> pd.Series:
    stamps = feed.astype("datetime64[us]")
    series = pd.Series(np.where(feed == NO_DATE, np.datetime64("NaT", "us"), stamps)).dt.tz_localize("UTC")
    series = series.dt.tz_convert(column.timezone or timezone)
    if column.dtype.startswith("datetime64") and "," in column.dtype:
        return series.astype(column.dtype)
    naive = series.dt.tz_localize(None)
    if column.dtype.startswith("datetime64"):
        return naive.astype(column.dtype)
    return naive.dt.strftime("%Y-%m-%dT%H:%M:%S").astype(column.dtype)
