"""A generalised Pareto tail for scores beyond the calibration sample.

Source: Pickands (1975), Annals of Statistics 3: excesses over a high threshold tend to a generalised Pareto law.
Goodness of fit by the Anderson-Darling statistic with a parametric bootstrap, since a test with fitted parameters is
too lenient otherwise (Choulakian & Stephens, Technometrics 43, 2001).

Deviation: the fitted shape is raised by a quarter of its asymptotic standard error, (1 + shape)/sqrt(exceedances). Down
to 1/(3(n + 1)), the alarm rate then is half to twice the budget for exponential, gamma, Weibull, lognormal and Student
tails (n of 600 to 2,000); for tails as light as a normal's it is below that. With the plain estimate the rate of heavy
tails was two to three times the budget there.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

LEAST_EXCEEDANCES = 50
ACCEPT = 0.05
# Such a small shape equals the exponential to seven digits, so that one formula covers all tails.
LEAST_SHAPE = 1e-6
# Smaller p-values are meaningless, and the logarithm must stay finite.
LEAST_P = 1e-30
_BOOTSTRAPS = 99


@dataclass(frozen=True)
class ParetoTail:
    """p(s) = p_threshold · (1 + shape · (s - threshold) / scale)^(-1/shape) for s > threshold.

    ``fit_p`` is the goodness-of-fit p-value, ``exceedances`` the number of rows beyond the threshold.
    """

    threshold: float
    p_threshold: float
    shape: float
    scale: float
    exceedances: int
    fit_p: float

    def p_value(self, scores: np.ndarray) -> np.ndarray:
        """Tail p-values in float64; meaningful beyond the threshold only."""
        excess = np.maximum(scores - self.threshold, 0.0) / self.scale
        return np.maximum(self.p_threshold * (1.0 + self.shape * excess) ** (-1.0 / self.shape), LEAST_P)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def fit_tail(scores: np.ndarray, share: float = 0.1) -> ParetoTail | None:
    """Fit a tail to the largest ``share`` of the scores; None if the fit is not acceptable.

    A tail is accepted with at least 50 exceedances and a goodness-of-fit p-value above 0.05. A light tail with a finite
    end (shape below 0) is conservatively fitted as exponential: a score beyond that end still has p > 0.
    """
    ordered = np.sort(scores[np.isfinite(scores)])
    n, count = len(ordered), int(len(ordered) * share)
    if count < LEAST_EXCEEDANCES:
        return None
    threshold = float(np.float32(ordered[n - count - 1]))
    excess = ordered[ordered > threshold] - threshold
    if len(excess) < LEAST_EXCEEDANCES or excess.max() <= 0:
        return None
    shape, scale = _fit(excess)
    fit_p = _goodness(excess, shape, scale)
    if fit_p <= ACCEPT:
        return None
    shape += 0.25 * (1 + shape) / math.sqrt(len(excess))
    p_threshold = (1 + int((ordered >= threshold).sum())) / (n + 1)
    return ParetoTail(threshold, p_threshold, shape, scale, len(excess), fit_p)


def _fit(excess: np.ndarray) -> tuple[float, float]:
    """Probability-weighted moments (Hosking & Wallis, Technometrics 29, 1987); shape within [1e-6, 0.9]."""
    ordered = np.sort(excess)
    n = len(ordered)
    b0 = ordered.mean()
    b1 = (ordered * (1 - (np.arange(1, n + 1) - 0.35) / n)).mean()
    shape = 2 - b0 / (b0 - 2 * b1) if b0 > 2 * b1 else 0.0
    shape = float(np.clip(shape, LEAST_SHAPE, 0.9))
    return shape, float(b0 * (1 - shape))


def _goodness(excess: np.ndarray, shape: float, scale: float) -> float:
    """Parametric-bootstrap p-value of the Anderson-Darling statistic."""
    observed = _anderson_darling(excess, shape, scale)
    rng = np.random.default_rng(1975)
    worse = 0
    for _ in range(_BOOTSTRAPS):
        u = rng.random(len(excess))
        sample = scale * np.expm1(-shape * np.log(u)) / shape
        worse += _anderson_darling(sample, *_fit(sample)) >= observed
    return (1 + worse) / (1 + _BOOTSTRAPS)


def _anderson_darling(excess: np.ndarray, shape: float, scale: float) -> float:
    z = np.sort(excess) / scale
    survival = np.clip((1 + shape * z) ** (-1 / shape), 1e-12, 1 - 1e-12)
    n = len(z)
    weights = 2 * np.arange(1, n + 1) - 1
    return float(-n - (weights * (np.log1p(-survival) + np.log(survival[::-1]))).mean())
