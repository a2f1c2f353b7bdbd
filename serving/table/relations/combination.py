"""Combinations of categories, codes and booleans, restricted to those in the training rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import permutations
from typing import Any, ClassVar

import numpy as np

from serving.table.relations.base import CHANCE, COMMON, FEWEST, Fields, Relation, Repair, reduced
from serving.table.relations.fields import Field, Table

KINDS = ("category", "integer", "boolean")
SUPPORT = 5  # rows needed per level of the determining column, on average
PROBE = 500  # rows of the first, quick check
LEVELS = 50  # most distinct values of whole numbers that count as codes
MOST_LISTED = 1000  # most combinations in a sealed file
CANDIDATES = 2000  # most combinations to compare a row with


@dataclass(frozen=True)
class Allowed:
    """Combinations as texts ``(k, columns)``, and their number of rows by class ``(k, classes)``."""

    texts: np.ndarray
    counts: np.ndarray

    @cached_property
    def known(self) -> set[tuple[str, ...]]:
        """The combinations as tuples."""
        return set(map(tuple, self.texts.tolist()))


@dataclass(frozen=True)
class Combination(Relation):
    """Allows only the combinations of values in the training rows."""

    allowed: Allowed | None = field(default=None, compare=False, repr=False)
    kind: ClassVar[str] = "combination"
    takes: ClassVar[str] = "categories, whole numbers and booleans"
    guide: ClassVar[str] = (
        "columns: two or more categories, codes (whole numbers) or booleans: only combinations of their values that "
        "training rows hold"
    )
    settles: ClassVar[bool] = True

    def describe(self) -> str:
        """The relation in words."""
        return f"combinations of {', '.join(self.columns)}"

    def fits(self, fields: Sequence[Field]) -> bool:
        """Whether all columns hold levels."""
        return all(f.kind in KINDS for f in fields)

    @classmethod
    def find(cls, table: Table, known: Sequence[Relation]) -> list[Relation]:
        """Pairs in which the first column determines the second; mutually determining pairs appear once."""
        computed = {r.target for r in known}
        names = [n for n, f in table.fields.items() if n not in computed and _has_levels(f, table.columns[n])]
        if len(names) < 2:
            return []
        levels = {n: _levels(_texts(table.fields[n], table.columns[n])) for n in names}
        edges = {(a, b): False for a, b in permutations(names, 2) if _determines(levels[a], levels[b])}
        kept = reduced(edges, {}, table.fields)
        return [cls(pair) for pair in kept if (pair[1], pair[0]) not in kept or _first(pair, names)]

    # ---------------------------------------------------------------- rows
    def learn(self, table: Table, classes: int) -> Combination:
        """The relation with the combinations of these rows."""
        full = table.present(self.columns)
        pairs = Counter(zip(*(t.tolist() for t in self._read(table, full)), table.codes[full].tolist(), strict=True))
        place = {key: i for i, key in enumerate(dict.fromkeys(sorted(k[:-1] for k in pairs)))}
        counts = np.zeros((len(place), classes))
        for key, count in pairs.items():
            counts[place[key[:-1]], key[-1]] = count
        texts = np.array(list(place), dtype=str).reshape(len(place), len(self.columns))
        return replace(self, allowed=Allowed(texts, counts))

    def broken(self, table: Table) -> np.ndarray:
        """Rows whose combination is not allowed."""
        out, full = np.zeros(len(table), dtype=bool), table.present(self.columns)
        keys = zip(*(t.tolist() for t in self._read(table, full)), strict=True)
        out[full] = [key not in self._allowed.known for key in keys]
        return out

    @property
    def repairs(self) -> tuple[Repair, ...]:
        """Replace the combination by one of the row's class that shares as many values as possible."""
        return (self._recombine,)

    def _recombine(self, table: Table, rows: np.ndarray, held: set[str], rng: np.random.Generator) -> None:
        if not len(self._allowed.texts):
            return
        texts = np.stack([_texts(table.fields[n], table.columns[n][rows]) for n in self.columns], axis=1)
        # Held columns weigh more than all others together.
        weights = np.array([len(self.columns) + 1 if n in held else 1 for n in self.columns])
        for label in np.unique(table.codes[rows]):
            own = self._candidates(int(label), rng)
            chosen = self._allowed.texts[own]
            share = self._share(own, int(label))
            for row in np.flatnonzero(table.codes[rows] == label):
                score = (chosen == texts[row]) @ weights
                odds = share * (score == score.max())
                texts[row] = chosen[rng.choice(len(own), p=odds / odds.sum())]
        for i, name in enumerate(self.columns):
            table.put(name, rows, _values(table.fields[name], texts[:, i]))

    def _candidates(self, label: int, rng: np.random.Generator) -> np.ndarray:
        own = np.flatnonzero(self._share(np.arange(len(self._allowed.texts)), label))
        return own if len(own) <= CANDIDATES else rng.choice(own, CANDIDATES, replace=False)

    def _share(self, places: np.ndarray, label: int) -> np.ndarray:
        """The number of rows of a class with these combinations; of all classes if the class has none."""
        counts = self._allowed.counts
        return (counts[:, label] if counts[:, label].any() else counts.sum(1))[places]

    @property
    def _allowed(self) -> Allowed:
        if self.allowed is None:
            raise ValueError(f"{self.describe()!r} has not learned from any rows")
        return self.allowed

    def _read(self, table: Table, rows: np.ndarray) -> list[np.ndarray]:
        return [_texts(table.fields[n], table.columns[n][rows]) for n in self.columns]

    # ---------------------------------------------------------------- sealed
    def sealed(self, fields: Fields) -> dict[str, Any]:
        """The entry with the combinations that five rows share, or with all of them if every column is public.

        Counts of a class below five are left out; others are rounded to three significant digits.
        """
        allowed, public = self._allowed, all(fields[n].public for n in self.columns)
        listed = np.flatnonzero((allowed.counts.sum(1) >= COMMON) | public)
        if not len(listed):
            raise ValueError(f"no combination is shared by {COMMON} rows or more")
        if len(listed) > MOST_LISTED:
            raise ValueError(f"it has {len(listed):,} combinations, and a sealed file lists {MOST_LISTED:,} at most")
        counts = allowed.counts[listed]
        counts = np.where(counts >= COMMON, [[float(f"{c:.3g}") for c in row] for row in counts], 0.0)
        counts[~counts.any(1), :] = 1.0  # every class has too few rows to publish its count
        return {**self.to_dict(), "allowed": allowed.texts[listed].tolist(), "counts": counts.astype(int).tolist()}

    @classmethod
    def unsealed(cls, entry: Mapping[str, Any], classes: int) -> Combination:
        """Parse an entry of a sealed file."""
        texts, counts = np.array(entry["allowed"], dtype=str), np.array(entry["counts"], dtype=np.float64)
        if texts.shape != (len(counts), len(entry["columns"])) or counts.shape != (len(texts), classes):
            raise ValueError("allowed and counts do not fit the columns")
        return cls(tuple(entry["columns"]), Allowed(texts, counts))


def _has_levels(column: Field, values: np.ndarray) -> bool:
    if column.kind != "integer":
        return column.kind in KINDS
    return len(np.unique(values[np.isfinite(values)][:PROBE])) <= LEVELS and len(np.unique(values)) <= LEVELS + 1


def _texts(column: Field, values: np.ndarray) -> np.ndarray:
    """Levels as strings, ``""`` if missing."""
    if column.kind == "category":
        return values.astype(str)
    levels, place = np.unique(values, return_inverse=True)
    return np.array([str(int(v)) if np.isfinite(v) else "" for v in levels], dtype=str)[place]


def _values(column: Field, texts: np.ndarray) -> np.ndarray:
    return texts.astype(object) if column.kind == "category" else texts.astype(np.float64)


def _levels(texts: np.ndarray) -> np.ndarray:
    """An integer code for each text, -1 for missing."""
    known, numbers = np.unique(texts, return_inverse=True)
    return numbers - 1 if len(known) and known[0] == "" else numbers


def _first(pair: tuple[str, str], names: list[str]) -> bool:
    return names.index(pair[0]) < names.index(pair[1])


def _determines(a: np.ndarray, b: np.ndarray) -> bool:
    # Check the first rows first: nearly all of the thousands of pairs in a wide table fail there.
    some = (a[:PROBE] >= 0) & (b[:PROBE] >= 0)
    both = (a >= 0) & (b >= 0)
    if not _is_function(a[:PROBE][some], b[:PROBE][some]) or both.sum() < FEWEST:
        return False
    first, second = a[both], b[both]
    shares, sizes = (c[c > 0] for c in map(np.bincount, (second, first)))
    if len(shares) < 2 or len(sizes) < 2 or len(first) < SUPPORT * len(sizes) or not _is_function(first, second):
        return False
    # By chance, each group of n equal values would have to meet the same value of the other column n times.
    alike = np.log(((shares / len(second))[None, :] ** sizes[:, None]).sum(1).clip(min=1e-300))
    return bool(-alike.sum() > CHANCE)


def _is_function(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether equal numbers in the first array always have equal numbers in the second."""
    if not len(first):
        return True
    return len(np.unique(first * (second.max() + 1) + second)) == len(np.unique(first))
