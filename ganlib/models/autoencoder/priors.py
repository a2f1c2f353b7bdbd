"""Priors that a game on latents can impose: modules from standard normal noise to latents, by name.

A prior need not have a density, since a critic only compares samples. A new one is one row of ``PRIORS``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ganlib.errors import ConfigError
from ganlib.nn.gaussian import normal_cdf


class Prior(nn.Module):
    """``forward(z (n, noise))``, z standard normal, returns latents ``(n, size)``; exportable."""

    def __init__(self, size: int, noise: int) -> None:
        super().__init__()
        self.size, self.noise = size, noise


class Normal(Prior):
    """N(0, I)."""

    def __init__(self, size: int) -> None:
        super().__init__(size, size)

    def forward(self, z: Tensor) -> Tensor:
        """The noise itself."""
        return z


class Uniform(Prior):
    """Uniform in [-1, 1]."""

    def __init__(self, size: int) -> None:
        super().__init__(size, size)

    def forward(self, z: Tensor) -> Tensor:
        """By the normal distribution function."""
        return 2 * normal_cdf(z) - 1


def one_of(z: Tensor, count: int) -> Tensor:
    """One of ``count`` classes with equal chances, one-hot ``(n, count)``, from standard normal ``z (n, 1)``."""
    passed = (normal_cdf(z) * count > torch.arange(1, count, device=z.device)).to(z.dtype)
    return torch.cat([torch.ones_like(z), passed], 1) - torch.cat([passed, torch.zeros_like(z)], 1)


class Categorical(Prior):
    """One of ``size`` classes with equal chances, one-hot."""

    def __init__(self, size: int) -> None:
        super().__init__(size, 1)

    def forward(self, z: Tensor) -> Tensor:
        """By the normal distribution function."""
        return one_of(z, self.size)


class Mixture(Prior):
    """Ten Gaussians of deviation 1/2 on a circle of radius 4 in the first two dimensions, N(0, 1/4) in the others."""

    centres: Tensor

    def __init__(self, size: int, modes: int = 10) -> None:
        if size < 2:
            raise ConfigError("prior='mixture' lies in a plane: latent_dim must be 2 or more")
        super().__init__(size, size + 1)
        angle, centres = 2 * math.pi * torch.arange(modes) / modes, torch.zeros(modes, size)
        centres[:, 0], centres[:, 1] = 4 * angle.cos(), 4 * angle.sin()
        self.register_buffer("centres", centres)

    def forward(self, z: Tensor) -> Tensor:
        """A centre and noise."""
        return one_of(z[:, -1:], len(self.centres)) @ self.centres + 0.5 * z[:, :-1]


class SwissRoll(Prior):
    """A spiral of one and a half turns in the plane, uniform along its length, with noise of deviation 0.1."""

    def __init__(self, size: int) -> None:
        if size != 2:
            raise ConfigError(f"prior='swiss_roll' lies in the plane: set latent_dim=2, not {size}")
        super().__init__(size, 3)

    def forward(self, z: Tensor) -> Tensor:
        """A position along the spiral and noise."""
        angle = 3 * math.pi * normal_cdf(z[:, :1]).sqrt()
        return torch.cat([angle.cos(), angle.sin()], 1) * angle / math.pi + 0.1 * z[:, 1:]


PRIORS: dict[str, Callable[[int], Prior]] = {
    "normal": Normal, "uniform": Uniform, "mixture": Mixture, "swiss_roll": SwissRoll,
}  # fmt: skip


def prior(name: str, size: int) -> Prior:
    """The prior of this name for latents ``(n, size)``; raises ConfigError on an unknown name."""
    if name not in PRIORS:
        raise ConfigError(f"no prior is called {name!r}; choose {', '.join(PRIORS)}, or add a row to PRIORS")
    return PRIORS[name](size)
