"""Kernel density estimate with Gaussian kernels.

Sources: Rosenblatt 1956; Parzen, On Estimation of a Probability Density Function and Mode, 1962; the bandwidth by
leave-one-out likelihood: Duin, On the Choice of Smoothing Parameters for Parzen Estimators, 1976.

Idea: examples c_j of the training data are the model, each with a Gaussian around it:

    p(x) = 1/m · sum_j N(x; c_j, h² I);   score: -log p(x) in nats

h is fitted by maximising the likelihood of training examples, each without its own kernel.
Shapes: x ``(n, *shape)``, flattened to d values; centres ``(centres, d)``.
The centres are taken from the batches of the first steps, until ``centres`` are kept or all examples have been seen
once. An example that equals a centre in every value counts as that centre in training, so repeated rows do not pull h
to 0; h is at least ``floor``.

Use it for: the density of few dimensions of any shape, and as the baseline that a learned detector must beat.

Not for: many columns or images: distances become alike, and each example costs a kernel; use `realnvp` for a density,
`vae` for anomalies. Sampling: `gaussian_mixture`.

Symbols:
    c_j        KernelDensity.centres
    h          KernelDensity.bandwidth
    p(x)       KernelDensity.log_prob
    without its own kernel   KernelDensity.loss
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganlib.config import Config, Count, Rate
from ganlib.data.spec import DataSpec
from ganlib.losses.divergence import log_sum_exp, wide
from ganlib.models.baselines.density import Density
from ganlib.registry import register
from ganlib.training.algorithm import Batch, Losses, Phase

MODALITIES = ("points", "table", "image", "series")


@dataclass(frozen=True, kw_only=True)
class KernelConfig(Config):
    """``centres``: the most examples that are kept; ``floor`` of the bandwidth."""

    centres: Count = 1000
    floor: Rate = 0.01
    learning_rate: Rate = 2e-2


@register(
    "kernel_density",
    config=KernelConfig,
    modalities=MODALITIES,
    paper="Parzen, On Estimation of a Probability Density Function and Mode, 1962",
)
class KernelDensity(Density):
    """One player, the log-bandwidth; the centres are buffers."""

    config: KernelConfig
    centres: Tensor
    kept: Tensor

    def __init__(self, spec: DataSpec, config: KernelConfig) -> None:
        super().__init__(spec, config)
        self.log_bandwidth = nn.Parameter(torch.zeros(()))
        self.register_buffer("centres", torch.zeros(config.centres, spec.dim))
        self.register_buffer("kept", torch.zeros((), dtype=torch.int64))

    def phases(self) -> tuple[Phase, ...]:
        """Leave-one-out likelihood; then more centres."""
        return (Phase("density", self.loss, after=(self.keep,)),)

    def prepare(self, batch: Batch) -> None:
        """The first centres."""
        self.keep(batch)

    @torch.no_grad()
    def keep(self, batch: Batch) -> None:
        """Keep the batch's examples that are not centres yet, while there is room."""
        room = self.config.centres - int(self.kept)
        if room:
            x, start = wide(batch.x).flatten(1), int(self.kept)
            known = self.centres[:start]
            if start:
                x = x[~_equal(x, known).any(1)]
            x = x[:room]
            self.centres[start : start + len(x)] = x
            self.kept += len(x)

    def bandwidth(self) -> Tensor:
        """h, a scalar."""
        return self.log_bandwidth.exp().clamp_min(self.config.floor)

    def _log_kernels(self, x: Tensor) -> Tensor:
        """Log-kernels of examples at centres, ``(n, centres)``; those of unused rows are very small."""
        x = wide(x).flatten(1)
        squares = (x.square().sum(1, keepdim=True) - 2 * x @ self.centres.T + self.centres.square().sum(1)).clamp_min(0)
        h = self.bandwidth()
        logs = -0.5 * squares / h.square() - x.shape[1] * (h.log() + 0.5 * math.log(2 * math.pi))
        used = torch.arange(len(self.centres), device=x.device) < self.kept
        return torch.where(used, logs, -1e30)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats, ``(n,)``."""
        with torch.autocast(x.device.type, enabled=False):
            return log_sum_exp(self._log_kernels(x)) - self.kept.clamp_min(1).to(torch.float32).log()

    def loss(self, batch: Batch) -> Losses:
        """Negative log-likelihood, each example without the centre that it is."""
        with torch.autocast(batch.x.device.type, enabled=False):
            x = wide(batch.x).flatten(1)
            own = _equal(x, self.centres)
            logs = self._log_kernels(batch.x).masked_fill(own, -1e30)
            others = (self.kept - own.sum(1)).clamp_min(1).log()
            return Losses(nll=(others - log_sum_exp(logs)).mean())

    def validation_loss(self, batch: Batch) -> Tensor:
        """-log p of held-out examples."""
        return -self.log_prob(batch.x).mean()

    def couples_batch(self) -> str:
        """The centres come from the batches."""
        return "the centres are examples of the batches"


def _equal(x: Tensor, centres: Tensor) -> Tensor:
    """Whether examples ``(n, d)`` equal centres ``(m, d)`` in every value, ``(n, m)``."""
    return torch.cdist(x, centres, compute_mode="donot_use_mm_for_euclid_dist") == 0
