"""How the values of a column are distributed: bins of the training rows, and counts of later rows in the same bins.

Numbers have inner edges at deciles of the training rows; an edge belongs to the bin below it. Categories have a bin
each for the most frequent ones, and a last one for all others. Missing and non-finite values are in no bin.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

BINS, CATEGORIES = 10, 20
COUNTED = 512  # rows of a piece whose numbers are counted
FEWEST = 20  # training rows a bin, of numbers
Profile = Mapping[str, Any]


def profiled(kind: str, feed: np.ndarray, known: Sequence[str] = ()) -> dict[str, Any] | None:
    """The profile of a column's feed of training rows; None for dates and text, and for too few rows.

    ``known`` are the categories of the schema: it leaves rare ones out, which may be private.
    """
    if kind == "category":
        values, counts = np.unique(feed[np.isin(feed.astype(str), known)].astype(str), return_counts=True)
        order = np.argsort(-counts, kind="stable")[:CATEGORIES]
        found: dict[str, Any] = {"values": values[order].tolist()}
    elif kind in ("date", "text"):
        return None
    else:
        present = np.asarray(feed, np.float64)[np.isfinite(feed)]
        bins = min(BINS, len(present) // FEWEST)
        cuts = np.quantile(present, np.arange(1, bins) / bins) if bins > 1 else np.zeros(0)
        found = {"edges": sorted({float(f"{cut:.6g}") for cut in cuts})}
    places = np.array(tally(found, feed))
    if len(places) < 2 or not places.sum():
        return None
    return found | {"shares": [float(f"{share:.4g}") for share in places / places.sum()]}


def tally(profile: Profile, feed: np.ndarray, found: Mapping[str, int] | None = None) -> list[int]:
    """Counts of a feed by the bins of a profile; ``found`` are those of its categories, if they are known already."""
    if "values" in profile:
        found = Counter(feed.tolist()) if found is None else found
        counts = [found.get(value, 0) for value in profile["values"]]
        return [*counts, sum(n for value, n in found.items() if value) - sum(counts)]
    places = np.searchsorted(profile["edges"], feed[np.isfinite(feed)], side="left")
    return np.bincount(places, minlength=len(profile["edges"]) + 1).tolist()  # type: ignore[no-any-return]


@lru_cache(maxsize=8)
def sampled(rows: int) -> slice | np.ndarray:
    """Which of these rows are counted: all, or a random choice that is the same each time.

    Counting every number of a large input would cost a tenth of its scoring. The choice is random, as every fourth row
    could be that of one machine.
    """
    if rows <= COUNTED:
        return slice(None)
    return np.sort(np.random.default_rng(rows).choice(rows, COUNTED, replace=False))


def stability(shares: np.ndarray, counts: np.ndarray, rows: float) -> tuple[float, float]:
    """The population stability index of counts against training shares, and how much of it chance may explain.

    Sum of ``(now - then) · log(now / then)`` over the bins. Half a row is added to each bin, so that an empty bin is no
    infinity. With ``n`` counts and ``m`` training ``rows``, the index of unchanged data over ``1/n + 1/m`` is roughly
    chi-squared, with one degree of freedom less than bins; its mean and four deviations are allowed to chance.
    """
    bins, n = len(shares), counts.sum()
    now = (counts + 0.5) / (n + 0.5 * bins)
    then = (shares * rows + 0.5) / (rows + 0.5 * bins)
    index = float(((now - then) * np.log(now / then)).sum())
    return index, (bins - 1 + 4 * math.sqrt(2 * (bins - 1))) * (1 / max(n, 1) + 1 / max(rows, 1))
