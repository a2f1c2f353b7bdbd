"""Markdown of reports: lines of tables, wrapped sentences, numbers, bootstrap intervals."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

RESAMPLES = 10_000


def wrapped(sentence: str, indent: str = "") -> str:
    """A paragraph, or with ``indent`` an item of a list."""
    return textwrap.fill(
        sentence, 120, break_long_words=False, break_on_hyphens=False, subsequent_indent=indent
    ) + "\n"  # fmt: skip


def header(names: Sequence[str]) -> list[str]:
    return [line(names), "|" + "---|" * len(names)]


def line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def number(value: float, style: str) -> str:
    """Empty if there is no value."""
    return "" if pd.isna(value) else f"{value:{style}}"


def listed(seeds: Iterable[int]) -> str:
    return ", ".join(str(int(seed)) for seed in sorted(seeds))


def interval(values: np.ndarray, style: str) -> str:
    """Mean and 95 % bootstrap interval; values are resampled one by one."""
    low, high = bounds(values)
    return f"{np.mean(values):{style}} ({low:{style}} to {high:{style}})"


def bounds(values: np.ndarray) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean."""
    drawn = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(np.asarray(values)[drawn].mean(1), [0.025, 0.975])
    return float(low), float(high)
