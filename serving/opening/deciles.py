"""Counts of p-values by decile, which a sealed detector holds of its calibration rows."""

from __future__ import annotations

import numpy as np

BINS = 10


def tally(p_values: np.ndarray) -> list[int]:
    """Counts by decile; an edge belongs to the decile below it."""
    places = np.ceil(np.asarray(p_values, np.float64) * BINS - 1e-5).astype(int) - 1
    return np.bincount(places.clip(0, BINS - 1), minlength=BINS).tolist()  # type: ignore[no-any-return]
