"""The classes of the training data, and how many examples of each a caller requests."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ganlib.augment.counts import counts_for
from ganlib.data.values import category_text
from ganlib.errors import DataError


@dataclass(frozen=True)
class Classes:
    """``values`` and their ``texts`` (both empty without labels), ``counts`` in training, each example's ``codes``."""

    values: np.ndarray
    texts: Sequence[str]
    counts: np.ndarray
    codes: np.ndarray | None

    @classmethod
    def none(cls, rows: int) -> Classes:
        """Of examples without labels."""
        return cls(np.array([]), [], np.array([rows]), None)

    @classmethod
    def read(cls, labels: np.ndarray | None, rows: int, spread: bool) -> Classes:
        """Of ``labels (n,)``, or None; ``spread`` is whether a class of one example borrows the others' covariance.

        Raises DataError for a wrong length, missing labels, or a single class; warns of classes of one example.
        """
        if labels is None:
            return cls.none(rows)
        if len(labels) != rows:
            raise DataError(f"X has {rows} rows and y {len(labels)}")
        if pd.isna(labels).any():
            raise DataError(f"y lacks {int(pd.isna(labels).sum())} labels; leave these rows out or use augment()")
        values, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
        texts = [category_text(value) for value in values]
        if len(values) < 2:
            raise DataError(
                f"y holds one class, {texts[0]!r}; an augmenter needs two or more, "
                "or no y at all to learn the whole table"
            )
        if single := [text for text, n in zip(texts, counts, strict=True) if n == 1]:
            how = "spread around it with the covariance of the other classes" if spread else "close copies of it"
            warnings.warn(f"one row only in class {', '.join(single)}: its generated rows are {how}", stacklevel=6)
        return cls(values, texts, counts, codes.astype(np.int64))

    @property
    def largest(self) -> int:
        """Index of the class with the most examples."""
        return int(np.argmax(self.counts))

    def requested(self, n: int | None, conditions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """``(counts, order, labels)`` of a request for samples (``BaseAugmenter.sample``).

        Examples are generated in the order of the classes; the requested ones are ``order`` of them, and their
        ``labels`` are None without classes. Raises ConfigError for an unknown class or counts that do not add up.
        """
        per_row, counts = counts_for(n, conditions, self.values, self.texts, self.counts)
        codes = np.repeat(np.arange(len(counts)), counts)
        order = np.arange(len(codes))
        if per_row is not None:
            # The k-th requested row of a class is the k-th generated one.
            order[np.argsort(per_row, kind="stable")] = np.arange(len(per_row))
        return counts, order, self.values[codes[order]] if len(self.values) else None
