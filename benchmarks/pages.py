"""Markdown of reports: lines of tables, wrapped sentences, numbers, bootstrap intervals; and where it goes."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

RESAMPLES = 10_000


def wrapped(sentence: str, indent: str = "") -> str:
    """A paragraph, or with ``indent`` an item of a list."""
    return textwrap.fill(
        sentence, 120, break_long_words=False, break_on_hyphens=False, subsequent_indent=indent
    ) + "\n"  # fmt: skip


def publish(text: str, path: Path | None) -> None:
    """Write the page, or print it if there is no path."""
    if path is None:
        print(text, end="")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def header(names: Sequence[str]) -> list[str]:
    return [line(names), "|" + "---|" * len(names)]


def line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def number(value: float, style: str) -> str:
    """Empty if there is no value."""
    return "" if pd.isna(value) else f"{value:{style}}"


def listed(seeds: Iterable[int]) -> str:
    return ", ".join(str(int(seed)) for seed in sorted(seeds))


def interval(values: np.ndarray, style: str, groups: Sequence[object] | None = None) -> str:
    """Mean and 95 % bootstrap interval."""
    low, high = bounds(values, groups)
    return f"{np.mean(values):{style}} ({low:{style}} to {high:{style}})"


def bounds(values: np.ndarray, groups: Sequence[object] | None = None) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean; ``groups`` of values, a name for each, are resampled whole."""
    codes = np.arange(len(values)) if groups is None else pd.factorize(pd.Series(list(groups), dtype=object))[0]
    sums, counts = np.bincount(codes, values), np.bincount(codes)
    drawn = np.random.default_rng(0).integers(0, len(sums), (RESAMPLES, len(sums)))
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
    return float(low), float(high)
