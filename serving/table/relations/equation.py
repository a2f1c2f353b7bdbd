"""The base of sums, products and lines: relations that compute one column, their target, from the others."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serving.table.relations.base import CHANCE, FEWEST, Relation, Repair
from serving.table.relations.fields import Field, Table

Numbers = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Equation(Relation):
    """The first column is computed from the others, rounded to a value that its type can represent."""

    @property
    def target(self) -> str:
        """The column that is computed."""
        return self.columns[0]

    @property
    def parents(self) -> tuple[str, ...]:
        """The columns that it is computed from."""
        return self.columns[1:]

    @abstractmethod
    def expected(self, numbers: Numbers) -> np.ndarray:
        """The target computed from the parents, before rounding."""

    @abstractmethod
    def solved(self, name: str, numbers: Numbers) -> np.ndarray:
        """Solve for one parent, given the target and the other parents."""

    def size(self, numbers: Numbers) -> np.ndarray:
        """The magnitude of the terms, which rounding errors are relative to."""
        return np.abs(numbers[self.target])

    def fits(self, fields: Sequence[Field]) -> bool:
        """Whether all columns are numeric."""
        return all(f.family is not None for f in fields)

    # ---------------------------------------------------------------- rows
    def broken(self, table: Table) -> np.ndarray:
        """Rows whose target differs from the computed one by more than rounding."""
        out, full = np.zeros(len(table), dtype=bool), table.present(self.columns)
        out[full] = self._off(table, self._numbers(table, full))
        return out

    def _off(self, table: Table, numbers: Numbers) -> np.ndarray:
        gap = np.abs(numbers[self.target] - self.expected(numbers))
        return ~(gap <= table.fields[self.target].slack(self.size(numbers)))

    def define(self, table: Table, rows: np.ndarray, rng: np.random.Generator) -> None:
        """Compute the target, clipped to its bounds."""
        self._compute(table, rows, self.expected(self._numbers(table, rows)))

    def _compute(self, table: Table, rows: np.ndarray, numbers: np.ndarray) -> None:
        target = table.fields[self.target]
        finite = np.isfinite(numbers)
        values = target.written(target.values(numbers[finite]))
        table.put(self.target, rows[finite], values)

    @property
    def repairs(self) -> tuple[Repair, ...]:
        """If the target lies at a bound, change parents, the one with the widest range first."""
        return (self._move_parents,)

    def _move_parents(self, table: Table, rows: np.ndarray, held: set[str], rng: np.random.Generator) -> None:
        for name in sorted((n for n in self.parents if n not in held), key=lambda n: -_room(table, n)):
            for side in (0, 1, -1):
                rows = rows[self.broken(table)[rows]]
                if not len(rows):
                    return
                self._move(table, rows, name, side)
                self._recompute(table, rows)

    def _move(self, table: Table, rows: np.ndarray, name: str, side: int) -> None:
        column, wanted = table.fields[name], self.solved(name, self._numbers(table, rows))
        finite = np.isfinite(wanted)
        values = column.clipped(column.at(column.values(wanted[finite]), side))
        table.put(name, rows[finite], values)

    def _recompute(self, table: Table, rows: np.ndarray) -> None:
        self._compute(table, rows, self.expected(self._numbers(table, rows)))

    def _numbers(self, table: Table, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {n: table.numbers(n)[rows] for n in self.columns}

    # ---------------------------------------------------------------- what data says
    def holds(self, table: Table) -> bool:
        """Whether every row satisfies the relation, and unrelated columns would not."""
        full = table.present(self.columns)
        rows = int(full.sum())
        if rows < FEWEST:
            return False
        numbers = self._numbers(table, full)
        if self._off(table, numbers).any():
            return False
        slack, order = table.fields[self.target].slack(self.size(numbers)), np.sort(self.expected(numbers))
        target = numbers[self.target]
        near = np.searchsorted(order, target + slack, "right") - np.searchsorted(order, target - slack, "left")
        share = float(near.mean()) / rows  # of random pairs of a target and parents that fit
        return bool(-rows * np.log(max(share, 1e-12)) > CHANCE * len(self.columns))


def _room(table: Table, name: str) -> float:
    low, high = table.fields[name].bounds
    return (high - low) / (1e6 if table.fields[name].kind == "date" else 1.0)


def in_turn(equations: Sequence[Relation]) -> list[Relation]:
    """The relations with a target, ordered so that every target is computed before it is used.

    Raises ValueError if two relations compute the same column, or if a column would be computed from itself.
    """
    by_target: dict[str, Relation] = {}
    for relation in equations:
        if relation.target is None:
            continue
        if relation.target in by_target:
            both = f"{by_target[relation.target].describe()!r} and {relation.describe()!r}"
            raise ValueError(
                f"{both} both compute column {relation.target!r}: keep one, or put another column first in one of them"
            )
        by_target[relation.target] = relation
    done: dict[str, Relation] = {}
    for name in by_target:
        _visit(name, by_target, done, ())
    return list(done.values())


def _visit(name: str, by_target: Mapping[str, Relation], done: dict[str, Relation], path: tuple[str, ...]) -> None:
    if name in path:
        round_trip = ", ".join(repr(by_target[n].describe()) for n in path[path.index(name) :])
        raise ValueError(f"column {name!r} would be computed from itself by {round_trip}: remove one")
    if name in done or name not in by_target:
        return
    for parent in by_target[name].columns[1:]:
        _visit(parent, by_target, done, (*path, name))
    done[name] = by_target[name]


def agrees(relation: Relation, known: Sequence[Relation]) -> bool:
    """Whether a relation can be computed along with the known ones: no column twice, and none from itself."""
    try:
        in_turn([*known, relation])
    except ValueError:
        return False
    return True
