"""What the training data were like, as a reference for later data: shares of missing values, profiles of columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ganlib.data.column import Column
from ganlib.data.values import NO_DATE
from serving.opening.profile import profiled

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


def training_profile(columns: Iterable[Column], feeds: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """How the values of each column are distributed (docs/artifact.md); dates and text have no profile."""
    found = {c.name: profiled(c.kind, feeds[c.input], c.categories or ()) for c in columns}
    rows = max((len(feed) for feed in feeds.values()), default=0)
    return {"rows": rows, "columns": {name: profile for name, profile in found.items() if profile}}
