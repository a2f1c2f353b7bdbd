"""Enforces relations in generated rows: computes targets, repairs or resamples broken rows, and counts them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from serving.errors import DataError
from serving.table.relations.base import Fields, Relation
from serving.table.relations.equation import in_turn
from serving.table.relations.fields import Table

ROUNDS = 10  # most rounds of resampling
FEWEST = 16  # fewest rows to sample of a class per round
HOPELESS = 0.02  # stop resampling if a smaller share of new rows satisfies the relations

Values = dict[str, np.ndarray]
Redraw = Callable[[np.ndarray], Values]
Report = dict[str, dict[str, int]]


class Keeper:
    """Enforces fitted relations; ``fields`` are the columns of the schema."""

    def __init__(self, relations: Sequence[Relation], fields: Fields) -> None:
        names = {name for r in relations for name in r.columns}
        self.relations, self.fields = tuple(relations), {n: f for n, f in fields.items() if n in names}
        self._computed = in_turn(relations)

    def broken(self, values: Values) -> dict[str, np.ndarray]:
        """Rows that break each relation, by its description, bool ``(n,)``."""
        table = Table(self.fields, values, np.zeros(len(next(iter(values.values()))), dtype=np.int64))
        return {r.describe(): r.broken(table) for r in self.relations}

    def keep(
        self, values: Values, codes: np.ndarray, redraw: Redraw, rng: np.random.Generator
    ) -> tuple[Values, Report]:
        """Enforce every relation; returns the rows, and by relation how many were broken, resampled and repaired.

        ``codes`` are the rows' class indices; ``redraw`` generates rows of given classes. Related columns are rounded
        to values of their types. Raises DataError with counts if rows can be neither resampled nor repaired.
        """
        if not len(codes):
            return values, {r.describe(): {"broken": 0, "redrawn": 0, "repaired": 0} for r in self.relations}
        table = self._written(values, codes)
        before = {r.describe(): r.broken(table) for r in self.relations}
        # Repair before resampling: resampling favours rows that satisfy all relations by chance and so changes the
        # distribution. Parents are changed only in the last resort, because that piles rows up at the target's bounds.
        redrawn, left = np.zeros(len(table), dtype=bool), np.arange(len(table))
        for improve in (self._repair, self._repair_fully):
            part = table.take(left)
            improve(part, rng)
            table.replace(left, part)
            redrawn |= self._replaced(table, left[self._any(part)], redraw, rng, improve)
            left = np.flatnonzero(self._any(table))
            if not len(left):
                break
        self._check(table)
        return table.columns, {
            name: {
                "broken": int(rows.sum()),
                "redrawn": int((rows & redrawn).sum()),
                "repaired": int((rows & ~redrawn).sum()),
            }
            for name, rows in before.items()
        }

    def _written(self, values: Values, codes: np.ndarray) -> Table:
        """A table of the rows, with numeric related columns rounded to values of their types."""
        numbers = {n: f for n, f in self.fields.items() if f.family is not None}
        return Table(self.fields, {n: numbers[n].written(v) if n in numbers else v for n, v in values.items()}, codes)

    def _any(self, table: Table, relations: Sequence[Relation] | None = None) -> np.ndarray:
        return np.logical_or.reduce([r.broken(table) for r in relations or self.relations])

    def _define(self, table: Table, rng: np.random.Generator) -> None:
        """Compute the targets of all complete rows."""
        for relation in self._computed:
            relation.define(table, np.flatnonzero(table.present(relation.columns)), rng)

    def _replaced(
        self,
        table: Table,
        left: np.ndarray,
        redraw: Redraw,
        rng: np.random.Generator,
        improve: Callable[[Table, np.random.Generator], None],
    ) -> np.ndarray:
        """Replace rows by new rows of their class that satisfy all relations; returns which, bool ``(n,)``."""
        done = np.zeros(len(table), dtype=bool)
        for _ in range(ROUNDS):
            if not len(left):
                break
            counts = np.bincount(table.codes[left])
            requested = np.repeat(np.arange(len(counts)), np.where(counts > 0, np.maximum(counts, FEWEST), 0))
            fresh = self._written(redraw(requested), requested)
            improve(fresh, rng)
            good = ~self._any(fresh)
            into, taken = _matched(table.codes[left], requested, good)
            table.replace(left[into], fresh.take(taken))
            done[left[into]] = True
            left = np.delete(left, into)
            if good.mean() < HOPELESS:
                break
        return done

    def _repair(self, table: Table, rng: np.random.Generator) -> None:
        """Compute targets, and repair the other relations without changing the targets."""
        self._define(table, rng)
        held = {str(r.target) for r in self._computed}
        self._repair_all([r for r in self.relations if r.target is None], held, table, rng)

    def _repair_fully(self, table: Table, rng: np.random.Generator) -> None:
        """Compute targets, and repair every relation; parents may change to match their target."""
        self._define(table, rng)
        plain = [r for r in self.relations if r.target is None]
        self._repair_all([*plain, *reversed(self._computed)], set(), table, rng)

    def _repair_all(
        self, relations: Sequence[Relation], held: set[str], table: Table, rng: np.random.Generator
    ) -> None:
        """Repair rows that break one of these relations; applies each kind of repair once per relation."""
        for level in range(max((len(r.repairs) for r in relations), default=0)):
            for _ in relations:
                rows = np.flatnonzero(self._any(table, relations))
                if not len(rows):
                    return
                part = table.take(rows)
                self._repair_once(relations, held, part, level, rng)
                table.replace(rows, part)

    def _repair_once(
        self, relations: Sequence[Relation], held: set[str], table: Table, level: int, rng: np.random.Generator
    ) -> None:
        settled, targets = set(held), {str(r.target) for r in self._computed}
        for relation in relations:
            rows = np.flatnonzero(relation.broken(table))
            if len(rows):
                repair = relation.repairs[min(level, len(relation.repairs) - 1)]
                repair(table, rows, settled | targets if relation.target else settled, rng)
            if relation.settles:
                settled |= set(relation.columns)
        for relation in self._computed:
            relation.define(table, np.flatnonzero(relation.broken(table)), rng)

    def _check(self, table: Table) -> None:
        failed = {r.describe(): int(r.broken(table).sum()) for r in self.relations}
        reject({name: n for name, n in failed.items() if n}, len(table))

    # ---------------------------------------------------------------- sealed
    def sealed(self) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """Entries for a sealed file, and for the relations that it may not hold, the reason by description."""
        entries, left_out = [], {}
        for relation in self.relations:
            try:
                entries.append(relation.sealed(self.fields))
            except ValueError as error:
                left_out[relation.describe()] = str(error)
        return entries, left_out


def reject(failed: Mapping[str, int], rows: int) -> None:
    """Raise DataError if generated rows break relations, with the count of each."""
    if failed:
        counts = "; ".join(f"{name!r} in {n} of {rows} generated rows" for name, n in failed.items())
        raise DataError(
            f"constraints can be enforced neither by resampling nor by repair: {counts}; remove them from the schema "
            "that the model is trained with, or check minimum and maximum of their columns"
        )


def _matched(wanted: np.ndarray, given: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions in ``wanted`` and the good rows of ``given`` that replace them, of the same class."""
    into, taken = [], []
    for label in np.unique(wanted):
        places, spare = np.flatnonzero(wanted == label), np.flatnonzero((given == label) & good)
        count = min(len(places), len(spare))
        into.append(places[:count])
        taken.append(spare[:count])
    return np.concatenate(into), np.concatenate(taken)
