"""Data sets and their splits. Knows neither ganlib nor its peers: each environment makes the same splits.

P1 trains on half of the normal rows and judges the others and all anomalies; P2 trains on all rows and judges them.
Sets of more than 5,000 rows are sampled by class. Columns are scaled by mean and deviation of the training rows.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

MOST = 5000
PROTOCOLS = ("P1", "P2")
_LEAST_DEVIATION = 1e-12


def sets_in(folder: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, numbers ``(n, d)`` and labels (1: anomaly) of each set: ``X`` and ``y`` of .npz files, small sets first."""
    files = sorted(folder.glob("*.npz"), key=lambda file: file.stat().st_size)
    if not files:
        raise SystemExit(f"{folder} holds no .npz files with the arrays X and y")
    for file in files:
        with np.load(file) as arrays:
            if not {"X", "y"} <= set(arrays.files):
                raise SystemExit(f"{file} has the arrays {arrays.files}; X and y (1: anomaly) are needed")
            x, y = np.nan_to_num(np.asarray(arrays["X"], np.float64)), np.asarray(arrays["y"]).ravel() > 0
        if x.ndim != 2 or len(x) != len(y) or not 0 < y.sum() < len(y):
            raise SystemExit(f"{file}: X must be (n, d), and y mark some of the n rows as anomalies")
        yield file.stem, x, y.astype(int)


def split(
    name: str, x: np.ndarray, y: np.ndarray, seed: int, protocol: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training rows, test rows and the labels of these; they depend on name, seed and protocol alone."""
    kept = _sampled(name, y, seed)
    x, y = x[kept], y[kept]
    train = test = np.arange(len(y))
    if protocol == "P1":
        normal = _generator(name, seed, "P1").permutation(np.flatnonzero(y == 0))
        half = round(len(normal) / 2)
        train, test = normal[:half], np.concatenate([normal[half:], np.flatnonzero(y == 1)])
    mean, deviation = x[train].mean(0), x[train].std(0)
    deviation[deviation < _LEAST_DEVIATION] = 1.0
    scaled = (x - mean) / deviation
    return scaled[train], scaled[test], y[test]


def _sampled(name: str, y: np.ndarray, seed: int) -> np.ndarray:
    generator = _generator(name, seed, "subsample")
    normal, odd = np.flatnonzero(y == 0), np.flatnonzero(y == 1)
    if len(y) > MOST:
        count = max(1, round(MOST * len(odd) / len(y)))
        odd = generator.choice(odd, count, replace=False)
        normal = generator.choice(normal, MOST - count, replace=False)
    return generator.permutation(np.concatenate([normal, odd]))


def _generator(name: str, seed: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(f"{name}|{purpose}".encode()), seed])
