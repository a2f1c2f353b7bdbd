"""Toys of the flows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganlib.data.spec import DataSpec
from ganlib.testing.toy import Toy


def moons(n: int, seed: int) -> Tensor:
    """Two interleaved half circles with noise 0.1, float32 ``(n, 2)``."""
    rng = np.random.default_rng(seed)
    angle, upper = math.pi * rng.random(n), rng.random(n) < 0.5
    x = np.where(upper, np.cos(angle), 1 - np.cos(angle))
    y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle))
    return torch.tensor(np.stack([x, y], 1) + 0.1 * rng.standard_normal((n, 2)), dtype=torch.float32)


def _gaussian_log_likelihood(seed: int) -> float:
    train, test = moons(2000, seed), moons(2000, seed + 500)
    fitted = torch.distributions.MultivariateNormal(train.mean(0), torch.cov(train.T))
    return float(fitted.log_prob(test).mean())


@torch.no_grad()
def _test_log_likelihood(algorithm: Any, seed: int) -> float:
    return float(algorithm.log_prob(moons(2000, seed + 500)).mean())


_MOONS = Toy(
    data=lambda seed: {"x": moons(2000, seed)},
    spec=DataSpec.vector(2),
    level=_test_log_likelihood,
    at_least=-1.55,
    measure="held-out log-likelihood, nats",
    baseline=_gaussian_log_likelihood,
    trainer={"epochs": 60, "batch_size": 256},
)
TOYS = {"glow": _MOONS, "realnvp": _MOONS, "nice": _MOONS, "spline_flow": _MOONS}
