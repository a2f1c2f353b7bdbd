"""Checks of flows on tables: the two moons, whose density is known."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from benchmarks.models.checks.check import Check, Figures, fit
from ganlib.data.spec import DataSpec
from ganlib.testing.toys.flow import moons

STEPS = {"glow": 1500, "spline_flow": 1200}
# Enough points that the gap to the true density is that of the model, not of the sample.
_TRAIN, _TEST, _NOISE = 20_000, 5000, 0.1
_EXACT = -math.log10(torch.finfo(torch.float32).eps)
_FITTED: dict[tuple[str, int], Any] = {}


def true_log_prob(x: Tensor) -> Tensor:
    """The log-density of ``moons``, by 2,000 points of the half circles."""
    angle = (torch.arange(1000, dtype=torch.float64) + 0.5) * math.pi / 1000
    upper, lower = torch.stack([angle.cos(), angle.sin()], 1), torch.stack([1 - angle.cos(), 0.5 - angle.sin()], 1)
    squares = torch.cdist(x.double(), torch.cat([upper, lower])).square()
    logs = -0.5 * squares / _NOISE**2 - math.log(2 * math.pi * _NOISE**2)
    return torch.logsumexp(logs, 1) - math.log(2000)


def _trained(name: str, seed: int) -> Any:
    if (name, seed) not in _FITTED:
        _FITTED[name, seed], _ = fit(
            name, DataSpec.vector(2), {"x": moons(_TRAIN, seed)}, seed, STEPS[name], batch=256, ema=0.99
        )
    return _FITTED[name, seed].eval()


def _likelihood(name: str, seed: int) -> Figures:
    """Minus the held-out gap to the true density, and the same of a Gaussian, in nats."""
    train, test = moons(_TRAIN, seed), moons(_TEST, seed + 500)
    truth = true_log_prob(test).mean()
    gaussian = torch.distributions.MultivariateNormal(train.mean(0), torch.cov(train.T))
    model = _trained(name, seed)
    with torch.no_grad():
        return float(model.log_prob(test).mean() - truth), float(gaussian.log_prob(test).mean() - truth)


def _inverse(name: str, seed: int) -> Figures:
    """-log10 of the largest difference of held-out points that went through the flow and back; baseline: that of
    float32 itself."""
    model, x = _trained(name, seed), moons(_TEST, seed + 500)
    with torch.no_grad():
        return _digits(float((model.inverse(model.flow(x)[0]) - x).abs().max())), _EXACT


def _determinant(name: str, seed: int) -> Figures:
    """-log10 of the largest difference of log-determinants from those of the autograd Jacobian, at 50 points."""
    model, worst = _trained(name, seed), 0.0
    for row in moons(50, seed + 500):
        jacobian = torch.autograd.functional.jacobian(lambda v: model.flow(v[None])[0][0], row)
        gap = torch.linalg.slogdet(jacobian).logabsdet - model.flow(row[None])[1][0].detach()
        worst = max(worst, abs(float(gap)))
    return _digits(worst), _EXACT


def _digits(error: float) -> float:
    return -math.log10(max(error, torch.finfo(torch.float32).eps))


def _rows(name: str, called: str) -> list[Check]:
    """The three checks of a flow."""
    return [
        Check(
            f"F5 moons{called}", name, "held-out log-likelihood less that of the true density, nats", "Gaussian", -0.05,
            lambda seed: _likelihood(name, seed), worst=True,
        ),
        Check(
            f"F5 inverse{called}", name, "-log10 of the largest error of the inverse, held-out points", "float32", 5.0,
            lambda seed: _inverse(name, seed), worst=True,
        ),
        Check(
            f"F5 determinant{called}", name, "-log10 of the largest error of log-determinants", "float32", 4.0,
            lambda seed: _determinant(name, seed), worst=True,
        ),
    ]  # fmt: skip


ROWS = (*_rows("spline_flow", " spline"), *_rows("glow", ""))
