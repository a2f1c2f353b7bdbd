"""``total = net + tax``: exact sums, differences and multiples, with whole or rational weights and a constant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations
from math import lcm
from typing import Any, ClassVar

import numpy as np

from serving.table.relations.base import FEWEST, Fields, Relation, numeric
from serving.table.relations.equation import Equation, Numbers, agrees
from serving.table.relations.fields import Table
from serving.table.relations.product import alike

MOST = 5  # most columns of a sum to find, including the target
PROBE = 500  # rows to fit the weights on
MOST_INVOLVED = 14  # most columns among which all sums are searched
EXACT = 1e-4  # exact sums: largest residual, in units of the target
ROUNDED = (0.15, 0.6)  # rounded sums: range of the residual's root mean square, in units of the target
SMALL = 0.05  # rounded sums: largest residual relative to the column's spread, which excludes columns of few values
# Weights are fractions with one of these denominators and at most this numerator: whole numbers, simple fractions,
# decimals, and minutes, hours and days in seconds.
DENOMINATORS = {1: 10**9, 2: 99, 3: 99, 4: 99, 6: 99, 8: 99, 12: 99, 10: 10**4, 100: 10**4, 1000: 10**4}
DENOMINATORS |= dict.fromkeys((60, 3600, 86_400), 10)


@dataclass(frozen=True)
class Sum(Equation):
    """The first column is a weighted sum of the others plus a constant; dates and durations are in seconds."""

    weights: tuple[Fraction, ...] = ()
    constant: Fraction = field(default=Fraction(0))
    kind: ClassVar[str] = "sum"
    keys: ClassVar[frozenset[str]] = frozenset({"weights", "constant"})
    takes: ClassVar[str] = "numbers, dates and durations"
    guide: ClassVar[str] = (
        "columns: [total, net, tax]: the first is the sum of the others; weights: [1, -1] and constant: 0 change that "
        "(dates and durations count in seconds)"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = tuple(self.weights) or (1,) * len(self.parents)
        object.__setattr__(self, "weights", tuple(Fraction(w) for w in weights))
        object.__setattr__(self, "constant", Fraction(self.constant))

    # ---------------------------------------------------------------- what a person writes and reads
    def describe(self) -> str:
        """The relation in words."""
        scale = lcm(*(w.denominator for w in (*self.weights, self.constant)))
        scale = 1 if 10**6 % scale == 0 else scale
        terms = [(w * scale, n) for w, n in zip(self.weights, self.parents, strict=True)]
        terms += [(self.constant * scale, "")] if self.constant else []
        said = "".join(_term(w, n) for w, n in sorted(terms, key=lambda t: t[0] < 0))
        said = said.removeprefix(" + ").replace(" - ", "-", 1) if said.startswith(" -") else said.removeprefix(" + ")
        return f"{self.target} = {said}" if scale == 1 else f"{self.target} = ({said}) / {scale}"

    def to_dict(self) -> dict[str, Any]:
        """The entry in a schema file."""
        plain = all(w == 1 for w in self.weights)
        weights = {} if plain else {"weights": [_written(w) for w in self.weights]}
        return {**super().to_dict(), **weights, **({"constant": _written(self.constant)} if self.constant else {})}

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Sum:
        """Parse an entry; weights are numbers or fractions such as 1/3600. Raises ValueError."""
        columns, weights = tuple(entry["columns"]), entry.get("weights")
        if len(columns) < 2:
            raise ValueError("a sum has two columns or more, the computed one first")
        if weights is None:
            weights = [1] * (len(columns) - 1)
        if not isinstance(weights, list | tuple) or len(weights) != len(columns) - 1:
            raise ValueError(f"weights must be a list of {len(columns) - 1} numbers, one for each column but the first")
        read = tuple(_fraction(w, "a weight") for w in weights)
        if not all(read):
            raise ValueError("a weight is 0: remove its column")
        return cls(columns, read, _fraction(entry.get("constant") or 0, "constant"))

    # ---------------------------------------------------------------- what data says
    @classmethod
    def find(cls, table: Table, known: Sequence[Relation]) -> list[Relation]:
        """Find sums of up to four columns, shortest first; each column is computed once."""
        names = numeric(table)
        found: list[Relation] = []
        if len(names) < 2:
            return found
        data = _Data(table, names)
        vectors, wanted = np.zeros((0, len(names))), data.involved()
        for size in range(2, MOST + 1 if len(wanted) <= MOST_INVOLVED else 3):
            for group in combinations(wanted, size):
                # Skip groups that contain a known sum.
                if any({*f.columns} <= {*group} for f in found):
                    continue
                if (one := _oriented(table, data, group, [*known, *found])) is None:
                    continue
                more = np.vstack([vectors, one._vector(names)])
                if np.linalg.matrix_rank(more) == len(more):
                    vectors, found = more, [*found, one]
        return found

    def _vector(self, names: Sequence[str]) -> np.ndarray:
        weights = {self.target: -1.0} | dict(zip(self.parents, map(float, self.weights), strict=True))
        return np.array([weights.get(n, 0.0) for n in names])

    def implies(self, fields: Fields) -> dict[tuple[str, str], bool]:
        """Orders of two columns whose difference is a sum that the bounds of the other columns keep at 0 or above."""
        parts = {self.target: Fraction(-1)} | dict(zip(self.parents, self.weights, strict=True))
        exact = all(w.denominator == 1 for w in (*self.weights, self.constant))
        out: dict[tuple[str, str], bool] = {}
        for high in self.columns if exact else (self.target,):
            weights = {n: float(-w / parts[high]) for n, w in parts.items() if n != high}
            for low in weights:
                # The smallest possible difference of the two columns.
                gap = {n: w - (n == low) for n, w in weights.items() if w != (n == low)}
                least = sum(min(w * b for b in fields[n].bounds) for n, w in gap.items())
                least += float(-self.constant / parts[high])
                others = [fields[n] for n in weights if n != low]
                if least >= 0 and alike(fields[low], fields[high], others):
                    out[(low, high)] = exact and least > 0
        return out

    # ---------------------------------------------------------------- arithmetic
    def expected(self, numbers: Numbers) -> np.ndarray:
        """The weighted sum."""
        terms = [float(w) * numbers[n] for n, w in zip(self.parents, self.weights, strict=True)]
        return np.sum(terms, axis=0) + float(self.constant)

    def solved(self, name: str, numbers: Numbers) -> np.ndarray:
        """Solve for one parent, given the target and the other parents."""
        weight = float(dict(zip(self.parents, self.weights, strict=True))[name])
        return (numbers[self.target] - self.expected(numbers)) / weight + numbers[name]

    def size(self, numbers: Numbers) -> np.ndarray:
        """The sum of the terms' absolute values."""
        terms = [abs(float(w)) * np.abs(numbers[n]) for n, w in zip(self.parents, self.weights, strict=True)]
        return np.sum([np.abs(numbers[self.target]), *terms], axis=0) + abs(float(self.constant))


class _Data:
    """The complete rows for fitting weights; columns with the most missing values are left out if rows are too few."""

    def __init__(self, table: Table, names: list[str]) -> None:
        values = np.stack([table.numbers(n) for n in names], axis=1)
        kept = list(range(len(names)))
        while len(kept) > 2 and _whole(values[:, kept]).sum() < max(FEWEST, 3 * len(kept)):
            kept.remove(max(kept, key=lambda i: int((~np.isfinite(values[:, i])).sum())))
        rows = np.flatnonzero(_whole(values[:, kept]))
        rows = rows[np.unique(np.linspace(0, max(0, len(rows) - 1), PROBE).astype(np.int64))] if len(rows) else rows
        self.names = [names[i] for i in kept]
        probe = values[rows][:, kept]
        self.means = dict(zip(self.names, probe.mean(0) if len(rows) else np.zeros(len(kept)), strict=True))
        self.columns = {n: probe[:, i] - self.means[n] for i, n in enumerate(self.names)}
        fields = [table.fields[n] for n in self.names]
        self.units = {f.name: f.unit / 1e6 if f.family == "date" else f.unit for f in fields}
        slack = {f.name: float(f.slack(np.abs(probe[:, i])).max(initial=0)) for i, f in enumerate(fields)}
        self.floats = {n: slack[n] - self.units[n] / 2 for n in self.names}
        self.rows = len(rows)

    def fit(self, target: str, others: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Least-squares weights of the others, and the residuals."""
        x, y = np.stack([self.columns[n] for n in others], axis=1), self.columns[target]
        scale = np.abs(x).max(0)
        scale[scale == 0] = 1.0
        weights = np.linalg.lstsq(x / scale, y, rcond=1e-12)[0] / scale
        return weights, y - x @ weights

    def follows(self, target: str, residual: np.ndarray) -> bool:
        """Whether a residual is zero or only rounding error."""
        unit, spread = self.units[target], float(self.columns[target].std())
        if np.abs(residual).max() <= max(EXACT * unit, self.floats[target]):
            return spread > 0
        size = float(np.sqrt(np.mean(residual**2)))
        return ROUNDED[0] * unit <= size <= min(ROUNDED[1] * unit, SMALL * spread)

    def involved(self) -> list[str]:
        """The columns that take part in any sum."""
        basis: list[str] = []
        involved: set[str] = set()
        if self.rows < max(FEWEST, 3 * len(self.names)):
            return []
        for name in self.names:
            weights, residual = self.fit(name, basis) if basis else (np.zeros(0), self.columns[name])
            if not basis or not self.follows(name, residual):
                basis.append(name)
                continue
            shares = {n: abs(w) * float(self.columns[n].std()) for w, n in zip(weights, basis, strict=True)}
            least = max(0.05 * self.units[name], 1e-6 * max(shares.values()))
            involved |= {name, *(n for n, share in shares.items() if share > least)}
        return [n for n in self.names if n in involved]

    def awkward(self, one: Sum) -> tuple[Any, ...]:
        """A sort key that penalises a choice of target: unrepresentable results, minus signs, a constant, fractions."""
        unit = self.units[one.target]
        parts = [abs(float(w)) * self.units[n] for n, w in zip(one.parents, one.weights, strict=True)]
        fits = not unit or all(p and abs(p / unit - round(p / unit)) < 1e-6 for p in parts)
        signs = sum(w < 0 for w in one.weights)
        return not fits, signs, bool(one.constant), any(w.denominator > 1 for w in one.weights)


def _whole(values: np.ndarray) -> np.ndarray:
    return np.isfinite(values).all(1)


def _oriented(table: Table, data: _Data, group: Sequence[str], known: Sequence[Relation]) -> Sum | None:
    """The sum of these columns, solved for the most readable target; None if there is none."""
    found: list[tuple[tuple[Any, ...], Sum]] = []
    for place, target in enumerate(group):
        others = [n for n in group if n != target]
        weights, residual = data.fit(target, others)
        if not data.follows(target, residual):
            continue
        level = data.means[target] - float(weights @ [data.means[n] for n in others])
        for one in _rounded(target, others, weights, level):
            if one.holds(table) and agrees(one, known):
                found.append(((*data.awkward(one), -float(data.columns[target].std()), -place), one))
                break
    return min(found, key=lambda f: f[0])[1] if found else None


def _rounded(target: str, others: Sequence[str], weights: np.ndarray, level: float) -> Iterator[Sum]:
    """Sums with simple weights near these, simplest first."""
    for denominator, most in DENOMINATORS.items():
        whole = np.round(weights * denominator)
        if not whole.all() or (np.abs(whole) > most).any() or (np.abs(whole / denominator / weights - 1) > 0.02).any():
            continue
        near = tuple(Fraction(int(w), denominator) for w in whole)
        constants = (Fraction(0), *(Fraction(round(level * d), d) for d in (1, 10, 100, 1000)))
        for constant in dict.fromkeys(constants):
            terms = sorted(zip(others, near, strict=True), key=lambda term: term[1] < 0)
            yield Sum((target, *(n for n, _ in terms)), tuple(w for _, w in terms), constant)


def _term(weight: Fraction, name: str) -> str:
    size = abs(weight)
    number = str(size) if size.denominator == 1 else f"{float(size):g}"
    shown = number if not name else (name if size == 1 else f"{number} {name}")
    return f" {'-' if weight < 0 else '+'} {shown}"


def _written(value: Fraction) -> int | float | str:
    """A number if that is exact, otherwise a fraction as a string."""
    if value.denominator == 1:
        return int(value)
    return float(value) if Fraction(repr(float(value))) == value else str(value)


def _fraction(value: Any, what: str) -> Fraction:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        return Fraction(repr(value) if isinstance(value, float) else value)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(f"{what} must be a number or a fraction such as 1/3600, not {value!r}") from None
