"""Normal scores by class, which keep generated rows of a scarce class in the range of its real rows.

The encoder maps every number to a normal score by the quantiles of the whole column. A class in a small part of the
column is then a narrow peak, which a generator with the same noise for all classes blurs. Such a class gets separate
scores: standard normal within the class, mapped to the column's scores by the quantiles of the class.

- A class within a tenth of the column, or with 100 rows, has separate quantiles.
- A class of fewer than five rows is spread around its mean, about symmetrically, by at most its own deviation and that
  of the other classes.
- All other classes use the column's scores.

Privacy: quantiles of a class are knots as in ``ganlib.data.normal_scores``. The mean of fewer than five rows is rounded
to three significant digits; for a single row this is its rounded value (docs/data.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ganlib.data.codes import ColumnCode
from ganlib.data.normal_scores import FAR, LEAST, fit_knots, from_scores, nearest, rounded, to_scores
from ganlib.data.spec import DataSpec

ENOUGH = 100  # rows for a class to get separate quantiles in any case
CLASS_GROUPS = 16
_BINS, _FULL, _COVERED = 20, 2, 0.9
_LEAST_SPREAD = 0.15  # deviations
_Line = tuple[np.ndarray, np.ndarray]  # class scores, ascending, and the column's scores there
_Scores = Callable[[np.ndarray, np.ndarray], np.ndarray]  # class scores from values and uniform numbers


class Marginals(nn.Module):
    """Monotone maps from scores within a class to scores of the column; the identity for classes without one.

    ``forward`` maps scores ``(n, d)`` and class indices int64 ``(n,)`` (None: class 0) to encoded rows ``(n, d)``. It
    is exportable, and the identity before ``fit_transform``.
    """

    table: Tensor
    start: Tensor
    value: Tensor
    slope: Tensor

    def __init__(self, spec: DataSpec, classes: int = 1) -> None:
        super().__init__()
        self.spec = spec
        # Line 0 is the identity.
        self.register_buffer("table", torch.zeros(classes, spec.dim, dtype=torch.int64))
        for name in ("start", "value", "slope"):
            self.register_buffer(name, torch.zeros(1, 1))

    def fit_transform(
        self, x: np.ndarray, y: np.ndarray, codes: Sequence[ColumnCode], draws: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Fit on encoded rows ``x (n, d)`` of classes ``y (n,)``; scores of the rows ``draws`` (indices, ``(m,)``).

        A row that occurs twice in ``draws`` gets two different scores within an atom. Missing numbers get random
        scores. Returns float32 ``(m, d)``.
        """
        scores = x[draws].astype(np.float32).copy()
        lines: dict[tuple[int, int], _Line] = {}
        for code in codes:
            if not code.knots:
                continue
            present = np.ones(len(x), dtype=bool)
            if code.missing_position is not None:
                present = x[:, code.missing_position] < 0.5
            raw = from_scores(x[:, code.start].astype(np.float64), code.knots, code.scores)
            column = to_scores(raw[draws], code.knots, code.scores, rng.random(len(draws)))
            whole = to_scores(raw, code.knots, code.scores, rng.random(len(x)))
            for label in np.unique(y) if y.max() > 0 else []:
                mine = y == label
                own = _own_line(raw, whole, mine & present, ~mine & present, code)
                if own is not None:
                    line, score = own
                    lines[int(label), code.start] = line
                    chosen = mine[draws]
                    column[chosen] = score(raw[draws][chosen], rng.random(int(chosen.sum())))
            absent = ~present[draws]
            column[absent] = rng.standard_normal(int(absent.sum()))
            scores[:, code.start] = column
        self._store(lines)
        return scores

    def _store(self, lines: Mapping[tuple[int, int], _Line]) -> None:
        if not lines:
            return
        room = max(len(x) for x, _ in lines.values())
        start = np.full((len(lines) + 1, room), np.inf)
        value, slope = np.zeros_like(start), np.zeros_like(start)
        start[0, 0], slope[0, 0] = 0.0, 1.0
        for index, ((label, position), (x, y)) in enumerate(lines.items(), start=1):
            width = np.diff(x)
            pieces = np.flatnonzero(width > 0)
            start[index, : len(pieces)] = x[pieces]
            value[index, : len(pieces)] = y[pieces]
            slope[index, : len(pieces)] = np.diff(y)[pieces] / width[pieces]
            self.table[label, position] = index
        for name, array in (("start", start), ("value", value), ("slope", slope)):
            setattr(self, name, torch.from_numpy(np.where(np.isfinite(array), array, 1e30)).float())

    def forward(self, scores: Tensor, condition: Tensor | None = None) -> Tensor:
        """Encoded rows from scores within each row's class."""
        if len(self.start) == 1:
            return scores
        line = self.table[torch.zeros_like(scores[:, 0], dtype=torch.int64) if condition is None else condition]
        passed = (scores.unsqueeze(2) >= self.start[line]).sum(2) - 1
        flat = passed.clamp(min=0) + line * self.start.shape[1]
        start, value, slope = (part.flatten()[flat] for part in (self.start, self.value, self.slope))
        return torch.where(line == 0, scores, value + slope * (scores - start))


def _own_line(
    raw: np.ndarray, column: np.ndarray, mine: np.ndarray, others: np.ndarray, code: ColumnCode
) -> tuple[_Line, _Scores] | None:
    """The map of a class for one column, and its function from values to scores; None to use the column's scores."""
    rows = int(mine.sum())
    if rows == 0 or not others.any():
        return None
    if rows < LEAST:
        return _around(raw[mine], _deviation(raw[others]), code)
    if rows < ENOUGH and not _concentrated(column[mine], column[others]):
        return None
    knots, scores = fit_knots(raw[mine], code.knots[0], code.knots[-1], CLASS_GROUPS)
    if not knots:
        return None
    line = np.array(scores), to_scores(np.array(knots), code.knots, code.scores)
    return line, lambda values, draw: to_scores(values, knots, scores, draw)


def _concentrated(mine: np.ndarray, others: np.ndarray) -> bool:
    """Whether 90% of a class lie in two of twenty bins with equal numbers of other rows."""
    share = np.searchsorted(np.sort(others), mine) / len(others)
    counts = np.bincount(np.minimum((share * _BINS).astype(int), _BINS - 1), minlength=_BINS)
    return bool(np.sort(counts)[-_FULL:].sum() >= _COVERED * len(mine))


def _deviation(values: np.ndarray) -> float:
    """Standard deviation, estimated from the quartiles if these differ, so that sentinels do not affect it."""
    usual = float(np.subtract(*np.quantile(values, [0.75, 0.25]))) / 1.349
    return usual if usual > 0 else float(np.std(values))


def _around(rows: np.ndarray, usual: float, code: ColumnCode) -> tuple[_Line, _Scores]:
    """The map for one to four rows: their mean, and a spread kept symmetric despite bounds and gaps.

    At a bound, the mean moves inwards by at most 0.3 deviations to leave room for the spread.
    """
    mean, span = float(rows.mean()), code.knots[-1] - code.knots[0]
    deviation = float(np.sqrt((((rows - mean) ** 2).sum() + usual**2) / len(rows)))
    start = rounded(mean, span) if span > 0 else mean
    room = min(2 * _LEAST_SPREAD * deviation, span / 2)
    center = nearest(np.clip([start], code.knots[0] + room, code.knots[-1] - room), code.knots, code.scores)
    grid = np.linspace(-3, 3, 13)
    around = from_scores(to_scores(center, code.knots, code.scores) + grid, code.knots, code.scores)
    reach = np.minimum(np.abs(around - center), deviation * np.abs(grid))
    reach = np.maximum(np.minimum(reach, reach[::-1]), _LEAST_SPREAD * deviation * np.abs(grid))
    at = to_scores(center + np.sign(grid) * reach, code.knots, code.scores)
    line = np.concatenate([[-FAR], grid, [FAR]]), np.maximum.accumulate(np.concatenate([at[:1], at, at[-1:]]))
    return line, lambda values, _: np.clip((values - mean) / max(deviation, 1e-300), -3, 3)
