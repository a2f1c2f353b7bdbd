"""Whether p-values still fit the rows that are scored: a check of stale calibration that may be read at any time.

Rows above the lowest tenth of p-values are compared with the calibration rows there, by decile; anomalies, which have
low p-values, do not count. If usual rows are still like those held out for calibration, the next row falls into bin b
with probability (m_b + n_b) / (m + n), after m calibration rows and n rows before it. The bet is that rows have shares
of their own: (a·m_b/m + n_b) / (a + n). The product of the ratios is the

    evidence = DirMult(n_1, ..., n_B | a·m_1/m, ..., a·m_B/m) / DirMult(n_1, ..., n_B | m_1, ..., m_B)

a martingale that starts at 1, so that over a stream of any length the chance that it ever reaches 1/d is at most d
(Ville 1939). It depends on the counts alone, not on their order, so that counts of units and restarts are summed.

Source: tests of exchangeability by betting on conformal p-values, Vovk, Nouretdinov & Gammerman, Testing
Exchangeability On-Line, ICML 2003. Deviations: bins in place of p-values, which makes the calibration sample's own
error part of the null; a Dirichlet mixture as the bet.
Assumed: rows of a stream are exchangeable with the calibration rows as long as nothing changes. Overlapping windows are
not: each counts as the share of a window that is new (``overlap``), and the check is a hint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving.opening.deciles import BINS, tally

ENOUGH = 1000.0  # evidence at which stale calibration is reported: one fresh stream in a thousand ever gets there
SHIFT = 0.05  # least share of usual rows that lie in other bins: smaller changes do not matter
_CONCENTRATION = 20.0


def evidence(calibrated: Sequence[int], seen: Sequence[float]) -> float:
    """Evidence that calibration is stale, from counts by decile: about 1 without rows, large if rows have changed."""
    held, rows = _usual(calibrated, seen)
    total = sum(held)
    if len(held) < 2 or total <= _CONCENTRATION:
        return 1.0
    own = [_CONCENTRATION * h / total for h in held]
    return math.exp(min(_log_chance(own, rows) - _log_chance(held, rows), 700.0))


def shift(calibrated: Sequence[int], seen: Sequence[float]) -> float:
    """The share of usual rows that lie in other deciles than those of calibration, in [0, 1]."""
    held, rows = _usual(calibrated, seen)
    if not sum(held) or not sum(rows):
        return 0.0
    return sum(abs(h / sum(held) - r / sum(rows)) for h, r in zip(held, rows, strict=True)) / 2


def stale(calibrated: Sequence[int] | None, seen: Sequence[float], peak: float = 0.0) -> str | None:
    """What to say of stale calibration, or None; ``peak`` is the largest evidence so far, if that is known.

    ``calibrated`` is None for files of earlier releases, which cannot be checked.
    """
    if calibrated is None or max(evidence(calibrated, seen), peak) < ENOUGH or shift(calibrated, seen) < SHIFT:
        return None
    now, then = (sum(counts[1:5]) / max(sum(counts[1:]), 1) for counts in (seen, calibrated))
    how = "less usual" if now > then else "more usual"
    return (
        f"p-values no longer fit: of rows with p-values above 0.1, {now:.0%} have at most 0.5, and {then:.0%} of the "
        f"calibration rows had. The rows are {how} than those of training: check the input, or train again"
    )


class Freshness:
    """The check over a stream; its state is stored in the stream's cursor and begins anew with another model."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        state = state or {}
        self.model, self.peak = str(state.get("model", "")), float(state.get("peak", 1.0))
        self.seen = [int(n) for n in state.get("seen", [0] * BINS)]
        self._calibrated: Sequence[int] | None = None
        self._said, self._overlap = False, 1

    def add(self, model: str, calibrated: Sequence[int] | None, p_values: np.ndarray, overlap: int = 1) -> None:
        """Count the rows that a model has scored; ``model`` is its sha-256; ``overlap`` windows share a row."""
        if model != self.model:
            self.model, self.peak, self.seen, self._said = model, 1.0, [0] * BINS, False
        self._calibrated, self._overlap = calibrated, overlap
        self.seen = [a + b for a, b in zip(self.seen, tally(p_values), strict=True)]
        if calibrated is not None:
            self.peak = max(self.peak, evidence(calibrated, self._alone))

    @property
    def _alone(self) -> list[float]:
        """The counts as if windows did not share rows."""
        return [n / self._overlap for n in self.seen]

    def news(self) -> str | None:
        """What to say once in a run, when the calibration is found stale."""
        text = None if self._said else stale(self._calibrated, self._alone, self.peak)
        self._said = self._said or text is not None
        return text

    @property
    def state(self) -> dict[str, Any]:
        """What the cursor stores."""
        return {"model": self.model, "seen": self.seen, "peak": self.peak}


def _usual(calibrated: Sequence[int], seen: Sequence[float]) -> tuple[list[int], list[float]]:
    """Counts of all deciles but the lowest; those that no calibration row is in join the next."""
    held, rows, waiting = list[int](), list[float](), 0.0
    for h, r in zip(calibrated[1:], seen[1:], strict=True):
        waiting += r
        if h:
            held.append(h)
            rows.append(waiting)
            waiting = 0.0
    if held:
        rows[-1] += waiting
    return held, rows


def _log_chance(weights: Sequence[float], rows: Sequence[float]) -> float:
    """Logarithm of the probability of a sequence with these counts, under an urn that starts with the weights."""
    parts = sum(math.lgamma(w + n) - math.lgamma(w) for w, n in zip(weights, rows, strict=True))
    return parts + math.lgamma(sum(weights)) - math.lgamma(sum(weights) + sum(rows))
