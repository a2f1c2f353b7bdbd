"""Artificial examples that any reader can recompute from row numbers, so that no file holds them (docs/artifact.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from serving.table.examples import Layout

# Contrasts of the examples of a detector, by row number.
_CONTRASTS = 8


def spread(rows: Sequence[int] | np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Rows of a Weyl sequence: float32 ``(n, *shape)`` in [-1, 1).

    Position j of row r is ((r · size + j) · 2654435769 mod 2^32) / 2^31 - 1.
    """
    return (_turned(rows, shape) / 2**31 - 1).astype(np.float32).reshape(len(rows), *shape)


def examples(
    rows: Sequence[int] | np.ndarray, layout: Layout, low: Sequence[float], high: Sequence[float]
) -> np.ndarray:
    """Examples ``(n, *layout.shape)`` from low to high contrast, in the type of the layout.

    With u the Weyl sequence of ``spread`` in [0, 1) and c = (r mod 8 + 1) / 8 for row r, v is 1/2 + (u - 1/2) · c.
    Bytes are floor(256 · v), other values ``low + (high - low) · v``, with a bound per channel of series.
    """
    contrast = ((np.asarray(rows, np.int64) % _CONTRASTS) + 1)[:, None] / _CONTRASTS
    v = (0.5 + (_turned(rows, layout.shape) / 2**32 - 0.5) * contrast).reshape(len(rows), *layout.shape)
    if layout.dtype == "uint8":
        return np.floor(256 * v).astype(np.uint8)
    sides = (-1, 1) if layout.modality == "series" else (1,) * len(layout.shape)
    least, most = (np.asarray(bound, np.float64).reshape(1, *sides) for bound in (low, high))
    return (least + (most - least) * v).astype(layout.dtype)


def _turned(rows: Sequence[int] | np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    size = math.prod(shape)
    index = np.asarray(rows).astype(np.uint64)[:, None] * np.uint64(size) + np.arange(size, dtype=np.uint64)
    return ((index * np.uint64(2654435769)) % np.uint64(2**32)).astype(np.float64)
