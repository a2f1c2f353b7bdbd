"""The protocol of relations: their schema entry, how they are found in data, and how they are enforced in rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from serving.table.relations.fields import Field, Table

FEWEST = 50  # complete rows needed to look for a relation
CHANCE = 20.0  # a relation is proposed if unrelated columns would satisfy it with a probability below exp(-CHANCE)
MOST_COLUMNS = 60  # with more numeric columns (pixels, sensors) no relations are searched
MOST_SIZE = 1e15  # largest number; beyond it, sums of floats are inexact
COMMON = 5  # rows that must share a value for a sealed file to list it

Fields = Mapping[str, Field]
Edges = Mapping[tuple[str, str], bool]
# Changes rows of a table that break a relation; leaves the held columns unchanged.
Repair = Callable[[Table, np.ndarray, set[str], np.random.Generator], None]


@dataclass(frozen=True)
class Relation(ABC):
    """A relation between ``columns``. Rows with a missing value in one of them are not restricted.

    A relation read from a schema file has not seen data. ``learn`` returns one fitted to the training rows (allowed
    combinations, the spread around a line); only a fitted relation can check and repair rows.
    """

    columns: tuple[str, ...]
    kind: ClassVar[str]
    keys: ClassVar[frozenset[str]] = frozenset()  # further keys of an entry, besides kind and columns
    takes: ClassVar[str]  # the allowed kinds of columns, in words
    guide: ClassVar[str]  # a line in the heading of the schema file
    settles: ClassVar[bool] = False  # allows only values seen in training, so later repairs should not change them

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))

    # ---------------------------------------------------------------- what a person writes and reads
    @abstractmethod
    def describe(self) -> str:
        """The relation in words."""

    def to_dict(self) -> dict[str, Any]:
        """The entry in a schema file as JSON values; contains nothing learned from rows."""
        return {"kind": self.kind, "columns": list(self.columns)}

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Relation:
        """Parse an entry with ``columns`` and ``keys``; raises ValueError for invalid values."""
        return cls(tuple(entry["columns"]))

    @abstractmethod
    def fits(self, fields: Sequence[Field]) -> bool:
        """Whether the relation supports the kinds of these columns."""

    # ---------------------------------------------------------------- what data says
    @classmethod
    @abstractmethod
    def find(cls, table: Table, known: Sequence[Relation]) -> list[Relation]:
        """Relations that hold in every row, are unlikely by chance, and are not implied by ``known`` ones."""

    def learn(self, table: Table, classes: int) -> Relation:
        """The relation fitted to the rows of ``classes`` classes."""
        return self

    def implies(self, fields: Fields) -> dict[tuple[str, str], bool]:
        """Orders (low, high) that this relation implies, and whether they are strict."""
        return {}

    # ---------------------------------------------------------------- what rows must keep
    @property
    def target(self) -> str | None:
        """The column that is computed from the others; None if the relation computes no column."""
        return None

    @abstractmethod
    def broken(self, table: Table) -> np.ndarray:
        """Rows that break the relation, bool ``(n,)``."""

    def define(self, table: Table, rows: np.ndarray, rng: np.random.Generator) -> None:
        """Compute the target of these complete rows; does nothing without a target."""
        return

    @property
    @abstractmethod
    def repairs(self) -> tuple[Repair, ...]:
        """Ways to repair rows, the least intrusive first."""

    # ---------------------------------------------------------------- what a sealed file holds
    def sealed(self, fields: Fields) -> dict[str, Any]:
        """The entry in a sealed file, with the fitted values; raises ValueError if these may not be published."""
        return self.to_dict()

    @classmethod
    def unsealed(cls, entry: Mapping[str, Any], classes: int) -> Relation:
        """The inverse of ``sealed``; raises ValueError, KeyError or TypeError for invalid entries."""
        return cls.read(entry)


def numeric(table: Table) -> list[str]:
    """Numeric columns with more than one value; empty if there are more than ``MOST_COLUMNS``."""
    names = [n for n, f in table.fields.items() if f.family is not None]
    names = names if len(names) <= MOST_COLUMNS else []
    return [n for n in names if _varies(table.numbers(n))]


def _varies(values: np.ndarray) -> bool:
    known = values[np.isfinite(values)]
    return len(known) >= FEWEST and bool((known != known[0]).any()) and float(np.abs(known).max()) < MOST_SIZE


def reduced(edges: dict[tuple[str, str], bool], given: Edges, fields: Fields) -> dict[tuple[str, str], bool]:
    """The edges that are not implied by a chain of others; prefers earlier edges.

    A chain implies a strict edge only if one of its links is strict, and passes only through columns without missing
    values. ``given`` edges may be part of chains but are not returned.
    """
    kept = dict(edges)
    for edge, strict in reversed(edges.items()):
        others = {e: s for e, s in {**given, **kept}.items() if e != edge or e in given}
        if _reached(edge, strict, others, fields):
            del kept[edge]
    return kept


def _reached(edge: tuple[str, str], strict: bool, edges: Edges, fields: Fields) -> bool:
    start, end = edge
    seen: set[tuple[str, bool]] = set()
    paths = [(start, not strict)]
    while paths:
        name, enough = paths.pop()
        if (name, enough) in seen:
            continue
        seen.add((name, enough))
        for (a, b), firm in edges.items():
            if a == name and b == end and (enough or firm):
                return True
            if a == name and b != end and not fields[b].missing:
                paths.append((b, enough or firm))
    return False
