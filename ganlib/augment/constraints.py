"""Generated rows keep the schema's constraints: broken rows are sampled again, then repaired, and all are counted."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from ganlib.data.constraints import Combination, Order, broken_orders, present
from ganlib.data.feeds import make_feeds
from ganlib.data.inverse import on_grid, to_series
from ganlib.data.schema import Column, Schema
from ganlib.errors import DataError
from serving.table.decode import Like

ROUNDS = 10  # times that broken rows are sampled again
FEWEST = 16  # rows sampled of a class in a round, at least
HOPELESS = 0.02  # sampling again ends when fewer of the new rows keep the constraints
CANDIDATES = 2000  # real rows that a broken combination is matched with

Redraw = Callable[[np.ndarray], pd.DataFrame]
Feeds = dict[str, np.ndarray]


class Keeper:
    """Enforces the constraints of ``schema`` on generated frames; holds the combinations of the real rows in memory.

    ``codes`` are the real rows' class indices, or None. Warns if real rows break an order; raises DataError if all do.
    """

    def __init__(
        self, schema: Schema, frame: pd.DataFrame, codes: np.ndarray | None, likes: Mapping[str, Like]
    ) -> None:
        self.constraints, self.likes = schema.constraints, likes
        names = {name for c in self.constraints for name in c.columns}
        self.schema = schema.only(c for c in schema.features if c.name in names)
        feeds = make_feeds(self.schema, frame)
        self._codes = np.zeros(len(frame), dtype=np.int64) if codes is None else codes
        combinations = [c for c in self.constraints if isinstance(c, Combination)]
        self._groups = _joined([c.columns for c in combinations])
        self._words = {n: feeds[schema.column(n).input].astype(str) for group in self._groups for n in group}
        self._allowed = {c: self._tuples(c, feeds).unique() for c in combinations}
        for order in self._orders:
            self._check_real(order, feeds)

    @property
    def _orders(self) -> list[Order]:
        return [c for c in self.constraints if isinstance(c, Order)]

    def _check_real(self, order: Order, feeds: Feeds) -> None:
        both = np.logical_and(*(present(c, feeds[c.input]) for c in map(self.schema.column, order.columns)))
        broken = int(broken_orders(self.schema, order, feeds).sum())
        if not broken:
            return
        said = f"the constraint {order.describe()!r} is broken by {broken} of {int(both.sum())} training rows"
        if broken == both.sum():
            raise DataError(f"{said}; swap its columns, or take it out of the schema")
        warnings.warn(f"{said}; generated rows keep it all the same: take it out if it is wrong", stacklevel=2)

    # ---------------------------------------------------------------- checking
    def _tuples(self, constraint: Combination, feeds: Feeds) -> pd.MultiIndex:
        return pd.MultiIndex.from_arrays([feeds[self.schema.column(n).input].astype(str) for n in constraint.columns])

    def broken(self, frame: pd.DataFrame) -> dict[str, np.ndarray]:
        """Rows that break each constraint, by its description: bool ``(n,)``."""
        feeds, found = make_feeds(self.schema, frame), {}
        for constraint in self.constraints:
            if isinstance(constraint, Order):
                found[constraint.describe()] = broken_orders(self.schema, constraint, feeds)
                continue
            columns = [self.schema.column(name) for name in constraint.columns]
            full = np.logical_and.reduce([present(c, feeds[c.input]) for c in columns])
            found[constraint.describe()] = full & ~self._tuples(constraint, feeds).isin(self._allowed[constraint])
        return found

    def _any(self, frame: pd.DataFrame) -> np.ndarray:
        return np.logical_or.reduce(list(self.broken(frame).values()))

    # ---------------------------------------------------------------- enforcing
    def enforce(
        self, made: pd.DataFrame, codes: np.ndarray, redraw: Redraw, rng: np.random.Generator
    ) -> tuple[pd.DataFrame, dict[str, dict[str, int]]]:
        """``made`` with every constraint kept, and by constraint how many rows were broken, redrawn and repaired.

        ``codes`` are the rows' class indices, ascending; ``redraw`` generates rows of such classes. Raises DataError
        with counts if a row cannot be repaired.
        """
        if not len(made):
            return made, {c.describe(): {"broken": 0, "redrawn": 0, "repaired": 0} for c in self.constraints}
        before = self.broken(made)
        made, left = self._redrawn(made, codes, redraw)
        if len(left):
            repaired = self._repaired(made.iloc[left].reset_index(drop=True), codes[left], rng)
            self._check_repaired(repaired, len(made))
            made = _put(made, left, repaired)
        unsaved = np.isin(np.arange(len(made)), left)
        return made, {
            name: {
                "broken": int(rows.sum()),
                "redrawn": int((rows & ~unsaved).sum()),
                "repaired": int((rows & unsaved).sum()),
            }
            for name, rows in before.items()
        }

    def _redrawn(self, made: pd.DataFrame, codes: np.ndarray, redraw: Redraw) -> tuple[pd.DataFrame, np.ndarray]:
        """Rows with broken ones replaced as far as new ones keep the constraints, and the positions still broken."""
        left = np.flatnonzero(self._any(made))
        for _ in range(ROUNDS):
            if not len(left):
                break
            counts = np.bincount(codes[left])
            asked = np.repeat(np.arange(len(counts)), np.where(counts > 0, np.maximum(counts, FEWEST), 0))
            fresh = redraw(asked)
            good = ~self._any(fresh)
            into, taken = _matched(codes[left], asked, good)
            made = _put(made, left[into], fresh.iloc[taken])
            left = np.delete(left, into)
            if good.mean() < HOPELESS:
                break
        return made, left

    def _check_repaired(self, repaired: pd.DataFrame, rows: int) -> None:
        if failed := {name: int(b.sum()) for name, b in self.broken(repaired).items() if b.any()}:
            counts = "; ".join(f"{name!r} in {n} of {rows} generated rows" for name, n in failed.items())
            raise DataError(
                f"constraints can be kept neither by sampling again nor by repair: {counts}; "
                "take them out of the schema, or check minimum and maximum of their columns"
            )

    # ---------------------------------------------------------------- repair
    def _repaired(self, frame: pd.DataFrame, codes: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
        for group in self._groups:
            frame = self._recombined(frame, group, codes, rng)
        for repair in (_swap, _raise_high, _lower_low):
            for _ in self._orders:
                for order in self._orders:
                    frame = self._reordered(frame, order, repair)
        return frame

    def _recombined(
        self, frame: pd.DataFrame, group: tuple[str, ...], codes: np.ndarray, rng: np.random.Generator
    ) -> pd.DataFrame:
        """Broken rows take the categories of a real row of their class, one that shares as many of them as it can."""
        broken = self.broken(frame)
        own = [broken[c.describe()] for c in self._allowed if set(c.columns) <= set(group)]
        feeds = make_feeds(self.schema, frame)
        words = np.stack([feeds[self.schema.column(n).input].astype(str) for n in group], axis=1)
        real = np.stack([self._words[n] for n in group], axis=1)
        rows = np.flatnonzero(np.logical_or.reduce(own))
        for label in np.unique(codes[rows]):
            some = rng.permutation(np.flatnonzero(self._codes == label))[:CANDIDATES]
            for row in rows[codes[rows] == label]:
                shared = (real[some] == words[row]).sum(1)
                words[row] = real[rng.choice(some[shared == shared.max()])]
        changed = {n: words[rows, i].astype(object) for i, n in enumerate(group)}
        return self._written(frame, rows, changed)

    def _reordered(self, frame: pd.DataFrame, order: Order, repair: Callable[..., Pair]) -> pd.DataFrame:
        feeds = make_feeds(self.schema, frame)
        rows = np.flatnonzero(broken_orders(self.schema, order, feeds))
        low, high = (self.schema.column(n) for n in order.columns)
        pair = repair(low, high, feeds[low.input][rows], feeds[high.input][rows])
        fits = _within(low, pair[0]) & _within(high, pair[1])
        return self._written(frame, rows[fits], {low.name: pair[0][fits], high.name: pair[1][fits]})

    def _written(self, frame: pd.DataFrame, rows: np.ndarray, feeds: Feeds) -> pd.DataFrame:
        """The frame with these values of columns in these rows, in the types that the columns have."""
        if not len(rows):
            return frame
        zone = self.schema.timezone
        fresh = {n: to_series(self.schema.column(n), feed, zone, self.likes.get(n)) for n, feed in feeds.items()}
        return _put(frame, rows, frame.iloc[rows].reset_index(drop=True).assign(**fresh))


Pair = tuple[np.ndarray, np.ndarray]


def _swap(low: Column, high: Column, a: np.ndarray, b: np.ndarray) -> Pair:
    return _fitted(low, b, np.floor), _fitted(high, a, np.ceil)


def _raise_high(low: Column, high: Column, a: np.ndarray, b: np.ndarray) -> Pair:
    return a, _fitted(high, a, np.ceil)


def _lower_low(low: Column, high: Column, a: np.ndarray, b: np.ndarray) -> Pair:
    return _fitted(low, b, np.floor), b


def _fitted(column: Column, values: np.ndarray, rounded: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The nearest values that the column can hold, on the side that ``rounded`` takes."""
    if column.step is not None:
        near = on_grid(values, column.step)
        off = (near < values) if rounded is np.ceil else (near > values)
        near = np.where(off, near + (column.step if rounded is np.ceil else -column.step), near)
        out = on_grid(near, column.step)
    else:
        out = rounded(values) if column.kind == "integer" else values
    return out.astype(np.int64) if column.kind == "date" else out


def _within(column: Column, values: np.ndarray) -> np.ndarray:
    low, high = column.bounds
    return (values >= low) & (values <= high)


def _joined(groups: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Groups with those that share a column as one."""
    found: list[dict[str, None]] = []
    for group in groups:
        one = dict.fromkeys(group)
        for other in [f for f in found if set(f) & set(one)]:
            found.remove(other)
            one = other | one
        found.append(one)
    return [tuple(f) for f in found]


def _matched(wanted: np.ndarray, given: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions in ``wanted`` and the good rows of ``given`` that replace them, of the same class."""
    into, taken = [], []
    for label in np.unique(wanted):
        places, spare = np.flatnonzero(wanted == label), np.flatnonzero((given == label) & good)
        count = min(len(places), len(spare))
        into.append(places[:count])
        taken.append(spare[:count])
    return np.concatenate(into), np.concatenate(taken)


def _put(frame: pd.DataFrame, rows: np.ndarray, fresh: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with the rows at these positions replaced; column types stay."""
    if not len(rows):
        return frame
    order = np.arange(len(frame))
    order[rows] = len(frame) + np.arange(len(rows))
    columns = {}
    for name in frame.columns:
        both = pd.concat([frame[name], fresh[name].astype(frame[name].dtype)], ignore_index=True)
        columns[name] = both.take(order).reset_index(drop=True)
    return pd.DataFrame(columns)
