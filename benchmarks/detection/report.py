"""Tables of measured detectors: means over data sets, bootstrap intervals, ranks, and differences to the best peer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

_RESAMPLES = 10_000
_FIGURES = {"auroc": "AUROC", "auprc": "AUPRC"}
_HEAD = """# Detectors of tables: measured figures

Made by `python -m benchmarks.detection report`. Means over data sets, with 95% bootstrap intervals over data sets; over
the seeds that all methods were measured with. Rank: mean over data sets by AUPRC, 1 is best. Difference: AUPRC less
that of the best peer, with the interval of the paired bootstrap over data sets. Peers are methods of other libraries,
named after them, and other implementations. Fit: CPU seconds; rows/s: scored a second, median over sets. Both depend on
the machine and on what else it did.
"""


def report(files: Sequence[Path]) -> str:
    """Markdown for each protocol: the methods that were measured on all of its sets, best first."""
    results = pd.concat([pd.read_csv(file) for file in files], ignore_index=True)
    return "\n".join([_HEAD, *(_protocol(str(name), rows) for name, rows in results.groupby("protocol"))])


def _protocol(protocol: str, rows: pd.DataFrame) -> str:
    sets = rows["dataset"].nunique()
    held = rows.groupby("method")["dataset"].nunique()
    left_out = sorted(held.index[held < sets])
    rows = rows[~rows["method"].isin(left_out)]
    seeds = set.intersection(*(set(found) for _, found in rows.groupby("method")["seed"]))
    rows = rows[rows["seed"].isin(seeds)] if seeds else rows
    said = ", ".join(str(seed) for seed in sorted(seeds)) or "differ between methods"
    parts = [f"## {protocol}: {sets} data sets\n", f"Seeds: {said}.\n", *_table(rows)]
    if left_out:
        parts.append(f"\nNot measured on all sets, and left out: {', '.join(left_out)}.")
    return "\n".join(parts) + "\n"


def _table(rows: pd.DataFrame) -> list[str]:
    means = rows.groupby(["method", "dataset"])[list(_FIGURES)].mean().unstack()
    order = means["auprc"].mean(axis=1).sort_values(ascending=False).index
    best = next((method for method in order if _is_peer(method)), None)
    ranks = means["auprc"].rank(ascending=False).mean(axis=1)
    speed = rows.groupby("method")[["fit_cpu_s", "score_rows_per_s"]].median()
    heads = ["method", *(f"{label} (95%)" for label in _FIGURES.values()), "rank", "difference", "fit", "rows/s"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for method in order:
        cells = [method, *(_interval(means[name].loc[method].to_numpy()) for name in _FIGURES), f"{ranks[method]:.1f}"]
        gap = None if best in (None, method) else means["auprc"].loc[method] - means["auprc"].loc[best]
        cells.append("" if gap is None else _interval(gap.to_numpy(), "+"))
        cells += [f"{speed.loc[method, 'fit_cpu_s']:.3g}", f"{speed.loc[method, 'score_rows_per_s']:,.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _is_peer(method: str) -> bool:
    """Whether a method is not ours: named after its library, or marked as another implementation."""
    return "-" in method or "(" in method


def _interval(values: np.ndarray, sign: str = "") -> str:
    """Mean and 95% bootstrap interval over data sets."""
    drawn = np.random.default_rng(0).integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(1), [0.025, 0.975])
    return f"{values.mean():{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"
