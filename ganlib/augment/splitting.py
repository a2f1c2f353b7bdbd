"""Splits of real rows into rows to learn from and held-out rows, before anything is fitted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ganlib.errors import DataError

HELD_OUT = 0.3
FIRST_CUT = 0.5  # of rows in time order, those before it are never held out
Split = tuple[np.ndarray, np.ndarray]


def held_out_splits(
    labels: np.ndarray,
    repeats: int,
    seed: int,
    *,
    share: float = HELD_OUT,
    groups: np.ndarray | None = None,
    times: np.ndarray | None = None,
) -> Iterator[Split]:
    """Positions of up to ``repeats`` splits, as pairs of rows to learn from and held-out rows, each with every class.

    Rows of one of the ``groups`` are on one side. With ``times``, rows are learned from that precede all held-out ones,
    and rows of one time are on one side. Raises DataError if no split has every class on both sides.
    """
    if groups is not None and times is not None:
        raise DataError("rows are held out by group or by time, not by both: name one column")
    if groups is None and times is None:
        from sklearn.model_selection import StratifiedShuffleSplit

        found = StratifiedShuffleSplit(repeats, test_size=share, random_state=seed).split(labels, labels)
    elif times is not None:
        found = _by_time(labels, times, repeats)
    else:
        found = _by_group(labels, groups, repeats, seed, share)
    held, names = 0, np.unique(labels)
    for learned, kept in found:
        if all(len(np.unique(labels[part])) == len(names) for part in (learned, kept)):
            held += 1
            yield learned, kept
    if not held:
        what = "group" if groups is not None else "time"
        raise DataError(f"no split by {what} has rows of every class on both sides: hold out rows at random instead")


def _by_group(labels: np.ndarray, groups: Any, repeats: int, seed: int, share: float) -> Iterator[Split]:
    """Each a fold of groups in which the classes are about as frequent as in all rows."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = min(max(2, round(1 / share)), len(np.unique(groups)))
    if folds < 2:
        raise DataError("all rows belong to one group: hold out rows at random instead")
    for draw in range(repeats):
        shuffled = StratifiedGroupKFold(folds, shuffle=True, random_state=seed + draw)
        yield list(shuffled.split(labels, labels, groups))[draw % folds]


def _by_time(labels: np.ndarray, times: np.ndarray, repeats: int) -> Iterator[Split]:
    """Rows before a time, and the rows after it until the next cut but one; cuts are evenly spread over later rows."""
    if any(value is None or value != value for value in times):
        raise DataError("rows without a time cannot be held out by time: fill the column, or leave these rows out")
    order = np.argsort(times, kind="stable")
    cuts = np.linspace(FIRST_CUT, 1.0, repeats + 2) * len(order)
    for first, last in zip(cuts[:-2], cuts[2:], strict=True):
        cut = times[order[int(first)]]
        yield np.flatnonzero(times < cut), order[int(first) : int(last)][times[order[int(first) : int(last)]] >= cut]
