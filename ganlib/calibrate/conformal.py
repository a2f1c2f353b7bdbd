"""Split-conformal p-values.

Source: Vovk, Gammerman & Shafer, Algorithmic Learning in a Random World, 2005; for outlier detection Bates et al.,
arXiv 2104.08279, equation 2. For exchangeable normal rows, P(p_value <= alpha) <= alpha. Decisions are made in
float32, as in the sealed graph.

Deviation: a score up to the parity bound (1e-5) above a calibration score counts as tied with it, and over a further
2e-4 the weight of the tie falls from 1 to 0. Both can only raise a p-value. Torch and the graph thus agree on rows
that equal calibration rows, and rounding never moves a p-value by a whole rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ganlib.calibrate.tail import ParetoTail, fit_tail
from ganlib.errors import ConfigError, DataError
from serving.opening.deciles import tally

LEAST_GROUP = 100
# The parity bound, relative to max(|score|, median): closer scores may differ by arithmetic only.
TIE = 1e-5
FADE = 2e-4  # relative width over which the weight of a tie falls to 0
REACH = 1e30  # so that inf - tie stays infinite


def as_scores(scores: np.ndarray) -> np.ndarray:
    """Scores as float32; non-finite ones become +inf, the most anomalous."""
    scores = np.asarray(scores).astype(np.float32)
    return np.where(np.isfinite(scores), scores, np.float32(np.inf))


@dataclass(frozen=True)
class Table:
    """One calibration sample: sorted float32 scores and the tail beyond them, if accepted."""

    scores: np.ndarray
    tail: ParetoTail | None

    @classmethod
    def fit(cls, scores: np.ndarray) -> Table:
        """Sort, cast and fit the tail; a non-finite score counts as most anomalous."""
        ordered = np.sort(as_scores(scores))
        return cls(ordered, fit_tail(ordered.astype(np.float64)))

    @property
    def n(self) -> int:
        """Calibration rows."""
        return len(self.scores)

    @property
    def alpha_min(self) -> float:
        """The smallest supported alpha: 1/(n+1), or a third of it if the tail was accepted."""
        return 1.0 / ((3 if self.tail else 1) * (self.n + 1))

    @cached_property
    def median(self) -> float:
        """Median size of a finite score: the unit of tolerances (scores in nats may be negative)."""
        finite = self.scores[np.isfinite(self.scores)]
        return float(np.median(np.abs(finite))) if len(finite) else 0.0

    def p_value(self, scores: np.ndarray) -> np.ndarray:
        """(1 + #{calibration >= score}) / (n + 1), float32; beyond all calibration scores the tail's if smaller."""
        scores = as_scores(scores)
        unit = np.maximum(np.abs(scores), np.float32(self.median))
        tie = np.minimum(np.float32(TIE) * unit, np.float32(REACH))
        fade = np.clip(np.float32(FADE) * unit, np.finfo(np.float32).tiny, np.float32(REACH))
        below = np.searchsorted(self.scores, scores - tie, side="left")
        weight = self._faded(scores - tie - fade, fade, below)
        p = (1 + self.n - below) / (self.n + 1)
        if self.tail is not None:
            beyond = self.tail.p_value(scores.astype(np.float64))
            tied = np.minimum(weight, 1.0)
            p = np.where(below == self.n, tied * p + (1.0 - tied) * np.minimum(p, beyond), p)
        return np.minimum(p + weight / (self.n + 1), 1.0).astype(np.float32)

    def _faded(self, floor: np.ndarray, fade: np.ndarray, below: np.ndarray) -> np.ndarray:
        """The total weight of the calibration scores between ``floor`` and ``floor + fade``, float64 ``(n,)``."""
        fewer = np.searchsorted(self.scores, floor, side="left")
        many = below - fewer
        with np.errstate(invalid="ignore"):  # infinite scores have no ties; 0 · inf is NaN
            weight = (self.sums[below] - self.sums[fewer] - many * floor.astype(np.float64)) / fade
        return np.where(many > 0, np.clip(weight, 0.0, many), 0.0)

    @cached_property
    def sums(self) -> np.ndarray:
        """Sums of the first 0, 1, ... n finite scores: float64 ``(n + 1,)``."""
        finite = np.where(np.isfinite(self.scores), self.scores, 0.0).astype(np.float64)
        return np.concatenate([np.zeros(1), np.cumsum(finite)])


@dataclass(frozen=True)
class Calibration:
    """The pooled table and, with a group column, one table for each group of at least 100 rows."""

    pooled: Table
    groups: Mapping[str, Table] = field(default_factory=dict)

    @classmethod
    def fit(cls, scores: np.ndarray, groups: np.ndarray | None = None) -> Calibration:
        """Fit to the scores (and group values) of held-out normal rows; raises DataError without rows."""
        scores = np.asarray(scores)
        if len(scores) == 0:
            raise DataError("calibration needs at least one held-out row; use more data or a larger calibration share")
        tables = {}
        if groups is not None:
            for value in sorted({str(g) for g in groups} - {""}):
                chosen = scores[np.asarray(groups) == value]
                if len(chosen) >= LEAST_GROUP:
                    tables[value] = Table.fit(chosen)
        return cls(Table.fit(scores), tables)

    @property
    def n(self) -> int:
        """Rows in the pooled table."""
        return self.pooled.n

    @property
    def alpha_min(self) -> float:
        """The smallest alpha that every table supports."""
        return max(t.alpha_min for t in (self.pooled, *self.groups.values()))

    @property
    def tail(self) -> ParetoTail | None:
        """The pooled table's tail."""
        return self.pooled.tail

    @property
    def median_score(self) -> float:
        """The pooled table's median: the unit of tolerances."""
        return self.pooled.median

    @property
    def deciles(self) -> list[int]:
        """Counts of the calibration rows' own p-values by decile."""
        return tally(self.pooled.p_value(self.pooled.scores))

    def supports(self, alpha: float) -> bool:
        """Whether the calibration supports this alpha; raises ConfigError outside (0, 1)."""
        if not 0 < alpha < 1:
            raise ConfigError(f"alpha must lie between 0 and 1, not {alpha}")
        return alpha >= self.alpha_min * (1 - 1e-6)

    def rows_needed(self, alpha: float) -> int:
        """The number of calibration rows that support alpha without a tail."""
        return int(np.ceil(1 / alpha)) - 1

    def p_value(self, scores: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        """float32 p-values; rows of an unseen or small group use the pooled table."""
        p = self.pooled.p_value(scores)
        if groups is not None:
            for value, table in self.groups.items():
                mine = np.asarray(groups) == value
                p[mine] = table.p_value(np.asarray(scores)[mine])
        return p

    def threshold(self, alpha: float) -> float:
        """The smallest float32 score whose pooled p-value is at most alpha; inf if there is none."""
        budget = np.float32(alpha)
        low, high = np.float32(-np.inf), np.float32(np.inf)
        finite = self.pooled.scores[np.isfinite(self.pooled.scores)]
        if len(finite) == 0 or self.pooled.p_value(np.array([np.finfo(np.float32).max]))[0] > budget:
            return float(high)
        low, high = np.float32(finite[0] - 1 - abs(finite[0])), np.finfo(np.float32).max
        while np.nextafter(low, high) < high:
            middle = _between(low, high)
            if self.pooled.p_value(np.array([middle]))[0] <= budget:
                high = middle
            else:
                low = middle
        return float(high)

    def to_dict(self, scores: bool = False) -> dict[str, Any]:
        """The calibration entry of the artifact's metadata; with ``scores`` also all that ``from_dict`` needs."""
        groups = {value: {"n": t.n, "alpha_min": t.alpha_min} for value, t in self.groups.items()}
        said = {
            "n": self.n,
            "alpha_min": self.alpha_min,
            "median_score": self.median_score,
            "tail": self.tail.to_dict() if self.tail else None,
            "deciles": self.deciles,
            "groups": groups,
        }
        if scores:
            said["scores"] = self.pooled.scores.tolist()
            said["group_scores"] = {value: t.scores.tolist() for value, t in self.groups.items()}
        return said

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Inverse of ``to_dict(scores=True)``; tails are fitted again, which is deterministic."""
        groups = {value: Table.fit(np.array(scores)) for value, scores in values["group_scores"].items()}
        return cls(Table.fit(np.array(values["scores"])), groups)


def _between(low: np.float32, high: np.float32) -> np.float32:
    """The midpoint in the order of float32 values, so that bisection ends in 32 steps."""
    a, b = (_key(v) for v in (low, high))
    key = np.array((a + b) // 2, dtype=np.int64)
    bits = key if key >= 0 else -(key + 1) + 0x80000000
    return np.uint32(bits).view(np.float32)


def _key(value: np.float32) -> int:
    bits = int(np.float32(value).view(np.uint32))
    return bits if bits < 0x80000000 else -(bits - 0x80000000) - 1
