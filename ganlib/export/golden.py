"""Artificial rows, generated from the schema column by column, for self-tests, examples and parity checks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ganlib.calibrate import Calibration
from ganlib.calibrate.conformal import TIE
from ganlib.data.encoder import TableEncoder
from ganlib.data.schema import Column
from ganlib.data.values import NO_DATE, TEXT_CHANNELS, text_features

ROWS, ARRAY_ROWS = 32, 8
UNSEEN = "never seen: \u00e9\u4e2d"
_WORDS = ("alpha", "beta 12", "Gamma-Delta", "0042", "The quick brown fox", "\u00fcber", "a", "X" * 40)
_DATES = (NO_DATE, 0, -1, -2_208_988_800_000_000, 4_102_444_800_000_000)
_FAR = (1e12, -1e12)


def schema_feeds(encoder: TableEncoder, rows: int, seed: int, wild: float = 0.15) -> dict[str, np.ndarray]:
    """Raw feeds sampled from stored quantiles and categories; a share ``wild`` of the values is unusual.

    Unusual values are missing, ±inf, the bounds, far beyond them, or unseen categories. The first four rows are
    entirely missing, at the lower bounds (first categories), at the upper bounds (last categories), and unusual.
    """
    rng = np.random.default_rng(seed)
    wanted = [c for c in encoder.schema.columns if c.role in ("feature", "group")]
    return {c.input: _draw(c, rows, rng, wild) for c in wanted}


def _draw(column: Column, rows: int, rng: np.random.Generator, wild: float) -> np.ndarray:
    unusual = rng.random(rows) < wild
    unusual[3:4] = True
    if column.kind == "category":
        return _categories(column, unusual, rng)
    if column.kind == "text":
        return _texts(column, unusual, rng)
    if column.kind == "boolean":
        values = rng.integers(0, 2, rows).astype(np.float64)
        return _with_ends(np.where(unusual, np.nan, values), np.nan, 0.0, 1.0)
    points = np.array(column.quantiles or (0.0, 1.0))
    values = np.interp(rng.random(rows), _shares(len(points)), points)
    low = points[0] if column.minimum is None else column.minimum
    high = points[-1] if column.maximum is None else column.maximum
    if column.kind == "date":
        stamps = np.where(unusual, rng.choice(np.array(_DATES), rows), np.round(values).astype(np.int64))
        return _with_ends(stamps, NO_DATE, int(low), int(high))
    values = np.round(values) if column.kind == "integer" else np.array([float(f"{v:.6g}") for v in values])
    extreme = rng.choice(np.array([np.nan, np.inf, -np.inf, *_FAR, low, high, 0.0]), rows)
    return _with_ends(np.where(unusual, extreme, values), np.nan, low, high)


def _shares(points: int) -> np.ndarray:
    """The share of rows below each stored quantile."""
    return np.array([0.0, 0.05, 0.5, 0.95, 1.0]) if points == 5 else np.linspace(0, 1, points)


def _with_ends(values: np.ndarray, *ends: Any) -> np.ndarray:
    values[: len(ends)] = ends[: len(values)]
    return values


def _categories(column: Column, unusual: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    known = np.array(column.categories or (UNSEEN,), dtype=object)
    unknown = rng.choice(np.array(["", UNSEEN], dtype=object), len(unusual))
    values = np.where(unusual, unknown, rng.choice(known, len(unusual))).astype(object)
    return _with_ends(values, "", known[0], known[-1], UNSEEN)


def _texts(column: Column, unusual: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Features of artificial texts; unusual ones are missing."""
    buckets = column.buckets or 0
    nothing = np.zeros((1, TEXT_CHANNELS + buckets), dtype=np.float32)
    table = np.concatenate([text_features(pd.Series(_WORDS), buckets), nothing])
    chosen = np.where(unusual, len(_WORDS), rng.integers(0, len(_WORDS), len(unusual)))
    return table[_with_ends(chosen, len(_WORDS))]


def to_json(feed: np.ndarray) -> list[Any]:
    """A feed as JSON values: NaN and missing dates are null, infinities the strings inf and -inf."""
    if feed.ndim == 2:
        return [[float(v) for v in row] for row in feed]
    return [_value(v) for v in feed.tolist()]


def _value(value: Any) -> Any:
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else ("inf" if value > 0 else "-inf")
    return None if value == NO_DATE else value


def firm_rows(calibration: Calibration, got: np.ndarray, scores: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Mask of the rows whose score and p-value agree with a margin, because other machines round differently."""
    reach = np.float32(0.9 * TIE) * np.maximum(np.abs(scores), np.float32(calibration.median_score))
    near = [calibration.p_value(scores + sign * reach, groups) for sign in (-1, 1)]
    p = calibration.p_value(scores, groups)
    return (np.abs(got - scores) <= 0.25 * reach) & (np.abs(near - p).max(0) < 5e-5)
