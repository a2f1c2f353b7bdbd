"""Relations between columns that generated rows keep: an order of two columns, combinations of category values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from ganlib.errors import ConfigError
from serving.table.layouts import is_clock, number_layout
from serving.table.spans import SpanLayout

if TYPE_CHECKING:
    from ganlib.data.schema import Column, Schema

Feeds = Mapping[str, np.ndarray]
FEWEST = 50  # rows with every value present that a relation is sought in
BREAKABLE = 0.05  # share of pairs of unrelated rows that must break an order, or it says nothing
CHANCE = 20.0  # a relation is proposed if unrelated columns would keep it with a probability below exp(-CHANCE)
SUPPORT = 5  # rows for each level of the determining category, on average
PROBE = 500  # rows that a combination is first sought in
FAMILIES = ("date", "time of day", "duration", "number")  # an order compares columns of one of these
MOST_COLUMNS = 60  # orders are not sought among more number columns than this: pixels and sensors keep many


@dataclass(frozen=True)
class Order:
    """``low <= high`` in every row that has both: two dates, two numbers or two durations."""

    low: str
    high: str
    kind: ClassVar[str] = "order"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it names: low, high."""
        return (self.low, self.high)

    def describe(self) -> str:
        """The relation in words."""
        return f"{self.low} <= {self.high}"

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"kind": self.kind, "columns": list(self.columns)}


@dataclass(frozen=True)
class Combination:
    """Only combinations of these categories that real rows hold; rows that lack one of them are not restricted."""

    columns: tuple[str, ...]
    kind: ClassVar[str] = "combination"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))

    def describe(self) -> str:
        """The relation in words."""
        return f"combinations of {', '.join(self.columns)}"

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"kind": self.kind, "columns": list(self.columns)}


Constraint = Order | Combination
_KINDS = (Order.kind, Combination.kind)


def read_constraints(entries: Any) -> tuple[Constraint, ...]:
    """Constraints from the values of a schema file; raises ConfigError naming the entry and what is wrong with it."""
    if entries is None:
        return ()
    if not isinstance(entries, list | tuple):
        raise ConfigError(f"constraints must be a list of entries with kind and columns, not {entries!r}")
    return tuple(_read(entry, position) for position, entry in enumerate(entries))


def _read(entry: Any, position: int) -> Constraint:
    where = f"constraint {position}"
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where} of the schema is {entry!r}, not a mapping with kind and columns")
    if unknown := set(entry) - {"kind", "columns"}:
        raise ConfigError(f"{where}: unknown keys {', '.join(sorted(map(str, unknown)))}; write kind and columns")
    kind, names = entry.get("kind"), entry.get("columns")
    if kind not in _KINDS:
        raise ConfigError(f"{where}: kind {kind!r} is none of {', '.join(_KINDS)}")
    if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
        raise ConfigError(f"{where}: columns must be a list of column names, not {names!r}")
    if kind == Order.kind and len(names) != 2:
        raise ConfigError(f"{where}: an order has two columns, the lower one first; got {len(names)}")
    return Order(*names) if kind == Order.kind else Combination(tuple(names))


def check_constraints(constraints: Sequence[Constraint], columns: Sequence[Column]) -> None:
    """Raise ConfigError on a constraint with unknown, repeated or too few columns, or features of the wrong kind."""
    known = {c.name: c for c in columns}
    for constraint in constraints:
        said, names = f"constraint {constraint.describe()!r}", constraint.columns
        if lacking := [n for n in names if n not in known]:
            raise ConfigError(
                f"{said} names {', '.join(map(repr, lacking))}, which the schema does not have; "
                f"columns: {', '.join(known)}"
            )
        if len(names) < 2 or len(set(names)) < len(names):
            raise ConfigError(f"{said} needs two different columns or more")
        used = [known[n] for n in names]
        if all(c.role == "feature" for c in used):
            _check_kinds(constraint, used, said)


def _check_kinds(constraint: Constraint, used: Sequence[Column], said: str) -> None:
    if isinstance(constraint, Combination):
        if wrong := [c for c in used if c.kind != "category"]:
            raise ConfigError(f"{said} is for categories; column {wrong[0].name!r} is of kind {wrong[0].kind}")
    elif family(used[0]) is None or family(used[0]) != family(used[1]):
        what = " and ".join(f"{c.name!r} ({family(c) or c.kind})" for c in used)
        raise ConfigError(f"{said} is for two dates, two numbers or two durations, not for {what}")


def family(column: Column) -> str | None:
    """Which columns an order may compare: dates, times of day, durations or numbers; None for the others."""
    if column.kind == "date":
        return "time of day" if is_clock(column.layout) else "date"
    if column.kind not in ("number", "integer"):
        return None
    spans = "timedelta" in column.dtype or column.dtype.startswith("duration")
    return "duration" if spans or isinstance(number_layout(column.layout), SpanLayout) else "number"


# ---------------------------------------------------------------- what holds
def present(column: Column, feed: np.ndarray) -> np.ndarray:
    """Rows of a feed that hold a value: bool ``(n,)``."""
    from ganlib.data.values import NO_DATE

    if column.kind == "category":
        return np.asarray(feed != "", dtype=bool)
    return feed != NO_DATE if column.kind == "date" else ~np.isnan(feed)


def broken_orders(schema: Schema, order: Order, feeds: Feeds) -> np.ndarray:
    """Rows that hold both values, the lower above the higher one: bool ``(n,)``."""
    low, high = schema.column(order.low), schema.column(order.high)
    both = present(low, feeds[low.input]) & present(high, feeds[high.input])
    return both & (feeds[low.input] > feeds[high.input])


# ---------------------------------------------------------------- what is found
def find_constraints(frame: pd.DataFrame, schema: Schema) -> tuple[Constraint, ...]:
    """Relations between features that hold in every row of ``frame`` and that chance does not explain.

    An order needs ``FEWEST`` rows with both values, and ranges that overlap. A combination is proposed if one category
    determines another. Both are proposed only if unrelated columns with the same values would break them, with a
    probability of more than 1 - exp(-CHANCE).
    """
    from ganlib.data.feeds import make_feeds

    features = schema.features
    groups = [[c for c in features if family(c) == name] for name in FAMILIES]
    groups = [g for g in groups if 2 <= len(g) <= MOST_COLUMNS]
    words = [c for c in features if c.kind == "category"]
    words = words if len(words) > 1 else []
    used = tuple(c for c in features if c in words or any(c in g for g in groups))
    if not used or len(frame) < FEWEST:
        return ()
    feeds = make_feeds(replace(schema, columns=used, constraints=()), frame)
    orders = [Order(a.name, b.name) for g in groups for a, b in permutations(g, 2) if _is_ordered(a, b, feeds)]
    return (*orders, *_determined(words, feeds))


def _is_ordered(low: Column, high: Column, feeds: Feeds) -> bool:
    a, b = feeds[low.input], feeds[high.input]
    both = present(low, a) & present(high, b)
    rows = int(both.sum())
    if rows < FEWEST or (both & (a > b)).any():
        return False
    below = np.searchsorted(np.sort(b[both]), a[both], side="left")
    broken = float(below.mean()) / rows  # the share of pairs of rows, one's low and another's high, that break it
    return broken > BREAKABLE and -rows * np.log1p(-min(broken, 1 - 1e-9)) > CHANCE


def _determined(words: Iterable[Column], feeds: Feeds) -> list[Combination]:
    """Pairs in which the first category determines the second; where each determines the other, once."""
    found: list[Combination] = []
    for a, b in permutations(words, 2):
        if Combination((b.name, a.name)) not in found and _determines(a, b, feeds):
            found.append(Combination((a.name, b.name)))
    return found


def _determines(a: Column, b: Column, feeds: Feeds) -> bool:
    # Nearly all pairs fail on the first rows; wide tables have thousands of pairs.
    some_a, some_b = feeds[a.input][:PROBE], feeds[b.input][:PROBE]
    some = present(a, some_a) & present(b, some_b)
    if not _is_function(some_a[some], some_b[some]):
        return False
    both = present(a, feeds[a.input]) & present(b, feeds[b.input])
    if both.sum() < FEWEST:
        return False
    first, second = feeds[a.input][both].astype(str), feeds[b.input][both].astype(str)
    _, shares = np.unique(second, return_counts=True)
    levels, sizes = np.unique(first, return_counts=True)
    if len(shares) < 2 or len(levels) < 2 or len(first) < SUPPORT * len(levels):
        return False
    if not _is_function(first, second):
        return False
    # Unrelated: every group of n equal values would have to meet one value of the other column n times.
    alike = np.log(((shares / len(second))[None, :] ** sizes[:, None]).sum(1).clip(min=1e-300))
    return bool(-alike.sum() > CHANCE)


def _is_function(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether equal values of the first array always come with equal values of the second."""
    if not len(first):
        return True
    a, b = pd.factorize(first)[0], pd.factorize(second)[0]
    return len(np.unique(a * (b.max() + 1) + b)) == a.max() + 1
