"""Normal scores per position: what lets a smooth generator make spikes, whole numbers and skewed columns.

A number column of a table is rarely Gaussian: it has atoms (many zeros, few distinct values) and long tails. Every
number position is mapped to normal scores s = Phi^-1(F(e)) before training and back after generation. An atom, a
value that many rows share, is a whole interval of scores: in training its rows are spread over the interval at
random, in generation every score of the interval gives exactly the atom. Between atoms the map is piecewise linear.

Privacy: no single row's value is kept. An atom is shared by at least ``least`` rows, every other knot is a mean of at
least ``least`` rows (a stretch with fewer is kept as its mean and spread).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ganlib.data.spec import DataSpec

PIECES = 64
# Room for at most 42 atoms (more than 1.5 / PIECES each), a piece between each two, and the curves of the rest.
ROOM = 96
_EDGE = 1e-4  # scores stay within Phi^-1 of this


@dataclass(frozen=True)
class _Piece:
    """From score ``start`` on, the value is ``value + slope · (score - start)``."""

    start: float
    value: float
    slope: float


class Marginals(nn.Module):
    """Monotone maps from normal scores to encoded values, one per number position; other positions pass unchanged.

    ``forward``: scores ``(n, d)`` to encoded rows ``(n, d)``, pure and exportable. Before ``fit_transform`` it is the
    identity. Deviation from a plain quantile transform: atoms are spread over their interval (randomised ranks).
    """

    mapped: Tensor
    start: Tensor
    value: Tensor
    slope: Tensor
    offset: Tensor

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        self.spec = spec
        numbers = [block.start for block in spec.blocks if block.kind == "number"]
        if not spec.blocks:
            numbers = list(range(spec.dim))
        self.numbers = tuple(numbers)
        self.register_buffer("mapped", torch.zeros(spec.dim, dtype=torch.bool))
        self.register_buffer("start", torch.full((spec.dim, ROOM), float("inf")))
        self.register_buffer("value", torch.zeros(spec.dim, ROOM))
        self.register_buffer("slope", torch.zeros(spec.dim, ROOM))
        self.register_buffer("offset", torch.arange(spec.dim) * ROOM)

    def fit_transform(
        self,
        x: np.ndarray,
        weights: np.ndarray,
        draws: np.ndarray,
        rng: np.random.Generator,
        flags: Mapping[int, int] | None = None,
        least: int = 5,
    ) -> np.ndarray:
        """Fit on encoded rows ``x (n, d)`` with row ``weights (n,)``; scores of the rows ``draws`` (indices, ``(m,)``).

        A row named twice in ``draws`` gets two different scores within its atoms. ``flags`` names the position of
        the missing-value flag of number positions that have one: where it is set the number is no observation, is
        left out of the fit, and its score is noise. Returns float32 ``(m, d)``.
        """
        scores = x[draws].astype(np.float32).copy()
        for position in self.numbers:
            present = np.ones(len(x), dtype=bool)
            if flags and position in flags:
                present = x[:, flags[position]] < 0.5
            low, high = np.zeros(len(x)), np.ones(len(x))
            if present.any():
                share = weights[present] / weights[present].sum()
                values = x[present, position].astype(np.float64)
                pieces, low[present], high[present] = _fit_column(values, share, least)
                self._store(position, pieces)
            scores[:, position] = _ppf(low[draws] + (high - low)[draws] * rng.random(len(draws)))
        return scores

    def _store(self, position: int, pieces: Sequence[_Piece]) -> None:
        self.mapped[position] = True
        for index, piece in enumerate(pieces):
            self.start[position, index] = piece.start if index else -float("inf")
            self.value[position, index] = piece.value - (0.0 if index else piece.slope * piece.start)
            self.slope[position, index] = piece.slope

    def forward(self, scores: Tensor) -> Tensor:
        """Encoded rows from normal scores."""
        index = (scores.unsqueeze(2) >= self.start).sum(2) - 1
        flat = (index.clamp(min=0) + self.offset).flatten()
        value = self.value.flatten()[flat].view_as(scores)
        slope = self.slope.flatten()[flat].view_as(scores)
        start = self.start.clamp(-1e30, 1e30)
        start = torch.where(start <= -1e29, torch.zeros_like(start), start).flatten()[flat].view_as(scores)
        return torch.where(self.mapped, value + slope * (scores - start), scores)


def _ppf(share: np.ndarray) -> np.ndarray:
    from scipy.special import ndtri

    return ndtri(np.clip(share, _EDGE, 1 - _EDGE))


def _fit_column(values: np.ndarray, share: np.ndarray, least: int) -> tuple[list[_Piece], np.ndarray, np.ndarray]:
    """Pieces of one column, and each row's interval of cumulative shares ``(low, high)``."""
    distinct, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    mass = np.bincount(inverse, share)
    above = np.cumsum(mass)
    below = above - mass
    heavy = (counts >= least) & (mass > 1.5 / PIECES)
    # A value alone in its place is a point of the curve, not an interval.
    middle = (above + below) / 2
    low = np.where(heavy, below, middle)[inverse]
    high = np.where(heavy, above, middle)[inverse]
    pieces: list[_Piece] = []
    for stretch in _stretches(heavy):
        if heavy[stretch[0]]:
            pieces.append(_Piece(_score(below[stretch[0]]), float(distinct[stretch[0]]), 0.0))
        else:
            pieces.extend(_curve(distinct[stretch], counts[stretch], mass[stretch], below[stretch[0]], least))
    return pieces, low, high


def _score(share: float) -> float:
    return float(_ppf(np.array(share)))


def _stretches(heavy: np.ndarray) -> list[np.ndarray]:
    """Runs of indices: every atom alone, light values together."""
    cuts = np.flatnonzero(heavy[1:] | heavy[:-1]) + 1
    return np.split(np.arange(len(heavy)), cuts)


def _curve(values: np.ndarray, counts: np.ndarray, mass: np.ndarray, below: float, least: int) -> list[_Piece]:
    """A piecewise linear run through means of at least ``least`` rows."""
    knots = _knots(values, counts, mass, least)
    if len(knots) < 2:
        return [_spread(values, mass, below)]
    shares = below + np.array([middle for middle, _ in knots])
    levels = np.array([level for _, level in knots])
    scores = _ppf(shares)
    slopes = np.diff(levels) / np.maximum(np.diff(scores), 1e-9)
    starts = np.concatenate([[_score(below)], scores[1:-1]])
    firsts = np.concatenate([[levels[0] - slopes[0] * (scores[0] - starts[0])], levels[1:-1]])
    return [_Piece(float(a), float(b), float(c)) for a, b, c in zip(starts, firsts, slopes, strict=True)]


def _knots(values: np.ndarray, counts: np.ndarray, mass: np.ndarray, least: int) -> list[tuple[float, float]]:
    """(share at the middle, mean value) of groups of neighbouring values."""
    knots, rows, weight, total, done = [], 0, 0.0, 0.0, 0.0
    groups: list[tuple[float, float]] = []
    for value, count, part in zip(values, counts, mass, strict=True):
        rows, weight, total = rows + int(count), weight + part, total + part * value
        if rows >= least and weight >= 2.0 / PIECES:
            groups.append((weight, total))
            rows, weight, total = 0, 0.0, 0.0
    if weight and groups:
        groups[-1] = (groups[-1][0] + weight, groups[-1][1] + total)
    for part, sum_ in groups:
        knots.append((done + part / 2, sum_ / part))
        done += part
    return knots


def _spread(values: np.ndarray, mass: np.ndarray, below: float) -> _Piece:
    """Few values: a straight line of the same mean and deviation over their scores."""
    total = mass.sum()
    mean = float((values * mass).sum() / total)
    deviation = float(np.sqrt(((values - mean) ** 2 * mass).sum() / total))
    first, last = _score(below), _score(below + total)
    reach = min(1.5 * deviation, mean - float(values[0]) or 0.0, float(values[-1]) - mean or 0.0)
    return _Piece(first, mean - reach, 2 * reach / max(last - first, 1e-9))
