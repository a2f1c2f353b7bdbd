"""A monotone, piecewise linear map from a number column to normal scores and back, for generators.

Numbers of any distribution become roughly standard normal, which is what a generator's latent and decoder can match,
and the way back keeps to the training values' distribution. The map is a list of knots, so a sealed graph can do it.

Privacy: each inner knot is the mean of at least ``LEAST`` neighbouring rows; the outer knots are the schema's bounds,
which are rounded outward unless several rows share them.
"""

from __future__ import annotations

import numpy as np

MOST_KNOTS = 64
LEAST = 5
ENOUGH_ROWS = 100
ENOUGH_VALUES = 10
Knots = tuple[tuple[float, ...], tuple[float, ...]]


def fit_knots(values: np.ndarray, minimum: float | None, maximum: float | None) -> Knots:
    """Raw values and their scores, both ascending; knots may repeat where many rows share a value (a plateau).

    Both empty where the values are too few to tell a distribution (fewer than 100 rows, fewer than 10 different ones).
    """
    from scipy.special import ndtri

    n = len(values)
    if n < ENOUGH_ROWS or len(np.unique(values)) < ENOUGH_VALUES:
        return (), ()
    pieces = np.array_split(np.sort(values), min(MOST_KNOTS - 2, n // LEAST))
    sizes = np.array([len(piece) for piece in pieces])
    # The mean of equal numbers can differ from them in the last bit, which would hide a plateau.
    knots = np.array([piece[0] if piece[0] == piece[-1] else piece.mean() for piece in pieces])
    knots = np.maximum.accumulate(knots)
    scores = ndtri((np.cumsum(sizes) - sizes / 2) / n)
    # The bounds hold the extreme rows: no training value then lies beyond the knots.
    if minimum is not None and minimum <= knots[0]:
        knots, scores = np.append(minimum, knots), np.append(ndtri(0.5 / n), scores)
    if maximum is not None and maximum >= knots[-1]:
        knots, scores = np.append(knots, maximum), np.append(scores, ndtri(1 - 0.5 / n))
    inner = (np.diff(knots, prepend=np.nan) == 0) & (np.diff(knots, append=np.nan) == 0)
    knots, scores = knots[~inner], scores[~inner]
    if not (knots[0] < knots[-1] and np.isfinite(knots[-1] - knots[0])):
        return (), ()
    return tuple(map(float, knots)), tuple(map(float, scores))


def to_scores(values: np.ndarray, knots: tuple[float, ...], scores: tuple[float, ...]) -> np.ndarray:
    """Piecewise linear through the knots, continued beyond them with their mean slope.

    The value of a plateau gets the score in the middle of the plateau's mass.
    """
    from scipy.special import ndtr, ndtri

    x, y = np.array(knots), np.array(scores)
    slope = (y[-1] - y[0]) / (x[-1] - x[0])
    out = np.interp(values, x, y) + slope * (np.minimum(values - x[0], 0) + np.maximum(values - x[-1], 0))
    for first in np.flatnonzero(np.diff(x) == 0):
        out = np.where(values == x[first], ndtri((ndtr(y[first]) + ndtr(y[first + 1])) / 2), out)
    return out


def from_scores(encoded: np.ndarray, knots: tuple[float, ...], scores: tuple[float, ...]) -> np.ndarray:
    """Inverse of ``to_scores``; every score within a plateau gives its value."""
    x, y = np.array(knots), np.array(scores)
    slope = (x[-1] - x[0]) / (y[-1] - y[0])
    inside = np.interp(encoded, y, x)
    return inside + slope * (np.minimum(encoded - y[0], 0) + np.maximum(encoded - y[-1], 0))
