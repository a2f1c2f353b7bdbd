"""Converts requests for generated rows to exact counts by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ganlib.data.values import category_text
from ganlib.errors import ConfigError


def share_out(rows: int, weights: np.ndarray) -> np.ndarray:
    """Distribute exactly ``rows`` in proportion to the weights, by largest remainders."""
    shares = rows * np.asarray(weights, dtype=float) / max(1e-12, float(np.sum(weights)))
    counts = np.floor(shares).astype(np.int64)
    for index in np.argsort(counts - shares, kind="stable")[: rows - counts.sum()]:
        counts[index] += 1
    return counts


def to_balance(counts: np.ndarray) -> np.ndarray:
    """The rows that each class needs to match the largest one."""
    return (counts.max() - counts).astype(np.int64)


def index_of(value: Any, classes: np.ndarray, conditions: Sequence[str]) -> int:
    """The index of a class given by value or text; raises ConfigError, listing the classes."""
    for index, (own, text) in enumerate(zip(classes, conditions, strict=True)):
        if value is own or text == category_text(value):
            return index
    known = ", ".join(conditions) or "none, since it was fitted without y"
    raise ConfigError(f"there is no class {value!r}; the classes are {known}")


def check_rows(n: Any, name: str = "n") -> None:
    """Raise ConfigError if ``n`` is not a number of rows."""
    if n is not None and (isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0):
        raise ConfigError(f"{name} must be a whole number of rows, 0 or more, not {n!r}")


def counts_for(
    n: int | None, conditions: Any, classes: np.ndarray, texts: Sequence[str], seen: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray]:
    """``(class index per row or None, counts by class)`` for ``BaseAugmenter.sample``'s arguments."""
    check_rows(n)
    if isinstance(conditions, Mapping):
        counts = np.zeros(len(seen), dtype=np.int64)
        for value, count in conditions.items():
            if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 0:
                raise ConfigError(f"the count of class {value!r} must be a whole number, 0 or more, not {count!r}")
            counts[index_of(value, classes, texts)] += count
        if n is not None and counts.sum() != n:
            raise ConfigError(f"the counts add up to {counts.sum()}, not to n={n}; leave n out")
        return None, counts
    if hasattr(conditions, "tolist"):  # convert scalars of tensors and arrays to Python values
        conditions = conditions.tolist()
    if conditions is not None and not isinstance(conditions, str) and np.ndim(conditions) == 1:
        per_row = np.array([index_of(v, classes, texts) for v in conditions], dtype=np.int64)
        if n is not None and len(per_row) != n:
            raise ConfigError(f"{len(per_row)} conditions were given for n={n} rows")
        return per_row, np.bincount(per_row, minlength=len(seen))
    if n is None:
        raise ConfigError("give the number of rows n, or a mapping from class to count")
    if conditions is None:
        return None, share_out(int(n), seen)
    counts = np.zeros(len(seen), dtype=np.int64)
    counts[index_of(conditions, classes, texts)] = n
    return None, counts
