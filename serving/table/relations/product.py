"""``amount = price * quantity``, within the rounding of the amount."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod
from typing import Any, ClassVar

import numpy as np

from serving.table.relations.base import Fields, Relation, numeric
from serving.table.relations.equation import Equation, Numbers, agrees
from serving.table.relations.fields import Field, Table

PROBE = 40  # rows of the first, quick check


@dataclass(frozen=True)
class Product(Equation):
    """The first column is the product of the others."""

    kind: ClassVar[str] = "product"
    takes: ClassVar[str] = "numbers, or durations and numbers"
    guide: ClassVar[str] = "columns: [amount, price, quantity]: the first is the product of the others"

    def describe(self) -> str:
        """The relation in words."""
        return f"{self.target} = {' * '.join(self.parents)}"

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Product:
        """Parse an entry; raises ValueError."""
        if len(entry["columns"]) < 3:
            raise ValueError("a product has three columns or more: [amount, price, quantity]")
        return cls(tuple(entry["columns"]))

    def fits(self, fields: Sequence[Field]) -> bool:
        """Whether all columns are numbers, or a duration and its factors: one duration and numbers."""
        families = [f.family for f in fields]
        durations = families.count("duration")
        return set(families) <= {"number", "duration"} and (
            not durations or (durations, families[0]) == (2, "duration")
        )

    @classmethod
    def find(cls, table: Table, known: Sequence[Relation]) -> list[Relation]:
        """Find products of two columns."""
        names = [n for n in numeric(table) if table.fields[n].family != "date"]
        if len(names) < 3:
            return []
        rows = np.linspace(0, len(table) - 1, min(len(table), PROBE)).astype(np.int64)
        probe = table.take(np.unique(rows))
        found: list[Relation] = []
        for a, b in combinations(names, 2):
            made = probe.numbers(a) * probe.numbers(b)
            for target in names:
                one = cls((target, a, b))
                if target in (a, b) or not one.fits([table.fields[n] for n in one.columns]):
                    continue
                slack = probe.fields[target].slack(np.abs(made))
                if (np.abs(probe.numbers(target) - made) > slack).any():
                    continue
                if one.holds(table) and not one._idle(table) and agrees(one, [*known, *found]):
                    found.append(one)
        return found

    def _idle(self, table: Table) -> bool:
        """Whether the product is trivial: nearly always equal to one factor."""
        numbers = self._numbers(table, table.present(self.columns))
        target = numbers[self.target]
        slack = table.fields[self.target].slack(np.abs(target))
        return any((np.abs(numbers[n] - target) <= slack).mean() > 0.95 for n in self.parents)

    def implies(self, fields: Fields) -> dict[tuple[str, str], bool]:
        """Orders of a factor and the product, if the other factors are never below 1."""
        out = {}
        for name in self.parents:
            others = [fields[n] for n in self.parents if n != name]
            least = prod(f.bounds[0] if f.bounds[0] >= 0 else 0.0 for f in others)
            if least >= 1 and fields[name].bounds[0] >= 0 and alike(fields[name], fields[self.target], others):
                out[(name, self.target)] = False
        return out

    def expected(self, numbers: Numbers) -> np.ndarray:
        """The product."""
        return np.prod([numbers[n] for n in self.parents], axis=0)

    def solved(self, name: str, numbers: Numbers) -> np.ndarray:
        """The target divided by the other parents; NaN for division by zero."""
        others = np.prod([numbers[n] for n in self.parents if n != name], axis=0)
        return np.divide(numbers[self.target], others, out=np.full(len(others), np.nan), where=others != 0)


def alike(low: Field, high: Field, others: Sequence[Field]) -> bool:
    """Whether an implied order holds in every row: same family, no missing values in others, compatible rounding."""
    grid = not high.unit or (low.unit > 0 and abs(low.unit / high.unit - round(low.unit / high.unit)) < 1e-6)
    return low.family == high.family and grid and not any(f.missing for f in others)
