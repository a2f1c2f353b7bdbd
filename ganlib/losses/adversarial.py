"""Adversarial objectives as rows of one table. Critics return logits; the row owns the link function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ganlib.errors import ConfigError


@dataclass(frozen=True)
class Objective:
    """One adversarial game: ``critic(real, fake)`` and ``generator(fake)`` map logits to scalars to be minimised."""

    name: str
    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    source: str


OBJECTIVES: dict[str, Objective] = {
    row.name: row
    for row in (
        Objective(
            "gan",
            lambda real, fake: softplus(-real).mean() + softplus(fake).mean(),
            lambda fake: softplus(-fake).mean(),
            "Goodfellow et al., arXiv 1406.2661, non-saturating generator loss",
        ),
        Objective(
            "least_squares",
            lambda real, fake: 0.5 * ((real - 1).square().mean() + fake.square().mean()),
            lambda fake: 0.5 * (fake - 1).square().mean(),
            "Mao et al., arXiv 1611.04076, equation 9 (a, b, c = 0, 1, 1)",
        ),
        Objective(
            "wgan",
            lambda real, fake: fake.mean() - real.mean(),
            lambda fake: -fake.mean(),
            "Arjovsky et al., arXiv 1701.07875, equations 2 and 3",
        ),
        Objective(
            "hinge",
            lambda real, fake: (1 - real).relu().mean() + (1 + fake).relu().mean(),
            lambda fake: -fake.mean(),
            "Zhang et al., arXiv 1805.08318, equation 4",
        ),
    )
}


def objective(name: str) -> Objective:
    """The row of this name; raises ConfigError naming all."""
    if name not in OBJECTIVES:
        raise ConfigError(f"no adversarial objective is called {name!r}; choose {', '.join(sorted(OBJECTIVES))}")
    return OBJECTIVES[name]


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """Two-sided penalty E (||grad D(mix·real + (1-mix)·fake)|| - 1)² at interpolates, a scalar without its weight.

    ``mix`` is uniform [0, 1) of shape ``(n, 1, ...)``. Source: Gulrajani et al., arXiv 1704.00028, equation 3.
    """
    between = (mix * real + (1 - mix) * fake).detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()
