"""Toys of the flows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganlib.data.spec import DataSpec
from ganlib.testing.problems import digits
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


def gaussian_bits(train: Tensor, test: Tensor, seed: int, shades: int = 17) -> float:
    """Bits a dimension of images with uniform noise under a Gaussian with the training images' mean and covariance."""
    generator, cell = torch.Generator().manual_seed(seed), 2 / (shades - 1)
    noisy = [x + cell * (torch.rand(x.shape, generator=generator) - 0.5) for x in (train, test)]
    rows, held = (x.flatten(1).double() for x in noisy)
    fitted = torch.distributions.MultivariateNormal(rows.mean(0), torch.cov(rows.T))
    return float((-fitted.log_prob(held).mean() / rows.shape[1] - math.log(cell)) / math.log(2))


@torch.no_grad()
def _image_level(algorithm: Any, seed: int) -> float:
    return -float(algorithm.bits(digits(seed, "test")[0], torch.Generator().manual_seed(seed)).mean())


TOYS = {
    "glow": _MOONS,
    "realnvp": _MOONS,
    "nice": _MOONS,
    "spline_flow": _MOONS,
    "glow_images": Toy(
        data=lambda seed: {"x": digits(seed)[0]},
        spec=DataSpec.image(1, 8, 8),
        level=_image_level,
        at_least=-2.85,
        measure="8x8 digits: held-out bits a dimension, negative",
        baseline=lambda seed: -gaussian_bits(digits(seed)[0], digits(seed, "test")[0], seed),
        config={"flow_steps": 2, "width": 16, "shades": 17, "learning_rate": 2e-3},
        trainer={"steps": 500, "batch_size": 64, "ema": 0.98},
    ),
}
