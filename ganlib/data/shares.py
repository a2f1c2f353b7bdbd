"""Shares of missing, unseen and non-finite values in the training data, as a reference for later data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ganlib.data.column import Column
from ganlib.data.values import NO_DATE

Shares = dict[str, dict[str, float]]


def training_shares(columns: Iterable[Column], feeds: Mapping[str, np.ndarray]) -> Shares:
    """By column, the share of rows whose value is missing, outside the categories, or infinite (docs/artifact.md)."""
    return {c.name: {k: float(f"{v:.3g}") for k, v in _shares(c, feeds[c.input]).items()} for c in columns}


def _shares(column: Column, feed: np.ndarray) -> dict[str, float]:
    if column.kind == "category":
        known = np.isin(feed.astype(str), ["", *(column.categories or ())])
        return {"missing": float((feed == "").mean()), "unseen": float((~known).mean())}
    if column.kind == "text":
        return {"missing": float((~feed.any(axis=1)).mean())}
    if column.kind == "date":
        return {"missing": float((feed == NO_DATE).mean())}
    return {"missing": float(np.isnan(feed).mean()), "clipped": float(np.isinf(feed).mean())}
