"""Toys of the baselines: two moons, two sensors that follow each other, and digits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ganlib.data.spec import DataSpec
from ganlib.metrics.detection import auroc
from ganlib.testing.problems import digits
from ganlib.testing.toy import Toy
from ganlib.testing.toys.flow import TOYS as FLOWS
from ganlib.testing.toys.flow import moons
from ganlib.testing.toys.images import ENERGY
from ganlib.testing.toys.points import RING


def _independent(seed: int) -> float:
    """Held-out log-likelihood of one Gaussian a column."""
    train, test = moons(2000, seed), moons(2000, seed + 500)
    return float(torch.distributions.Normal(train.mean(0), train.std(0)).log_prob(test).sum(1).mean())


_MOONS = replace(FLOWS["glow"], trainer={"epochs": 40, "batch_size": 256, "ema": 0.98})


def sensors(n: int, seed: int, *, cut: bool = False) -> Tensor:
    """Windows ``(n, 2, 16)`` of two sensors, of variance near 1: the first depends on its last step, the second on the
    first's last step; ``cut`` replaces the second by that of another window."""
    g = torch.Generator().manual_seed(seed)
    noise, first, second = torch.randn(17, 2, n, generator=g), [torch.zeros(n)], [torch.zeros(n)]
    for step in noise:
        second.append(0.9 * first[-1] + 0.4 * step[1])
        first.append(0.8 * first[-1] + 0.6 * step[0])
    x = torch.stack([torch.stack(first[2:], 1), torch.stack(second[2:], 1)], 1)
    return torch.stack([x[:, 0], x[:, 1].roll(1, 0)], 1) if cut else x


def _sensor_test(seed: int) -> tuple[Tensor, Tensor]:
    x = torch.cat([sensors(500, seed + 1000), sensors(500, seed + 2000, cut=True)])
    return x, torch.cat([torch.zeros(500), torch.ones(500)])


@torch.no_grad()
def _sensor_auroc(algorithm: Any, seed: int) -> float:
    x, anomalous = _sensor_test(seed)
    return auroc(algorithm.scorer()(x), anomalous)


def _energy_auroc(seed: int) -> float:
    """The same of the mean square of a window."""
    x, anomalous = _sensor_test(seed)
    return auroc(x.square().mean((1, 2)), anomalous)


def _few_digits(seed: int) -> dict[str, Tensor]:
    """Three 8x8 digits of each class."""
    x, y = digits(seed)
    rows = torch.cat([(y == label).nonzero().flatten()[:3] for label in range(10)])
    return {"x": x[rows], "y": y[rows]}


def _nearest(x: Tensor, y: Tensor, seed: int) -> float:
    """Accuracy on held-out digits of the class of the nearest example."""
    judged, labels = digits(seed, "test")
    found = y[torch.cdist(judged.flatten(1), x.flatten(1)).argmin(1)]
    return float((found == labels).float().mean())


@torch.no_grad()
def _nearest_with_warps(algorithm: Any, seed: int) -> float:
    few, copies = _few_digits(seed), 40
    x, y = few["x"].repeat(copies, 1, 1, 1), few["y"].repeat(copies)
    sampler = algorithm.sampler()
    z = torch.randn(len(x), sampler.latent_dim, generator=torch.Generator().manual_seed(seed))
    return _nearest(torch.cat([few["x"], sampler(z, x)]), torch.cat([few["y"], y]), seed) - _nearest_alone(seed)


def _nearest_alone(seed: int) -> float:
    few = _few_digits(seed)
    return _nearest(few["x"], few["y"], seed)


TOYS = {
    "autoregression": Toy(
        data=lambda seed: {"x": sensors(1000, seed)},
        spec=DataSpec.series(2, 16),
        level=_sensor_auroc,
        at_least=0.95,
        measure="AUROC, windows whose second sensor is that of another window",
        baseline=_energy_auroc,
        trainer={"epochs": 1, "batch_size": 256, "ema": 0.0},
    ),
    "adversarial_forest": replace(RING, at_least=0.5, config={}, trainer={"epochs": 1, "batch_size": 4096}),
    "centroid_kernels": replace(_MOONS, trainer={"epochs": 1, "batch_size": 2048}),
    "gaussian": replace(_MOONS, at_least=-1.97, baseline=_independent, trainer={"epochs": 30, "batch_size": 256}),
    "gaussian_mixture": _MOONS,
    "histogram": replace(_MOONS, at_least=-1.88, baseline=_independent, trainer={"epochs": 1, "batch_size": 256}),
    "kernel_density": _MOONS,
    "ldcof": replace(
        ENERGY,
        measure="8x8 digits: AUROC of the score, images with shuffled pixels",
        trainer={"epochs": 1, "batch_size": 2048},
    ),
    "learned_warps": Toy(
        data=_few_digits,
        spec=DataSpec.image(1, 8, 8, 10),
        level=_nearest_with_warps,
        at_least=0.015,
        measure="8x8 digits, three a class: accuracy of the nearest example gained by forty warps of each",
        baseline=lambda seed: 0.0,
        trainer={"epochs": 1, "batch_size": 1024, "ema": 0.0},
    ),
    "principal_mixture": replace(_MOONS, trainer={"steps": 60, "batch_size": 2048}),
}
