"""Denoising score model for vectors: the gradient of the log-density at several levels of noise.

Papers: Vincent, A Connection Between Score Matching and Denoising Autoencoders, Neural Computation 23, 2011; Song &
Ermon, Generative Modeling by Estimating Gradients of the Data Distribution, arXiv 1907.05600, NeurIPS 2019; the score
of anomalies after Mahmood, Oliva & Styner, Multiscale Score Matching for Out-of-Distribution Detection, arXiv
2010.13132, ICLR 2021.

Idea: a network that finds the noise e in x + sigma · e knows the gradient of the noisy density, -E[e|x] / sigma:

    minimise   E_sigma E_e ||e - e(x + sigma · e, sigma)||² / d                                       (denoising)
    score      mean over levels of ||e(x, sigma)||² / d: how far the model would move x at each level
    sampling   x from the largest sigma down by x += (sigma' - sigma) · e(x, sigma)            (probability flow, Euler)

Shapes: x ``(n, d)``; ``levels`` values of sigma in a geometric row from ``largest`` to ``smallest``.
Defaults: 10 levels from 3 to 0.1 for columns of deviation about 1; Adam 1e-3.
Deviations: the network predicts noise (weight sigma² of the squared score error, as the paper's); Mahmood et al. fit a
second density to the vector of norms, of which we take the mean; Euler steps replace annealed Langevin dynamics, so
that sampling is a fixed graph.

Use it for: anomalies in tables at several scales of distance, and samples, from one network without adversary or bound.

Not for: log-densities: it knows their gradient only; use `realnvp`. Images and series: its network is for vectors; use
`reconstruction_vae`. Anomalies with a benchmark over tables: `vae` (.864 over 16).

Symbols:
    e(x, sigma)     NoiseFinder
    sigma           DenoisingScore.sigmas
    ||e - e(x + sigma · e, sigma)||²   DenoisingScore.loss, loss term denoising
    gradient of the log-density   DenoisingScore.gradient
    score           ScoreNorm
    sampling        FlowDown
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ganlib.config import Config, Count, Rate, Weight
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.losses.divergence import wide
from ganlib.nn.layers import bake
from ganlib.nn.mlp import MLP
from ganlib.nn.sampler import Sampler
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase


@dataclass(frozen=True, kw_only=True)
class DenoisingScoreConfig(Config):
    """``levels`` of noise from ``largest`` to ``smallest``; ``sampling_steps`` of the sampler.

    ``predicts``: the network's output, the noise or the example without it. Far from the data the noise found then
    grows with the distance, since the network's output does not.
    """

    hidden: tuple[Count, ...] = (128, 128)
    levels: Count = 10
    largest: Weight = 3.0
    smallest: Weight = 0.1
    sampling_steps: Count = 20
    predicts: Literal["noise", "example"] = "noise"
    learning_rate: Rate = 1e-3


class NoiseFinder(nn.Module):
    """The noise in ``x (n, d)`` at level ``sigma (n, 1)``; inputs are scaled by 1 / sqrt(1 + sigma²).

    ``of_example``: the network finds the example, and the noise is what is left of x, over sigma.
    """

    def __init__(self, dim: int, hidden: tuple[int, ...], of_example: bool = False) -> None:
        super().__init__()
        self.net, self.of_example = MLP(dim + 1, hidden, dim, "silu"), of_example

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Find noise."""
        found = self.net(torch.cat([x / (1 + sigma.square()).sqrt(), sigma.log()], 1))
        return (x - found) / sigma if self.of_example else found


@register(
    "denoising_score",
    config=DenoisingScoreConfig,
    modalities=("points", "table"),
    paper="Vincent, A Connection Between Score Matching and Denoising Autoencoders, Neural Computation 23, 2011",
)
class DenoisingScore(Algorithm):
    """One player, which removes noise."""

    config: DenoisingScoreConfig

    def __init__(self, spec: DataSpec, config: DenoisingScoreConfig) -> None:
        super().__init__()
        if not config.largest > config.smallest > 0:
            raise ConfigError(
                f"noise falls from largest to smallest, above 0: {config.largest:g} to {config.smallest:g} does not"
            )
        self.spec, self.config = spec, config
        self.finder = NoiseFinder(spec.dim, config.hidden, config.predicts == "example")

    def players(self) -> dict[str, nn.Module]:
        """One player."""
        return {"finder": self.finder}

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam."""
        return {"finder": Optimiser("adam", self.config.learning_rate, (0.9, 0.999))}

    def phases(self) -> tuple[Phase, ...]:
        """One update a step."""
        return (Phase("finder", self.loss),)

    def sigmas(self, count: int) -> Tensor:
        """``count`` levels in a geometric row, largest first."""
        share = torch.linspace(0, 1, count)
        return self.config.largest * (self.config.smallest / self.config.largest) ** share

    def loss(self, batch: Batch) -> Losses:
        """The squared error of the noise found, each example at a random level."""
        sigma = self.config.largest * (self.config.smallest / self.config.largest) ** batch.rand(1)
        noise = batch.randn(self.spec.dim)
        return Losses(denoising=(wide(self.finder(batch.x + sigma * noise, sigma)) - noise).square().mean())

    def validation_loss(self, batch: Batch) -> Tensor:
        """The same on held-out rows."""
        return self.loss(batch).total

    def gradient(self, x: Tensor, sigma: float) -> Tensor:
        """The gradient of the log-density of data with noise sigma, ``(n, d)``."""
        return -self.finder(x, torch.full_like(x[:, :1], sigma)) / sigma

    def scorer(self) -> nn.Module:
        """How far the model would move rows, over the levels."""
        return ScoreNorm(self.finder, self.sigmas(self.config.levels)).eval()

    def sampler(self) -> Sampler:
        """Noise down the probability flow."""
        return FlowDown(bake(self.finder), self.sigmas(self.config.sampling_steps), self.spec).eval()


class ScoreNorm(nn.Module):
    """Mean over levels of the squared noise found in rows: ``(n, d) -> (n,)``."""

    def __init__(self, finder: nn.Module, sigmas: Tensor) -> None:
        super().__init__()
        self.finder, self.levels = finder, [float(sigma) for sigma in sigmas]

    def forward(self, x: Tensor) -> Tensor:
        """Score rows."""
        return self.residual(x).sum(1)

    def residual(self, x: Tensor) -> Tensor:
        """The contribution of each position: ``(n, d) -> (n, d)``."""
        found = [self.finder(x, torch.full_like(x[:, :1], sigma)).square() for sigma in self.levels]
        return torch.stack(found).sum(0) / (len(found) * x.shape[1])


class FlowDown(Sampler):
    """``z (n, d)`` to rows ``(n, d)`` by Euler steps from the largest level; the last step removes all noise."""

    def __init__(self, finder: nn.Module, sigmas: Tensor, spec: DataSpec) -> None:
        super().__init__()
        self.finder, self.latent_dim, self.blocks = finder, spec.dim, spec.blocks
        self.levels = [float(sigma) for sigma in sigmas]

    def forward(self, z: Tensor) -> Tensor:
        """Generate."""
        # Data of deviation 1 under the largest noise.
        x = z * (1 + self.levels[0] ** 2) ** 0.5
        for sigma, below in zip(self.levels, [*self.levels[1:], 0.0], strict=True):
            x = x + (below - sigma) * self.finder(x, torch.full_like(x[:, :1], sigma))
        if all(block.kind != "binary" for block in self.blocks):
            return x
        parts = [(p > 0.5).to(p.dtype) if b.kind == "binary" else p for b in self.blocks for p in [x[:, b.slice]]]
        return torch.cat(parts, 1)
