"""What every kind of relation is: what a schema file says of it, where it is found, how rows are made to keep it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from serving.table.relations.fields import Field, Table

FEWEST = 50  # rows with every value present that a relation is sought in
CHANCE = 20.0  # a relation is proposed if unrelated columns would keep it with a probability below exp(-CHANCE)
MOST_COLUMNS = 60  # no relations of numbers are sought among more columns than this: pixels and sensors keep many
MOST_SIZE = 1e15  # of numbers: beyond it sums of floats are not exact
COMMON = 5  # rows that must share what a sealed file lists

Fields = Mapping[str, Field]
Edges = Mapping[tuple[str, str], bool]
# Writes values into rows of a table that break a relation; leaves the columns that are held as they are.
Repair = Callable[[Table, np.ndarray, set[str], np.random.Generator], None]


@dataclass(frozen=True)
class Relation(ABC):
    """A relation between the columns ``columns``; rows that lack one of their values are not restricted.

    A relation that a schema file names knows no data. ``learn`` gives one that knows what the training rows have to
    say (allowed combinations, the spread around a line); only such a one can check and repair.
    """

    columns: tuple[str, ...]
    kind: ClassVar[str]
    keys: ClassVar[frozenset[str]] = frozenset()  # of an entry, beside kind and columns
    takes: ClassVar[str]  # what its columns may be, in words
    guide: ClassVar[str]  # a line of the schema file's heading
    settles: ClassVar[bool] = False  # it allows no row but those seen: later repairs should leave its columns alone

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))

    # ---------------------------------------------------------------- what a person writes and reads
    @abstractmethod
    def describe(self) -> str:
        """The relation in words."""

    def to_dict(self) -> dict[str, Any]:
        """The entry in a schema file, JSON values: names and numbers of the relation, nothing of rows."""
        return {"kind": self.kind, "columns": list(self.columns)}

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Relation:
        """From an entry with ``columns`` and ``keys``; raises ValueError on values that make no sense."""
        return cls(tuple(entry["columns"]))

    @abstractmethod
    def fits(self, fields: Sequence[Field]) -> bool:
        """Whether it can relate these columns, which are its own."""

    # ---------------------------------------------------------------- what data says
    @classmethod
    @abstractmethod
    def find(cls, table: Table, known: Sequence[Relation]) -> list[Relation]:
        """Relations that hold in every row, that chance does not explain and that ``known`` ones do not imply."""

    def learn(self, table: Table, classes: int) -> Relation:
        """The relation with what the rows of ``classes`` classes say of it."""
        return self

    def implies(self, fields: Fields) -> dict[tuple[str, str], bool]:
        """Orders (low, high) that hold wherever this does, and whether they are strict."""
        return {}

    # ---------------------------------------------------------------- what rows must keep
    @property
    def target(self) -> str | None:
        """The column that is computed from the others, if it is that kind of relation."""
        return None

    @abstractmethod
    def broken(self, table: Table) -> np.ndarray:
        """Rows that break it: bool ``(n,)``."""

    def define(self, table: Table, rows: np.ndarray, rng: np.random.Generator) -> None:
        """Compute the target of these rows, which hold all values; nothing where there is no target."""
        return

    @property
    @abstractmethod
    def repairs(self) -> tuple[Repair, ...]:
        """Ways to repair rows, the gentlest first."""

    # ---------------------------------------------------------------- what a sealed file holds
    def sealed(self, fields: Fields) -> dict[str, Any]:
        """The entry in a sealed file, with what was learned; raises ValueError where that may not be written."""
        return self.to_dict()

    @classmethod
    def unsealed(cls, entry: Mapping[str, Any], classes: int) -> Relation:
        """The inverse of ``sealed``; raises ValueError, KeyError or TypeError on an entry that it did not write."""
        return cls.read(entry)


def numeric(table: Table) -> list[str]:
    """Columns to compute with that hold more than one value; none where there are more than ``MOST_COLUMNS``."""
    names = [n for n, f in table.fields.items() if f.family is not None]
    names = names if len(names) <= MOST_COLUMNS else []
    return [n for n in names if _varies(table.numbers(n))]


def _varies(values: np.ndarray) -> bool:
    known = values[np.isfinite(values)]
    return len(known) >= FEWEST and bool((known != known[0]).any()) and float(np.abs(known).max()) < MOST_SIZE


def reduced(edges: dict[tuple[str, str], bool], given: Edges, fields: Fields) -> dict[tuple[str, str], bool]:
    """The edges that no chain of others implies, the first ones where there is a choice; a strict one needs a strict
    link.

    ``given`` edges are there without being listed. A chain leads through columns that never lack a value only.
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
