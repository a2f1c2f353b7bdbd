"""Rows that are nobody's data: made from the schema, column by column, for self-tests, examples and parity."""

from __future__ import annotations

from typing import Any

import numpy as np

from ganlib.data.encoder import TableEncoder
from ganlib.data.schema import Column
from ganlib.data.values import NO_DATE, TEXT_CHANNELS

ROWS = 32


def schema_feeds(encoder: TableEncoder, rows: int, seed: int, wild: float = 0.15) -> dict[str, np.ndarray]:
    """Raw feeds drawn from stored quantiles and categories, a share ``wild`` of the values being unusual.

    Unusual: missing, ±inf, bounds, far beyond them, unseen categories, empty strings.
    """
    rng = np.random.default_rng(seed)
    schema = encoder.schema
    columns = [c for c in schema.columns if c.role == "feature" or c.role == "group"]
    return {c.input: _draw(c, rows, rng, wild) for c in columns}


def _draw(column: Column, rows: int, rng: np.random.Generator, wild: float) -> np.ndarray:
    unusual = rng.random(rows) < wild
    if column.kind == "category":
        usual = np.array([*(column.categories or ()), "unseen"], dtype=object)
        values = rng.choice(usual[: max(1, len(usual) - 1)], rows)
        odd = rng.choice(np.array(["", "unseen", "never seen: \u00e9\u4e2d"], dtype=object), rows)
        return np.where(unusual, odd, values).astype(object)
    if column.kind == "text":
        shares = rng.random((rows, TEXT_CHANNELS + (column.buckets or 0))).astype(np.float32)
        shares[unusual] = 0.0
        return np.round(shares, 3)
    if column.kind == "boolean":
        return np.where(unusual, np.nan, rng.integers(0, 2, rows).astype(np.float64))
    points = np.array(column.quantiles or (0.0, 1.0))
    values = np.interp(rng.random(rows), np.linspace(0, 1, len(points)), points)
    values = np.round(values) if column.kind in ("integer", "date") else np.array([float(f"{v:.6g}") for v in values])
    if column.kind == "date":
        stamps = values.astype(np.int64)
        return np.where(unusual, rng.choice(np.array([NO_DATE, 0, 4_102_444_800_000_000]), rows), stamps)
    odd = np.array([np.nan, np.inf, -np.inf, 1e12, -1e12, points[0], points[-1], 0.0])
    return np.where(unusual, rng.choice(odd, rows), values)


def to_json(feed: np.ndarray) -> list[Any]:
    """A feed as JSON values: NaN and missing dates are null, infinities the strings inf and -inf."""
    if feed.ndim == 2:
        return [[float(v) for v in row] for row in feed]
    return [_value(v) for v in feed.tolist()]


def _value(value: Any) -> Any:
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else ("inf" if value > 0 else "-inf")
    return None if value == NO_DATE else value
