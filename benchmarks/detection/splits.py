"""Data sets and their splits. Knows neither ganlib nor its peers: each environment makes the same splits.

- P1 trains on half of the normal rows, and judges the others and all anomalies.
- P2 trains on all rows and judges the same rows.
- P3 trains on a number of rows of which a share are anomalies, for example ``P3-500-0.05``, and judges rows that depend
  on neither: half of the normal rows and half of the anomalies. Smaller training sets are parts of larger ones.

Sets of more than 5,000 rows, for P3 the rows that are judged, are sampled by class. Columns are scaled by mean and
deviation of the training rows.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MOST = 5000
PROTOCOLS = ("P1", "P2", "P3")
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


@dataclass(frozen=True)
class Split:
    """Scaled training rows and test rows, and the labels of the latter (1: anomaly)."""

    train: np.ndarray
    test: np.ndarray
    truth: np.ndarray


def named(protocols: Sequence[str], rows: Sequence[int] = (), shares: Sequence[float] = ()) -> list[str]:
    """Protocols by their full names: P3 for each number of rows and each share of anomalies, largest first."""
    sized = [f"P3-{count}-{share:g}" for count in sorted(rows, reverse=True) for share in sorted(shares, reverse=True)]
    return [name for protocol in protocols for name in (sized if protocol == "P3" else [protocol])]


def size_of(protocol: str) -> tuple[int, float] | None:
    """Training rows and share of anomalies among them of a P3 protocol; None for others."""
    if not protocol.startswith("P3-"):
        return None
    _, rows, share = protocol.split("-")
    return int(rows), float(share)


def is_enough(y: np.ndarray, protocols: Sequence[str]) -> bool:
    """Whether half of a set's normal rows and of its anomalies suffice for the training rows of all protocols."""
    sizes = [size for size in map(size_of, protocols) if size is not None]
    return all(
        round(rows * share) <= (y == 1).sum() // 2 and rows - round(rows * share) <= (y == 0).sum() // 2
        for rows, share in sizes
    )


def split(name: str, x: np.ndarray, y: np.ndarray, seed: int, protocol: str) -> Split:
    """The split of a set; it depends on name, seed and protocol alone."""
    if size := size_of(protocol):
        train, test = sized(name, y, seed, *size)
    else:
        kept = _sampled(name, y, seed)
        x, y = x[kept], y[kept]
        train = test = np.arange(len(y))
    if protocol == "P1":
        normal = _generator(name, seed, "P1").permutation(np.flatnonzero(y == 0))
        half = round(len(normal) / 2)
        train, test = normal[:half], np.concatenate([normal[half:], np.flatnonzero(y == 1)])
    mean, deviation = x[train].mean(0), x[train].std(0)
    deviation[deviation < _LEAST_DEVIATION] = 1.0
    scaled_train, scaled_test = ((x[part] - mean) / deviation for part in (train, test))
    return Split(scaled_train, scaled_test, y[test])


def sized(name: str, y: np.ndarray, seed: int, rows: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the training rows and of the test rows of P3."""
    generator = _generator(name, seed, "P3")
    normal, odd = (generator.permutation(np.flatnonzero(y == label)) for label in (0, 1))
    anomalies = round(rows * share)
    train = np.concatenate([normal[: rows - anomalies], odd[:anomalies]])
    test = np.concatenate([normal[len(normal) // 2 :], odd[len(odd) // 2 :]])
    return train, test[_sampled(name, y[test], seed)]


def _sampled(name: str, y: np.ndarray, seed: int) -> np.ndarray:
    """Positions of at most ``MOST`` rows, with the shares of the classes, in random order."""
    generator = _generator(name, seed, "subsample")
    normal, odd = np.flatnonzero(y == 0), np.flatnonzero(y == 1)
    if len(y) > MOST:
        count = max(1, round(MOST * len(odd) / len(y)))
        odd = generator.choice(odd, count, replace=False)
        normal = generator.choice(normal, MOST - count, replace=False)
    return generator.permutation(np.concatenate([normal, odd]))


def _generator(name: str, seed: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(f"{name}|{purpose}".encode()), seed])
