"""Nearly linear pairs: the first column is a line in the second one, plus a residual sampled from training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, ClassVar

import numpy as np

from serving.table.relations.base import COMMON, FEWEST, Fields, Relation, numeric
from serving.table.relations.equation import Equation, Numbers, agrees
from serving.table.relations.fields import Table

LEAST = 0.99  # smallest |correlation| of a proposed pair
LEAST_RANKS = 0.95  # smallest rank correlation, so that a few outliers do not make a line
MOST_POINTS = 41  # most quantiles of the residuals
OWN = 25  # rows for a class to get separate quantiles; below, only its mean and spread are used
GROUPS, UNLIKE, OFF = 4, 1.6, 0.35  # per quarter of the line: limits on the residuals' spread and mean


@dataclass(frozen=True)
class Learned:
    """Slope and intercept, and the quantiles of the residuals of each class ``(classes, points)``."""

    slope: float
    intercept: float
    quantiles: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Line(Equation):
    """The first column is computed as a line in the second one, plus a residual sampled from the training residuals."""

    learned: Learned | None = field(default=None, compare=False, repr=False)
    kind: ClassVar[str] = "line"
    takes: ClassVar[str] = "two columns of numbers, dates or durations"
    guide: ClassVar[str] = (
        "columns: [second, first]: nearly linear: the first named is a line of the other plus a residual like those "
        "of training rows"
    )

    def describe(self) -> str:
        """The relation in words."""
        return f"{self.target} is nearly linear in {self.parents[0]}"

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Line:
        """Parse an entry; raises ValueError."""
        if len(entry["columns"]) != 2:
            raise ValueError(f"a line has two columns, the computed one first; got {len(entry['columns'])}")
        return cls(tuple(entry["columns"]))

    # ---------------------------------------------------------------- what data says
    @classmethod
    def find(cls, table: Table, known: Sequence[Relation]) -> list[Relation]:
        """Find pairs, closest first; computes each column once and requires even residuals along the line."""
        fields = table.fields
        pairs = [p for p in combinations(numeric(table), 2) if fields[p[0]].family == fields[p[1]].family]
        close = [(abs(r), a, b) for a, b in pairs if abs(r := _correlation(table, a, b)) >= LEAST]
        found: list[Relation] = []
        for _, a, b in sorted(close, key=lambda c: -c[0]):
            known_so_far = [*known, *found]
            if any({a, b} <= set(r.columns) for r in known_so_far) or _linked(a, b, known_so_far):
                continue
            # Prefer to compute the later column.
            free = [o for o in (cls((b, a)), cls((a, b))) if agrees(o, known_so_far)]
            found += [o for o in free if o._is_even(table)][:1]
        return found

    def _is_even(self, table: Table) -> bool:
        """Whether residuals have similar mean and spread in all quarters of the line, and every row lies near it."""
        full = table.present(self.columns)
        x, y = (table.numbers(n)[full] for n in (self.parents[0], self.target))
        if abs(np.corrcoef(_ranks(x), _ranks(y))[0, 1]) < LEAST_RANKS:
            return False
        residual = y - np.polyval(np.polyfit(x - x.mean(), y, 1), x - x.mean())
        spread = residual.std()
        if spread == 0:
            return False
        parts = [residual[p] for p in np.array_split(np.argsort(x, kind="stable"), GROUPS)]
        even = all(spread / UNLIKE <= p.std() <= spread * UNLIKE and abs(p.mean()) <= OFF * spread for p in parts)
        return even and not self.learn(table, int(table.codes.max()) + 1).broken(table).any()

    def learn(self, table: Table, classes: int) -> Line:
        """Fit the line to all rows, and the residuals of each class."""
        full = table.present(self.columns)
        x, y = (table.numbers(n)[full] for n in (self.parents[0], self.target))
        if len(x) < 2 or x.min() == x.max():
            raise ValueError(
                f"{self.describe()!r} needs rows with both values, and two different values of {self.parents[0]!r}; "
                "remove it from the schema"
            )
        slope, level = np.polyfit(x - x.mean(), y, 1)
        slope, intercept = float(f"{slope:.12g}"), float(f"{level - slope * x.mean():.12g}")
        residual, codes = y - (slope * x + intercept), table.codes[full]
        whole = _quantiles(residual)
        quantiles = tuple(_of_class(residual[codes == c], whole) for c in range(classes))
        return replace(self, learned=Learned(slope, intercept, quantiles))

    # ---------------------------------------------------------------- rows
    @property
    def _line(self) -> Learned:
        if self.learned is None:
            raise ValueError(f"{self.describe()!r} has not learned from any rows")
        return self.learned

    def expected(self, numbers: Numbers) -> np.ndarray:
        """The line, without the residual."""
        return self._line.slope * numbers[self.parents[0]] + self._line.intercept

    def solved(self, name: str, numbers: Numbers) -> np.ndarray:
        """The parent's value for which the line has the target's value."""
        return (numbers[self.target] - self._line.intercept) / self._line.slope

    def broken(self, table: Table) -> np.ndarray:
        """Rows whose residual lies outside the training range by more than half that range."""
        out, full = np.zeros(len(table), dtype=bool), table.present(self.columns)
        numbers = self._numbers(table, full)
        least, most = min(map(min, self._line.quantiles)), max(map(max, self._line.quantiles))
        margin = (most - least) / 2 + table.fields[self.target].slack(self.size(numbers))
        residual = numbers[self.target] - self.expected(numbers)
        out[full] = ~((residual >= least - margin) & (residual <= most + margin))
        return out

    def define(self, table: Table, rows: np.ndarray, rng: np.random.Generator) -> None:
        """Compute the target with a sampled residual, within its bounds if possible."""
        self._recompute(table, rows, rng)

    def _recompute(self, table: Table, rows: np.ndarray, rng: np.random.Generator | None = None) -> None:
        line = self.expected(self._numbers(table, rows))
        draws = np.full(len(rows), 0.5) if rng is None else rng.random(len(rows))
        low, high = table.fields[self.target].numbers(np.array(table.fields[self.target].limits))
        for label in np.unique(table.codes[rows]):
            own = np.flatnonzero(table.codes[rows] == label)
            points = np.array(self._line.quantiles[label])
            least, most = (_place(points, bound - line[own]) for bound in (low, high))
            line[own] += _at(points, least + draws[own] * (most - least))
        self._compute(table, rows, line)

    # ---------------------------------------------------------------- sealed
    def sealed(self, fields: Fields) -> dict[str, Any]:
        """The entry with slope, intercept and the quantiles, rounded to three significant digits."""
        line = self._line
        values = {"slope": line.slope, "intercept": line.intercept, "quantiles": [list(q) for q in line.quantiles]}
        return {**self.to_dict(), **values}

    @classmethod
    def unsealed(cls, entry: Mapping[str, Any], classes: int) -> Line:
        """Parse an entry of a sealed file."""
        quantiles = tuple(tuple(float(q) for q in points) for points in entry["quantiles"])
        if len(quantiles) != classes or not all(quantiles):
            raise ValueError("a line needs the quantiles of each class")
        return cls(tuple(entry["columns"]), Learned(float(entry["slope"]), float(entry["intercept"]), quantiles))


def _place(points: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """The cumulative probability of residuals, between 0 and 1."""
    steps = np.arange(len(points))
    return np.interp(residual, points, steps / max(1, len(points) - 1))


def _at(points: np.ndarray, share: np.ndarray) -> np.ndarray:
    return np.interp(share * max(1, len(points) - 1), np.arange(len(points)), points)


def _of_class(residual: np.ndarray, whole: tuple[float, ...]) -> tuple[float, ...]:
    """The quantiles of a class. For few rows: those of all rows, shifted to its mean and, from five rows, scaled."""
    if len(residual) >= OWN:
        return _quantiles(residual)
    if not len(residual):
        return whole
    points = np.array(whole)
    spread = points.std()
    factor = residual.std() / spread if len(residual) >= COMMON and spread > 0 else 1.0
    return _rounded((points - points.mean()) * factor + residual.mean())


def _quantiles(residual: np.ndarray) -> tuple[float, ...]:
    """Evenly spaced quantiles, each averaged over five rows."""
    ordered = np.sort(residual)
    count = int(np.clip(len(ordered) // COMMON, 2, MOST_POINTS))
    width = min(COMMON, len(ordered))
    starts = np.round(np.linspace(0, len(ordered) - width, count)).astype(np.int64)
    return _rounded(np.array([ordered[s : s + width].mean() for s in starts]))


def _rounded(points: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{p:.3g}") for p in points)


def _correlation(table: Table, a: str, b: str) -> float:
    x, y = table.numbers(a), table.numbers(b)
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < FEWEST:
        return 0.0
    x, y = x[both] - x[both].mean(), y[both] - y[both].mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.sort(values), values).astype(np.float64)


def _linked(a: str, b: str, known: Sequence[Relation]) -> bool:
    """Whether known lines already connect the two columns, possibly through others."""
    joined, grown = {a}, True
    lines = [set(r.columns) for r in known if isinstance(r, Line)]
    while grown:
        more = set().union(*(s for s in lines if s & joined)) | joined
        joined, grown = more, more != joined
    return b in joined
