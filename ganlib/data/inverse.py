"""Decodes encoded rows to raw columns; restores dtypes, bounds, whole numbers, categories and missing values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Protocol

import numpy as np
import pandas as pd

from ganlib.data.codes import ColumnCode, soft_unclip
from ganlib.data.column import Column
from ganlib.data.normal_scores import from_scores
from ganlib.data.schema import Schema
from ganlib.data.values import NO_DATE
from ganlib.errors import DataError
from serving.table.decode import Like, decode
from serving.table.layouts import on_grid

Rare = Callable[[str, np.ndarray], np.ndarray]


class Encoding(Protocol):
    """The fitted state of a ``TableEncoder`` that decoding reads."""

    schema: Schema
    for_generation: bool
    codes: tuple[ColumnCode, ...]
    width: int

    def columns(self) -> tuple[Column, ...]:
        """The columns encoded, in order."""


def decode_rows(
    encoder: Encoding, rows: np.ndarray, likes: Mapping[str, Like] | None = None, rare: Rare | None = None
) -> pd.DataFrame:
    """A frame of the encoder's columns from ``(n, d)`` encoded rows (see ``decode_feeds``).

    ``likes`` holds the types of the real columns by name, if available; ``rare`` is as in ``decode_feeds``.
    """
    return to_frame(encoder, decode_feeds(encoder, rows, rare), likes)


def to_frame(encoder: Encoding, feeds: Mapping[str, np.ndarray], likes: Mapping[str, Like] | None) -> pd.DataFrame:
    """A frame of the encoder's columns from raw feeds; ``likes`` as in ``decode_rows``."""
    zone, known = encoder.schema.timezone, likes or {}
    return pd.DataFrame({c.name: to_series(c, feeds[c.input], zone, known.get(c.name)) for c in encoder.columns()})


def decode_feeds(encoder: Encoding, rows: np.ndarray, rare: Rare | None = None) -> dict[str, np.ndarray]:
    """Decode encoded rows to raw feeds: flags are compared with 0.5, categories use argmax, numbers are clipped.

    Rare categories are missing, unless ``rare`` samples a level from the column's name and the row numbers. Raises
    DataError if the encoder is not for generation (text cannot be decoded) or the width differs.
    """
    if not encoder.for_generation and any(c.kind in ("text", "date") for c in encoder.codes):
        raise DataError("texts and cyclic dates cannot be decoded; use an encoder with for_generation=True")
    if rows.ndim != 2 or rows.shape[1] != encoder.width:
        raise DataError(f"encoded rows have {encoder.width} values each; got shape {rows.shape}")
    out = {}
    for code, column in zip(encoder.codes, encoder.columns(), strict=True):
        if code.kind == "category":
            names = [*code.categories, "", ""]  # a rare word and a missing one
            chosen = rows[:, code.start : code.start + code.width].argmax(1)
            texts = np.array(names, dtype=object)[chosen]
            unknown = np.flatnonzero(code.has_rare & (chosen == len(code.categories)))
            if rare is not None and len(unknown):
                texts[unknown] = rare(code.column, unknown)
            out[code.input] = texts
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
    if column.step is not None:
        values = on_grid(values, column.step)
    values = np.clip(values, *column.bounds)
    return np.round(values) if code.kind in ("integer", "date") else values


def to_series(column: Column, feed: np.ndarray, timezone: str, like: Like | None = None) -> pd.Series:
    """Convert a raw feed to a pandas column of the training dtype (``serving.table.decode``).

    ``like`` is the type of the real column, if available.
    """
    return decode(asdict(column), feed, timezone, like)
