"""Glow for vectors: an invertible network with exact likelihood.

Paper: Kingma & Dhariwal, Glow: Generative Flow with Invertible 1x1 Convolutions, arXiv 1807.03039, 2018.

Idea: x is mapped to z = f(x) by invertible steps, each ActNorm -> invertible linear map -> affine coupling, and

    log p(x) = log N(f(x); 0, I) + sum over steps log |det df_i|                              (equation 6)

ActNorm is initialised from the first batch to zero mean and unit variance (section 3.1).
Shapes: x, z ``(n, d)``, d >= 2.
Deviations: fully connected couplings for vectors; the linear map is a dense matrix with its log-determinant by LU
(the paper's option, table 1); coupling scales are bounded by tanh for safety.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from ganlib.config import Config, Count, Rate
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.losses.divergence import wide
from ganlib.nn.mlp import MLP
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase


@dataclass(frozen=True, kw_only=True)
class GlowConfig(Config):
    """``flow_steps``: number of ActNorm-linear-coupling steps."""

    flow_steps: Count = 8
    hidden: tuple[Count, ...] = (64, 64)
    learning_rate: Rate = 1e-3


class FlowStep(nn.Module):
    """One step: ``forward`` returns ``(y, log|det|)``, ``inverse`` undoes it."""

    def __init__(self, dim: int, hidden: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__()
        self.first = dim // 2
        self.shift, self.log_scale = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))
        rotation, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator))
        self.weight = nn.Parameter(rotation.contiguous())
        self.coupling = MLP(self.first, hidden, 2 * (dim - self.first))
        nn.init.zeros_(self.coupling.head.weight)
        nn.init.zeros_(self.coupling.head.bias)

    def _affine(self, first: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.coupling(first).chunk(2, 1)
        return 2 * torch.tanh(log_scale / 2), shift

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """ActNorm's data-dependent initialisation."""
        self.shift.copy_(-x.mean(0))
        self.log_scale.copy_(-x.std(0).clamp_min(1e-3).log())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Towards the latent."""
        x = (x + self.shift) * self.log_scale.exp()
        x = x @ self.weight.T
        first, second = x[:, : self.first], x[:, self.first :]
        log_scale, shift = self._affine(first)
        y = torch.cat([first, second * log_scale.exp() + shift], 1)
        constant = self.log_scale.sum() + torch.linalg.slogdet(self.weight).logabsdet
        return y, constant + log_scale.sum(1)

    def inverse(self, y: Tensor) -> Tensor:
        """Back to the data."""
        first, second = y[:, : self.first], y[:, self.first :]
        log_scale, shift = self._affine(first)
        x = torch.cat([first, (second - shift) * (-log_scale).exp()], 1)
        x = torch.linalg.solve(self.weight, x.T).T
        return x * (-self.log_scale).exp() - self.shift


@register(
    "glow",
    config=GlowConfig,
    modalities=("points", "table"),
    paper="Kingma & Dhariwal, Glow: Generative Flow with Invertible 1x1 Convolutions, arXiv 1807.03039, 2018",
    known_gaps={"export": "small proving model: its full catalogue check and export come with the density family"},
)
class Glow(Algorithm):
    """One player, trained by maximum likelihood."""

    config: GlowConfig
    steps: Sequence[FlowStep]

    def __init__(self, spec: DataSpec, config: GlowConfig) -> None:
        super().__init__()
        if spec.dim < 2:
            raise ConfigError(
                "glow needs at least 2 values per row, because a coupling transforms one half given the other"
            )
        self.spec, self.config = spec, config
        generator = torch.Generator().manual_seed(1807)
        steps = nn.ModuleList(FlowStep(spec.dim, config.hidden, generator) for _ in range(config.flow_steps))
        self.steps = cast("Sequence[FlowStep]", steps)

    def players(self) -> dict[str, nn.Module]:
        """One player."""
        return {"flow": self}

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam (the authors use Adamax)."""
        return {"flow": Optimiser("adam", self.config.learning_rate, (0.9, 0.999))}

    def phases(self) -> tuple[Phase, ...]:
        """Maximum likelihood."""
        return (Phase("flow", self.loss),)

    def prepare(self, batch: Batch) -> None:
        """ActNorm from the first batch, step by step."""
        x = batch.x
        for step in self.steps:
            step.initialise(x)
            x, _ = step(x)

    def flow(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(z, log|det dz/dx|)``, shapes ``(n, d)`` and ``(n,)``."""
        total = torch.zeros(len(x), device=x.device)
        # Rounding accumulates over the steps; in half precision, inverse and likelihood have two correct digits.
        with torch.autocast(x.device.type, enabled=False):
            x = wide(x)
            for step in self.steps:
                x, log_det = step(x)
                total = total + log_det
        return x, total

    def inverse(self, z: Tensor) -> Tensor:
        """x with ``flow(x)[0] == z``."""
        with torch.autocast(z.device.type, enabled=False):
            z = wide(z)
            for step in reversed(self.steps):
                z = step.inverse(z)
        return z

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log density in nats, ``(n,)``."""
        z, log_det = self.flow(x)
        return log_det - 0.5 * (z.square() + math.log(2 * math.pi)).sum(1)

    def loss(self, batch: Batch) -> Losses:
        """Negative log-likelihood per row."""
        return Losses(nll=-self.log_prob(batch.x).mean())

    def validation_loss(self, batch: Batch) -> Tensor:
        """The same on held-out rows."""
        return self.loss(batch).total
