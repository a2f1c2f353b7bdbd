"""Learning the level of each key from its training rows (``serving.levels``).

A training window is read relative to the centre of the *other* blocks of its key, as a window of new rows will be:
relative to its own block it would lie closer to zero than any later one, and alarms would be too many. The scale is
that of all blocks: without the one block in which a channel moves, it would turn that into enormous values.
"""

from __future__ import annotations

import numpy as np

from serving.levels import Levels

INNER = (0.05, 0.95)  # quantiles: neither a few outliers nor a value that repeats decides on a scale
_NORMAL = 3.2897  # standard deviations of a normal distribution between them
FLOOR = 0.2  # least scale of a key, as a share of the usual one


def learned(values: np.ndarray, keys: np.ndarray, blocks: np.ndarray) -> tuple[Levels, Levels]:
    """The levels of training rows ``(n, channels)`` by key ``(n,)``, and those that their blocks ``(n,)`` are read by.

    The second has the blocks for keys. A block that is the only one of its key is read by the key's level.
    """
    names, codes = np.unique(keys, return_inverse=True)
    rows_of = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    levels = [_level(values[rows]) for rows in rows_of]
    centre, usual = np.median([c for c, _ in levels], axis=0), _usual(np.array([s for _, s in levels]))
    apart: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for rows, level in zip(rows_of, levels, strict=True):
        for block in np.unique(blocks[rows]):
            others = rows[blocks[rows] != block]
            apart[str(block)] = (np.median(values[others], axis=0), level[1]) if len(others) else level
    by_key = dict(zip(names.tolist(), levels, strict=True))
    return _levels(by_key, centre, usual), _levels(apart, centre, usual)


def _level(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The centre and the scale ``(channels,)`` of rows ``(n, channels)``: their median and their inner range."""
    low, centre, high = np.quantile(values, (INNER[0], 0.5, INNER[1]), axis=0)
    return centre, (high - low) / _NORMAL


def _usual(scales: np.ndarray) -> np.ndarray:
    """The median scale ``(channels,)`` of the keys ``(keys, channels)`` that vary; 1 for a channel that never does."""
    return np.array([np.median(column[column > 0]) if (column > 0).any() else 1.0 for column in scales.T])


def _levels(found: dict[str, tuple[np.ndarray, np.ndarray]], centre: np.ndarray, usual: np.ndarray) -> Levels:
    return Levels(
        keys=list(found),
        centres=[c.tolist() for c, _ in found.values()],
        scales=[np.maximum(s, FLOOR * usual).tolist() for _, s in found.values()],
        centre=centre.tolist(),
        scale=usual.tolist(),
    )
