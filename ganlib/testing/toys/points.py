"""Points on a ring of modes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ganlib.data.spec import DataSpec
from ganlib.testing.problems import modes_found, ring
from ganlib.testing.toy import Toy


def _mode_quality(points: Tensor) -> float:
    modes, share = modes_found(points, deviation=0.1)
    return modes / 8 * share


@torch.no_grad()
def ring_level(algorithm: Any, seed: int) -> float:
    """Share of the eight modes reached times the share of points within three deviations of one (0 to 1)."""
    sampler = algorithm.sampler()
    z = torch.randn(2000, sampler.latent_dim, generator=torch.Generator().manual_seed(seed))
    return _mode_quality(sampler(z))


def gaussian_level(seed: int) -> float:
    """The same for points of the single best Gaussian."""
    x, _ = ring(2000, seed)
    g = torch.Generator().manual_seed(seed)
    return _mode_quality(x.mean(0) + x.std(0) * torch.randn(2000, 2, generator=g))


RING = Toy(
    data=lambda seed: {"x": ring(4096, seed, deviation=0.1)[0]},
    spec=DataSpec.vector(2),
    level=ring_level,
    at_least=0.4,
    measure="8-Gaussian ring: modes reached × points near one",
    baseline=gaussian_level,
    trainer={"steps": 3000, "batch_size": 128, "ema": 0.995},
)
