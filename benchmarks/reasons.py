"""How often a row's first reason names the column with the injected fault, compared with a ranking by |z-score|.

Single-column faults are injected into held-out rows; rows that are flagged with the fault and not without it count:
``python benchmarks/reasons.py [--steps 300] [--rows 3000] [--tables FOLDER_OF_NPZ]``. Without ``--steps`` the
detectors train as by default. ``--tables`` adds tables from files with arrays ``X`` and ``y`` (1: anomaly).
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ganlib.detect import GANomalyDetector, ReconstructionVAEDetector, VAEDetector

NUMBERS = ("shift", "swap", "sentinel", "x1000", "frozen", "missing")
WORDS = ("swap", "unseen", "missing")
MOST_COLUMNS, MOST_ROWS, EACH = 60, 4000, 60


def mixed_table(rows: int, seed: int) -> pd.DataFrame:
    """Nine columns of several kinds that depend on three factors."""
    rng = np.random.default_rng(seed)
    a, b, c = rng.normal(size=(3, rows))

    def noise(scale: float) -> np.ndarray:
        return rng.normal(size=rows) * scale

    level = a + noise(0.3)
    return pd.DataFrame({
        "load": 50 + 10 * a + noise(0.6),
        "temperature": 20 + 5 * a + 2 * b + noise(0.3),
        "rate": np.exp(2 + 0.6 * b + noise(0.06)),
        "volume": np.exp(5 + 0.7 * b + 0.4 * c + noise(0.06)),
        "delay": 5 + 2 * c + noise(0.2),
        "count": np.round(np.clip(20 + 6 * c + noise(0.5), 0, None)),
        "kind": np.where(level > 0.8, "gold", np.where(level > -0.5, "silver", "bronze")),
        "active": np.where(b + noise(0.3) > 0, "yes", "no"),
        "site": np.where(c + noise(0.3) > 0, "north", "south"),
    })  # fmt: skip


def inject(rows: pd.DataFrame, column: str, fault: str, rng: np.random.Generator) -> pd.DataFrame:
    """A copy of the rows with one fault in one column."""
    rows, values = rows.copy(), rows[column]
    number = values.dtype.kind in "fi"
    rows[column] = {
        "shift": lambda: values + rng.choice([-1, 1], len(rows)) * 6 * values.std(),
        "swap": lambda: rng.permutation(values.to_numpy()),
        "sentinel": lambda: np.full(len(rows), -999.0),
        "x1000": lambda: values * 1000,
        "frozen": lambda: np.full(len(rows), values.quantile(0.97)),
        "missing": lambda: np.full(len(rows), np.nan) if number else pd.Series([None] * len(rows), dtype=object),
        "unseen": lambda: ["never seen"] * len(rows),
    }[fault]()
    return rows


def faults(rows: pd.DataFrame, column: str) -> tuple[str, ...]:
    """The faults that a column can have."""
    return NUMBERS if rows[column].dtype.kind in "fi" else WORDS


def ranks(parts: np.ndarray, true: int) -> np.ndarray:
    """How many columns rank before the true one, ties counted against it."""
    return (parts >= parts[:, [true]]).sum(1) - 1


def distances(detector: Any, rows: pd.DataFrame) -> np.ndarray:
    """The baseline: each column's largest distance from its reference, in training deviations."""
    encoder = detector.encoder_
    gap = np.abs(encoder.transform(rows) - encoder.reference)
    return np.stack([gap[:, c.start : c.start + c.width].max(1) for c in encoder.codes], 1)


def measure(detector: Any, held_out: pd.DataFrame, alpha: float, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """``(fault, ranks)`` with ranks ``(2, n)``: of the contributions and of the baseline."""
    rng = np.random.default_rng(seed)
    names = [c.name for c in detector.schema_.features]
    for true, column in enumerate(names):
        for fault in faults(held_out, column):
            clean = held_out.sample(EACH, replace=True, random_state=int(rng.integers(2**31))).reset_index(drop=True)
            rows = inject(clean, column, fault, rng)
            changed = rows[column].to_numpy() != clean[column].to_numpy()
            chosen = changed & (detector.p_value(rows) <= alpha) & (detector.p_value(clean) > alpha)
            if chosen.any():
                rows = rows[chosen]
                yield fault, np.stack([ranks(detector.explain(rows), true), ranks(distances(detector, rows), true)])


def tables(folder: Path | None, rows: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """Names and normal rows."""
    yield "mixed", mixed_table(rows, 0)
    for path in sorted(folder.glob("*.npz")) if folder else []:
        data = np.load(path)
        normal = data["X"][data["y"] == 0]
        normal = normal[np.random.default_rng(0).permutation(len(normal))[:MOST_ROWS]]
        if normal.shape[1] <= MOST_COLUMNS and len(normal) >= 300:
            frame = pd.DataFrame(normal, columns=[f"x{i}" for i in range(normal.shape[1])]).astype(float)
            yield path.stem, frame.loc[:, frame.nunique() > 1]


def report(name: str, found: list[tuple[str, np.ndarray]]) -> None:
    """Lines of shares: first and among the first three, contributions and baseline."""
    if not found:
        print(f"{name}: no flagged rows", flush=True)
        return
    for fault in ("all", *dict.fromkeys(f for f, _ in found)):
        both = np.concatenate([r for f, r in found if fault in ("all", f)], axis=1)
        first, three = (both == 0).mean(1), (both < 3).mean(1)
        print(
            f"{name:40} {fault:9} n={both.shape[1]:5}  first {first[0]:.3f} (|z| {first[1]:.3f})  "
            f"top three {three[0]:.3f} (|z| {three[1]:.3f})",
            flush=True,
        )


def main() -> None:
    """Train, inject, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--alpha", type=float, nargs="*", default=[0.01, 0.05])
    parser.add_argument("--tables", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name, frame in tables(options.tables, options.rows):
        train = len(frame) * 2 // 3
        for cls in (GANomalyDetector, VAEDetector, ReconstructionVAEDetector):
            detector = cls(steps=options.steps).fit(frame.iloc[:train])
            for alpha in options.alpha:
                found = list(measure(detector, frame.iloc[train:].reset_index(drop=True), alpha, 0))
                report(f"{name} {cls.__name__} {alpha:g}", found)


if __name__ == "__main__":
    main()
