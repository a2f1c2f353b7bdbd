"""Toys of the baselines: two moons."""

from __future__ import annotations

from dataclasses import replace

import torch

from ganlib.testing.toys.flow import TOYS as FLOWS
from ganlib.testing.toys.flow import moons


def _independent(seed: int) -> float:
    """Held-out log-likelihood of one Gaussian a column."""
    train, test = moons(2000, seed), moons(2000, seed + 500)
    return float(torch.distributions.Normal(train.mean(0), train.std(0)).log_prob(test).sum(1).mean())


_MOONS = replace(FLOWS["glow"], trainer={"epochs": 40, "batch_size": 256, "ema": 0.98})
TOYS = {
    "centroid_kernels": replace(_MOONS, trainer={"epochs": 1, "batch_size": 2048}),
    "gaussian": replace(_MOONS, at_least=-1.97, baseline=_independent, trainer={"epochs": 30, "batch_size": 256}),
    "gaussian_mixture": _MOONS,
    "histogram": replace(_MOONS, at_least=-1.88, baseline=_independent, trainer={"epochs": 1, "batch_size": 256}),
    "kernel_density": _MOONS,
    "principal_mixture": replace(_MOONS, trainer={"steps": 60, "batch_size": 2048}),
}
