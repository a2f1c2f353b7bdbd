"""Ranges of a numeric target, so that rows of rare values can be generated as rows of scarce classes are.

Source: Torgo, Ribeiro, Pfahringer & Branco, "SMOTE for Regression" (EPIA 2013) over-sample the values that are rare by
the box plot of the target. Unlike there, no relevance function and threshold decide: between the whiskers of the box
plot the target is cut into ranges of equal width, and a range is rare if it has fewer rows than the mean of all ranges.
So rare values amid others are found too. No row is removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from ganlib.data.column import Column
from ganlib.data.inference import infer_column
from ganlib.data.traits import numbers_of
from ganlib.errors import ConfigError, DataError

TARGETS = ("auto", "classes", "numeric")
NUMBERS = ("number", "integer")
BINS = 10
LEAST_RANGE = 8  # rows of a range; smaller ones join their neighbour
MOST_CLASSES = 20  # distinct numbers that are always classes, unless a numeric target is requested
LEAST_CLASS = 4
WHISKER = 1.5


@dataclass(frozen=True)
class Ranges:
    """Adjoining ranges of a numeric ``column``, ascending: each from its first edge to below the next one.

    ``edges`` has one entry more than there are ranges; the outer ones are the smallest and the largest value, and the
    last range includes its upper edge. ``counts`` are the rows in each.
    """

    column: Column
    edges: np.ndarray
    counts: np.ndarray

    @classmethod
    def read(cls, target: pd.Series) -> Ranges:
        """Find the ranges of the numbers of a target; missing ones lie in none.

        Raises DataError for infinite values, and if fewer than two ranges hold eight rows.
        """
        read = _number_column(target)
        column, values = str(target.name), numbers_of(read, target)
        known = np.sort(values[~np.isnan(values)])
        if np.isinf(known).any():
            raise DataError(f"target {column!r} holds infinite values; replace them or drop their rows")
        if len(known) < 2 * LEAST_RANGE or known[0] == known[-1]:
            raise DataError(
                f"target {column!r} holds {len(known)} numbers, {len(np.unique(known))} of them different: too few to "
                f"find rare ranges of {LEAST_RANGE} rows or more; add rows"
            )
        edges = _edges(known)
        counts = np.histogram(known, edges)[0]
        while len(counts) > 1 and counts.min() < LEAST_RANGE:
            edges, counts = _joined(edges, counts, float(np.median(known)))
        if len(counts) < 2:
            raise DataError(
                f"the values of target {column!r} are too concentrated to find rare ranges of {LEAST_RANGE} rows or "
                "more; add rows of rare values"
            )
        return cls(read, edges, counts)

    @property
    def names(self) -> list[str]:
        """Each range in words."""
        inner = [f"{edge:.12g}" for edge in self.edges[1:-1]]
        between = [f"{low} to {high}" for low, high in pairwise(inner)]
        return [f"{self.column.name} {words}" for words in (f"below {inner[0]}", *between, f"from {inner[-1]}")]

    @property
    def lacking(self) -> np.ndarray:
        """The rows that each rare range needs to have as many as the mean of all ranges."""
        return np.maximum(0, int(np.ceil(self.counts.mean())) - self.counts).astype(np.int64)

    def numbers(self, target: pd.Series) -> np.ndarray:
        """The numbers of a target that is written like the one that the ranges were found in, NaN if missing."""
        return numbers_of(self.column, target)

    def codes(self, values: np.ndarray) -> np.ndarray:
        """The range of each value, int64; values beyond the outer edges belong to the outer ranges, NaN to none, -1."""
        found = np.searchsorted(self.edges[1:-1], values, side="right").astype(np.int64)
        return np.where(np.isnan(values), -1, found)

    def within(self, values: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Whether each value lies in the range ``codes``, outer edges included, bool ``(n,)``."""
        inside = (values >= self.edges[0]) & (values <= self.edges[-1])
        return np.asarray(inside & (self.codes(values) == codes), dtype=bool)


def _edges(known: np.ndarray) -> np.ndarray:
    """Edges of equal width between the whiskers of the box plot, and the tails beyond them."""
    first, last = np.quantile(known, [0.25, 0.75])
    reach = WHISKER * (last - first)
    inner = known[(known >= first - reach) & (known <= last + reach)]
    low, high = (inner[0], inner[-1]) if inner[0] < inner[-1] else (known[0], known[-1])
    cuts = np.linspace(low, high, BINS + 1)
    digits = 2 - int(np.floor(np.log10(cuts[1] - cuts[0])))
    rounded = np.unique(np.round(cuts, digits))
    cuts = rounded[(rounded > known[0]) & (rounded < known[-1])]
    return np.concatenate([known[:1], cuts, known[-1:]])


def _joined(edges: np.ndarray, counts: np.ndarray, centre: float) -> tuple[np.ndarray, np.ndarray]:
    """Join the smallest range, the outermost of equals, to its neighbour towards the centre."""
    middle = (edges[:-1] + edges[1:]) / 2
    smallest = np.flatnonzero(counts == counts.min())
    place = int(smallest[np.argmax(np.abs(middle[smallest] - centre))])
    towards_right = middle[place] < centre if 0 < place < len(counts) - 1 else place == 0
    cut = place + 1 if towards_right else place
    joined = counts.copy()
    joined[cut - 1] += joined[cut]
    return np.delete(edges, cut), np.delete(joined, cut)


def is_numeric_target(series: pd.Series, target: str) -> bool:
    """Whether a label is a numeric target rather than the name of a class.

    ``target`` decides if it is "classes" or "numeric". With "auto", a label is numeric if it holds more than 20
    different numbers, and either some of them have a fraction, or most rows have a value that fewer than four rows
    share.
    Raises ConfigError for another ``target``, DataError if a numeric target is requested of values that are no numbers.
    """
    if target not in TARGETS:
        raise ConfigError(f"target must be one of {', '.join(TARGETS)}, not {target!r}")
    if target == "classes":
        return False
    if target == "numeric":
        _number_column(series)
        return True
    column = infer_column(series)
    if column.kind not in NUMBERS:
        return False
    values = numbers_of(column, series)
    distinct, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    if len(distinct) <= MOST_CLASSES:
        return False
    return bool((distinct != np.rint(distinct)).any() or counts[counts < LEAST_CLASS].sum() > counts.sum() / 2)


def few_fractions(series: pd.Series) -> bool:
    """Whether a label holds up to 20 different numbers, some with a fraction: grades such as 1.5 are classes."""
    if not isinstance(series.dtype, np.dtype) or series.dtype.kind != "f":
        return False
    distinct = np.unique(series[series.notna()])
    return len(distinct) <= MOST_CLASSES and bool((distinct != np.rint(distinct)).any())


def _number_column(series: pd.Series) -> Column:
    """How a target is written; raises DataError if it holds no numbers."""
    column = infer_column(series)
    if column.kind not in NUMBERS:
        raise DataError(f"target {series.name!r} holds no numbers but values of kind {column.kind}: read it as classes")
    return column
