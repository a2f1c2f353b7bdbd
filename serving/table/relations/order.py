"""``low <= high`` or ``low < high``: two dates, two numbers or two durations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, ClassVar

import numpy as np

from serving.table.relations.base import CHANCE, FEWEST, MOST_COLUMNS, Relation, Repair, reduced
from serving.table.relations.fields import Field, Table

BREAKABLE = 0.05  # smallest share of random pairs that must break an order for it to be informative
NEVER_EQUAL = 12  # rows one unit apart; if equal values were allowed, a similar number of rows would have them


@dataclass(frozen=True)
class Order(Relation):
    """The first column is never above the second one; with ``strict`` never equal to it either."""

    strict: bool = False
    kind: ClassVar[str] = "order"
    keys: ClassVar[frozenset[str]] = frozenset({"strict"})
    takes: ClassVar[str] = "two dates, two numbers or two durations"
    guide: ClassVar[str] = (
        "columns: [low, high]: two dates, numbers or durations, the first never above the second; strict: true: nor "
        "equal to it"
    )

    @property
    def low(self) -> str:
        """The lower column."""
        return self.columns[0]

    @property
    def high(self) -> str:
        """The higher column."""
        return self.columns[1]

    def describe(self) -> str:
        """The relation in words."""
        return f"{self.low} {'<' if self.strict else '<='} {self.high}"

    def to_dict(self) -> dict[str, Any]:
        """The entry in a schema file."""
        return {**super().to_dict(), **({"strict": True} if self.strict else {})}

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Order:
        """Parse an entry of a schema file; raises ValueError."""
        columns, strict = entry["columns"], entry.get("strict", False)
        if len(columns) != 2:
            raise ValueError(f"an order has two columns, the lower one first; got {len(columns)}")
        if not isinstance(strict, bool):
            raise ValueError(f"strict must be true or false, not {strict!r}")
        return cls(tuple(columns), strict)

    def fits(self, fields: Sequence[Field]) -> bool:
        """Whether the two can be compared."""
        return fields[0].family is not None and fields[0].family == fields[1].family

    @classmethod
    def find(cls, table: Table, known: Sequence[Relation]) -> list[Relation]:
        """Find orders between columns with overlapping ranges that no other orders or relations imply."""
        fields = table.fields
        held: list[tuple[str, str]] = []
        for family in ("date", "time of day", "duration", "number"):
            names = [n for n, f in fields.items() if f.family == family]
            if 2 <= len(names) <= MOST_COLUMNS:
                pairs = [
                    p for p in permutations(names, 2) if not any(r.settles and {*p} <= {*r.columns} for r in known)
                ]
                held += [p for p in pairs if _holds(table, *p)]
        # Columns that are equal in every row have no order.
        found = {(a, b): _strict(table, a, b) for a, b in held if (b, a) not in held}
        given: dict[tuple[str, str], bool] = {}
        for relation in known:
            given |= relation.implies(fields)
        return [cls(pair, strict) for pair, strict in reduced(found, given, fields).items()]

    def implies(self, fields: Mapping[str, Field]) -> dict[tuple[str, str], bool]:
        """The order itself."""
        return {(self.low, self.high): self.strict}

    # ---------------------------------------------------------------- rows
    def broken(self, table: Table) -> np.ndarray:
        """Rows whose lower value is above the higher one."""
        low, high = table.columns[self.low], table.columns[self.high]
        return table.present(self.columns) & (low >= high if self.strict else low > high)

    @property
    def repairs(self) -> tuple[Repair, ...]:
        """Swap the two values, raise the higher one, or lower the lower one."""
        return (self._swap, self._raise, self._lower)

    def _swap(self, table: Table, rows: np.ndarray, held: set[str], rng: np.random.Generator) -> None:
        a, b = table.columns[self.low][rows], table.columns[self.high][rows]
        low, high = table.fields[self.low], table.fields[self.high]
        if not held & set(self.columns):
            self._write(table, rows, low.at(b, -1), high.at(a, 1))

    def _raise(self, table: Table, rows: np.ndarray, held: set[str], rng: np.random.Generator) -> None:
        low, high = table.columns[self.low][rows], table.fields[self.high]
        if self.high not in held:
            self._write(table, rows, low, high.beyond(low, 1) if self.strict else high.at(low, 1))

    def _lower(self, table: Table, rows: np.ndarray, held: set[str], rng: np.random.Generator) -> None:
        high, low = table.columns[self.high][rows], table.fields[self.low]
        if self.low not in held:
            self._write(table, rows, low.beyond(high, -1) if self.strict else low.at(high, -1), high)

    def _write(self, table: Table, rows: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        """Write the values that lie within the bounds and satisfy the order."""
        fits = table.fields[self.low].inside(low) & table.fields[self.high].inside(high)
        fits &= low < high if self.strict else low <= high
        table.put(self.low, rows[fits], low[fits])
        table.put(self.high, rows[fits], high[fits])


def _holds(table: Table, low: str, high: str) -> bool:
    a, b = table.columns[low], table.columns[high]
    both = table.present((low, high))
    rows = int(both.sum())
    if rows < FEWEST or (both & (a > b)).any():
        return False
    below = np.searchsorted(np.sort(b[both]), a[both], side="left")
    broken = float(below.mean()) / rows  # the share of random pairs that break it
    return broken > BREAKABLE and -rows * np.log1p(-min(broken, 1 - 1e-9)) > CHANCE


def _strict(table: Table, low: str, high: str) -> bool:
    """Whether equal values never occur, although values one unit apart are frequent."""
    unit = max(table.fields[low].unit, table.fields[high].unit)
    both = table.present((low, high))
    gaps = table.columns[high][both] - table.columns[low][both]
    return bool(unit and (gaps > 0).all() and (gaps <= unit * (1 + 1e-9)).sum() >= NEVER_EQUAL)
