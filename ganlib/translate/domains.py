"""Two domains as a person gives them, and as they are trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ganlib.data.readers import Reader
from ganlib.errors import ConfigError, DataError

LEAST = 10
_BOTH = frozenset({"x", "x_b"})


def domains_of(X: Any, X_b: Any) -> tuple[Any, Any]:
    """Examples of both domains, from two arguments, a tuple of two, a list of pairs, or a mapping with x and x_b.

    Raises DataError for anything else.
    """
    if X_b is not None:
        return X, X_b
    if isinstance(X, Mapping) and set(X) == _BOTH:
        return X["x"], X["x_b"]
    if isinstance(X, tuple) and len(X) == 2:
        return X
    if isinstance(X, list) and X and all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in X):
        first, second = zip(*X, strict=True)
        return list(first), list(second)
    raise DataError(
        "a translator learns from two domains: fit(X_a, X_b), one array, frame or list of each, or fit(pairs) with a "
        "list of pairs (a, b)"
    )


def check_kinds(model: str, a: Reader, b: Reader, rows: tuple[int, int], paired: bool) -> None:
    """Raise ConfigError for domains of different kinds, DataError for too few examples and for unequal pairs."""
    if a.modality != b.modality:
        raise ConfigError(
            f"domain a holds {a.plural} and domain b {b.plural}: give both in one kind, or say modality= where arrays "
            "of three axes were read as the wrong one"
        )
    if paired and rows[0] != rows[1]:
        raise DataError(
            f"model {model!r} learns from pairs, and there are {rows[0]} examples of domain a and {rows[1]} of domain "
            "b: give each its counterpart, in the same order, or choose a model that needs no pairs (cyclegan, "
            "discogan)"
        )
    if min(rows) < LEAST:
        raise DataError(f"a translator needs at least {LEAST} examples of each domain; got {rows[0]} and {rows[1]}")


def split(rows: tuple[int, int], paired: bool, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions to train on in domain a and in domain b, equally many, and those of held-out pairs.

    Without pairs, both domains are in random order, the smaller one is repeated, and nothing is held out: no loss of
    such a model says how good a translation is.
    """
    rng = np.random.default_rng(seed)
    if not paired:
        most = max(rows)
        return np.resize(rng.permutation(rows[0]), most), np.resize(rng.permutation(rows[1]), most), np.arange(0)
    order = rng.permutation(rows[0])
    held = round(fraction * rows[0])
    return order[held:], order[held:], order[:held]
