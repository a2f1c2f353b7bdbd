"""Rows that are near or equal, exactly: nearest neighbours in parts that bound the memory, and combinations."""

from __future__ import annotations

import numpy as np

PART_BYTES = 1 << 27


def nearest_distances(a: np.ndarray, b: np.ndarray, k: int = 1, same: bool = False) -> np.ndarray:
    """Euclidean distances of rows ``a`` ``(n, d)`` to their ``k`` nearest of ``b`` ``(m, d)``, ascending ``(n, k)``.

    With ``same``, ``b`` is ``a`` and a row is not its own neighbour. Exact: equal rows have distance 0. If ``b`` has
    fewer than ``k`` rows to find, the rest are infinite.
    """
    from scipy.spatial.distance import cdist

    part = max(1, PART_BYTES // (8 * max(1, len(b))))
    found = np.full((len(a), k), np.inf)
    for start in range(0, len(a), part):
        gaps = cdist(a[start : start + part], b)
        if same:
            rows = np.arange(len(gaps))
            gaps[rows, start + rows] = np.inf
        count = min(k, gaps.shape[1])
        nearest = gaps.min(1, keepdims=True) if count == 1 else np.sort(np.partition(gaps, count - 1, 1)[:, :count], 1)
        found[start : start + part, :count] = nearest
    return found


def row_numbers(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A number for each row of ``a`` ``(n, d)`` and of ``b`` ``(m, d)``; rows have one number if all values are equal.

    Values are numbers (NaN equals NaN) or strings.
    """
    number = np.zeros(len(a) + len(b), dtype=np.int64)
    for column in np.concatenate([a, b]).T:
        # Renumbered after each column, so that the product does not overflow.
        values = np.unique(column, return_inverse=True)[1]
        number = np.unique(number * (int(values.max(initial=0)) + 1) + values, return_inverse=True)[1]
    return number[: len(a)], number[len(a) :]
