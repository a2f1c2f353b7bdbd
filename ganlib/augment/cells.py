"""Cells: the classes that rows are learned by if a condition or a numeric target says more than a label does.

A cell is a class, or a range of a numeric target, of the rows that satisfy the condition, or of the others. A generator
learns all cells, so that rows of the wanted ones borrow what the others show, and generates the wanted ones. Generated
rows that do not lie in their cell are dropped and sampled again; none is changed to fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ganlib.augment.counts import counts_for, share_out
from ganlib.augment.ranges import Ranges
from ganlib.data.conditions import Condition
from ganlib.data.values import category_text
from ganlib.errors import DataError

LEAST_MATCHING = 4  # real rows that satisfy a condition
ROUNDS = 10  # of sampling
MOST_MORE = 10  # times the missing rows that one round samples
OTHERWISE = "otherwise"
Draw = Callable[[Mapping[str, int], int], pd.DataFrame]
"""Rows of these cells by a seed, one cell after the other in the order of the mapping."""
Fits = Callable[[pd.DataFrame, np.ndarray], np.ndarray]
"""Whether rows lie in the cells of these names, bool ``(n,)``."""


@dataclass(frozen=True)
class Cells:
    """The cells of the real rows whose label is known: those at the positions ``rows``.

    ``names`` holds the cell of each of them, ``held`` whether it satisfies the condition. ``wanted`` are the cells of
    rows that do, with the texts of their labels (one, empty, without a label), and ``first`` is the place of one row of
    each. ``ranges`` are those of a numeric target, which is generated as a column.
    """

    rows: np.ndarray
    names: np.ndarray
    held: np.ndarray
    wanted: Mapping[str, str]
    first: Mapping[str, int]
    condition: Condition | None = None
    label: str | None = None
    ranges: Ranges | None = None

    @classmethod
    def read(cls, frame: pd.DataFrame, label: str | None, condition: Condition | None, numeric: bool = False) -> Cells:
        """The cells of the rows of ``frame``; rows without a label, or a number in it if ``numeric``, have none.

        Raises DataError if fewer than four rows satisfy the condition, and for a numeric target without rare ranges.
        """
        ranges = Ranges.read(frame[label]) if numeric and label is not None else None
        rows = np.arange(len(frame))
        if ranges is not None:
            rows = np.flatnonzero(~np.isnan(ranges.numbers(frame[label])))
        elif label is not None:
            rows = np.flatnonzero(frame[label].notna().to_numpy())
        frame = frame.iloc[rows]
        held = matching(frame, condition)
        if label is None:
            texts = np.full(len(frame), "", dtype=object)
        elif ranges is None:
            texts = np.array([category_text(value) for value in frame[label]], dtype=object)
        else:
            texts = np.array(ranges.names, dtype=object)[ranges.codes(ranges.numbers(frame[label]))]
        names = texts
        if condition is not None:
            inside = np.where(held, condition.describe(), OTHERWISE)
            joined = [f"{text}, {part}" if text else part for text, part in zip(texts, inside, strict=True)]
            names = np.array(joined, dtype=object)
        # A few other rows are learned together: as classes by themselves they show nothing.
        names = np.where(
            ~held & (pd.Series(names).map(pd.Series(names).value_counts()) < LEAST_MATCHING), OTHERWISE, names
        )
        places = np.flatnonzero(held)
        order = np.unique(names[places].astype(str), return_index=True)[1]
        if ranges is not None:
            order = order[np.argsort([ranges.names.index(texts[places[i]]) for i in order])]
        first = {str(names[place]): int(place) for place in places[order]}
        wanted = {name: str(texts[place]) for name, place in first.items()}
        return cls(rows, names, held, wanted, first, condition, label, ranges)

    @property
    def counts(self) -> np.ndarray:
        """Real rows of each wanted cell."""
        return np.array([int((self.names == name).sum()) for name in self.wanted], dtype=np.int64)

    @property
    def lacking(self) -> np.ndarray:
        """The rows that each wanted cell needs to match the largest one, or the mean of all if they are ranges."""
        aim = self.counts.max() if self.ranges is None else int(np.ceil(self.counts.mean()))
        return np.maximum(0, aim - self.counts).astype(np.int64)

    @property
    def given(self) -> dict[str, Any]:
        """The arguments ``where`` and ``target`` that cells are of."""
        return {"where": self.condition, "target": "classes" if self.ranges is None else "numeric"}

    @property
    def single(self) -> bool:
        """Whether all rows lie in one cell, so that no class is to be learned."""
        return len(set(self.names.tolist())) == 1

    def requested(
        self, rows: int | None, condition: Any = None, counts: Mapping[Any, int] | None = None
    ) -> dict[str, int]:
        """Rows to generate of each wanted cell, for these arguments of ``BaseAugmenter.augment``.

        Raises ConfigError for a class that no row of the condition has.
        """
        texts, held = list(self.wanted.values()), self.counts
        values = np.array(texts, dtype=object)
        if self.label is None:
            found = np.array([rows or 0])
        elif counts is not None:
            found = counts_for(None, counts, values, texts, held)[1]
        elif condition is not None:
            one = counts_for(1, condition, values, texts, held)[1]
            found = one * (rows if rows is not None else int((self.lacking * one).sum()))
        elif rows is not None:
            found = share_out(rows, self.lacking if self.lacking.sum() else held)
        else:
            found = self.lacking
        return {name: int(count) for name, count in zip(self.wanted, found, strict=True)}

    def fits(self, made: pd.DataFrame, names: np.ndarray) -> np.ndarray:
        """Whether generated rows lie in the cells ``names``, bool ``(n,)``."""
        held = np.ones(len(made), dtype=bool) if self.condition is None else self.condition.mask(made)
        if self.ranges is None:
            return held
        place = {name: code for code, name in enumerate(self.ranges.names)}
        codes = np.array([place[self.wanted[name]] for name in names], dtype=np.int64)
        return held & self.ranges.within(self.ranges.numbers(made[self.label]), codes)

    def describe(self) -> str:
        """What a row must satisfy, in words."""
        parts = [] if self.condition is None else [self.condition.describe()]
        return " and ".join([*parts, *([f"its range of {self.label!r}"] if self.ranges else [])])


def matching(frame: pd.DataFrame, condition: Condition | None) -> np.ndarray:
    """Rows that satisfy a condition, bool ``(n,)``; raises DataError for fewer than four."""
    if condition is None:
        return np.ones(len(frame), dtype=bool)
    held = condition.mask(frame)
    count = int(held.sum())
    if count < LEAST_MATCHING:
        some = "no row satisfies" if count == 0 else f"{count} of {len(frame)} rows satisfy"
        raise DataError(
            f"{some} the condition {condition.describe()!r}; {LEAST_MATCHING} real rows are needed to learn from: "
            "widen it, or add rows"
        )
    return held


def sampled(draw: Draw, wanted: Mapping[str, int], fits: Fits, what: str, seed: int) -> pd.DataFrame:
    """Exactly ``wanted`` rows of each cell that fit it, in the order of the mapping.

    Rows that do not fit are dropped, and more are sampled, in up to ten rounds of up to ten times the missing rows. The
    first round has the ``seed``, each other one a seed that follows from it.
    Raises DataError, naming ``what`` they must satisfy and how many did, if rows are still missing.
    """
    wanted = {name: count for name, count in wanted.items() if count}
    if not wanted:
        return draw({}, seed)
    kept: dict[str, list[pd.DataFrame]] = {name: [] for name in wanted}
    found, tried = dict.fromkeys(wanted, 0), dict.fromkeys(wanted, 0)
    for number in range(ROUNDS):
        lacking = {name: wanted[name] - min(found[name], wanted[name]) for name in wanted}
        request = {name: _more(count, found[name], tried[name]) for name, count in lacking.items() if count}
        if not request:
            break
        made = draw(request, int(np.random.SeedSequence([seed, number]).generate_state(1)[0]) if number else seed)
        names = np.repeat(np.array(list(request), dtype=object), list(request.values()))
        held = fits(made, names)
        for name, count in request.items():
            places = np.flatnonzero(held & (names == name))
            kept[name].append(made.iloc[places[: lacking[name]]])
            found[name] += len(places)
            tried[name] += count
    if short := [name for name in wanted if found[name] < wanted[name]]:
        name = short[0]
        raise DataError(
            f"of {tried[name]:,} generated rows of {name!r} {found[name]:,} satisfy {what}, and {wanted[name]:,} are "
            "needed: request fewer rows, widen the condition, or use another model or more steps"
        )
    return pd.concat([part for parts in kept.values() for part in parts], ignore_index=True)


def _more(lacking: int, found: int, tried: int) -> int:
    """Rows to sample for the missing ones, by the share that fitted before."""
    if tried == 0:
        return lacking
    share = (found + 1) / (tried + 2)
    return int(min(MOST_MORE * lacking + 10, np.ceil(1.2 * lacking / share) + 1))
