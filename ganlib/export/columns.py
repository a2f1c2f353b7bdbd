"""Comparing a graph that gives raw columns with its torch reference: augmenters and translators of tables."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ganlib.data.encoder import TableEncoder
from ganlib.errors import ParityError
from ganlib.export.golden import ROWS
from ganlib.export.parity import TOLERANCE, Parity, batches

Feeds = dict[str, np.ndarray]
_CHECKED = 2056
_COLUMN_TOLERANCE = 1e-4
_LEAST_FIRM = 0.1


class ColumnReference(ABC):
    """The torch implementation, which the graph must reproduce.

    ``encoder`` is that of the columns that are made. ``made`` ("generated") and ``moved`` ("the noise changes") are
    words for messages; ``prefix`` stands before the names of the graph's outputs.
    """

    made: ClassVar[str]
    moved: ClassVar[str]
    prefix: ClassVar[str] = ""
    encoder: TableEncoder

    @abstractmethod
    def draw(self, rows: int, seed: int) -> Feeds:
        """Inputs of the graph."""

    @abstractmethod
    def columns(self, feeds: Mapping[str, np.ndarray], stretch: float = 1.0) -> Feeds:
        """Raw columns; ``stretch`` scales the network's input, to test the sensitivity to rounding."""

    def run(self, session: Any, feeds: Mapping[str, np.ndarray]) -> Feeds:
        """The graph's raw columns."""
        names = [output.name for output in session.get_outputs()]
        made = session.run(names, dict(feeds))
        return {name.removeprefix(self.prefix): value for name, value in zip(names, made, strict=True)}

    def errors(self, got: Feeds, expected: Feeds, scaled: bool) -> np.ndarray:
        """Each row's largest difference relative to its tolerance (inf if a discrete value differs), ``(n,)``.

        The tolerance of numbers is 1e-4 · max(1, |value|). With ``scaled`` it is at least 1e-4 of the column's scale,
        because values near 0 in a column of large numbers carry the rounding of the large ones.
        """
        worst = np.zeros(len(next(iter(expected.values()))))
        for code in self.encoder.codes:
            a, b = got[code.input], expected[code.input]
            if code.kind in ("category", "boolean"):
                same = (a == b) | ((a != a) & (b != b))
                share = np.where(same, 0.0, np.inf)
            else:
                unit = np.maximum(1.0, np.abs(b.astype(np.float64)))
                if scaled:
                    unit = np.maximum(unit, float(code.scale))  # type: ignore[arg-type]
                with np.errstate(invalid="ignore"):
                    share = np.abs(a.astype(np.float64) - b.astype(np.float64)) / (_COLUMN_TOLERANCE * unit)
                share = np.where((a != a) & (b != b), 0.0, np.nan_to_num(share, nan=np.inf))
            worst = np.maximum(worst, share)
        return worst

    def firm(self, feeds: Feeds, expected: Feeds, nudge: float, scaled: bool) -> np.ndarray:
        """Rows that stay within half the tolerance when the network's input changes by the relative ``nudge``."""
        moved = [self.errors(self.columns(feeds, 1 + sign * nudge), expected, scaled) for sign in (-1, 1)]
        return np.maximum(*moved) <= 0.5


def check_columns(session: Any, reference: ColumnReference) -> Parity:
    """Check that all rows agree, except those where rounding decides between two values in torch as well."""
    feeds = reference.draw(_CHECKED, seed=1)
    expected = reference.columns(feeds)
    firm = reference.firm(feeds, expected, 1e-5, scaled=True)
    if firm.mean() < _LEAST_FIRM:
        raise ParityError(
            f"only {firm.mean():.0%} of {reference.made} rows keep their values when {reference.moved} by 1e-5, too "
            "few to compare the ONNX graph with torch; nothing was written"
        )
    worst = 0.0
    for rows in batches(_CHECKED):
        got = reference.run(session, {name: value[rows] for name, value in feeds.items()})
        errors = reference.errors(got, {n: v[rows] for n, v in expected.items()}, scaled=True)
        wrong = (errors > 1) & firm[rows]
        if wrong.any():
            raise ParityError(
                f"{int(wrong.sum())} of {len(errors)} {reference.made} rows differ between the ONNX graph and torch "
                f"(batch of {len(errors)}); nothing was written"
            )
        worst = max(worst, float(errors[firm[rows]].max(initial=0.0)))
    return Parity(worst * _COLUMN_TOLERANCE, _COLUMN_TOLERANCE, int(firm.sum()))


def golden_columns(session: Any, reference: ColumnReference) -> tuple[Feeds, Feeds]:
    """Inputs and raw columns by torch of golden rows, which other machines compute alike; raises ParityError."""
    feeds = reference.draw(_CHECKED, seed=2)
    expected = reference.columns(feeds)
    firm = reference.firm(feeds, expected, TOLERANCE / 10, scaled=False)
    firm &= reference.errors(reference.run(session, feeds), expected, scaled=False) <= 0.5
    if not firm.any():
        raise ParityError(f"no {reference.made} row is the same in the ONNX graph and in torch; nothing was written")
    rows = np.resize(np.flatnonzero(firm), ROWS)
    return {name: value[rows] for name, value in feeds.items()}, {name: v[rows] for name, v in expected.items()}


def warn_of_rare(encoder: TableEncoder, what: str, stacklevel: int) -> None:
    """Warn about levels that the file may not list."""
    if rare := [code.column for code in encoder.codes if code.kind == "category" and code.has_rare]:
        warnings.warn(
            f"levels that fewer than five rows share are left missing by the sealed {what}, in {', '.join(rare)}; "
            "mark such a column `public: true` in the schema to list them in the file",
            stacklevel=stacklevel + 1,
        )
