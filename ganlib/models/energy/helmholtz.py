"""Helmholtz machine: a sigmoid belief net trained by the wake-sleep algorithm.

Papers: Hinton, Dayan, Frey & Neal, The Wake-Sleep Algorithm for Unsupervised Neural Networks, Science 268, 1995; Dayan
et al., The Helmholtz Machine, Neural Computation 7, 1995.

Idea: a generative net draws binary units layer by layer from the top, a recognition net draws them from the data
upwards. Each is trained on what the other draws, with no gradient through samples:

    wake    h ~ q(h|x), x from the data:  the generative net minimises -log p(x, h)
    sleep   (x, h) ~ p(x, h):             the recognition net minimises -log q(h|x)
    p(x, h) = p(h_L) p(h_{L-1}|h_L) ... p(x|h_1),   q(h|x) = q(h_1|x) q(h_2|h_1) ...,  units s(b + W h)

The score is minus the importance bound log (1/k) sum p(x, h_i)/q(h_i|x) (Burda et al., arXiv 1509.00519, equation 8),
over a fixed table of ``score_samples`` uniform numbers, so that scoring is pure.
Shapes: x ``(n, *shape)``, flattened; h_l ``(n, hidden[l])``.
Units: as in RBM, so that pixels in [-1, 1] are the probabilities (x + 1) / 2; numbers have variance 1.
Defaults: two layers and Adam 1e-3 are ours; the papers use plain gradient steps.
Deviations: the sleep phase minimises KL(p || q), not the bound, as in the papers; nothing corrects for it.

Use it for: a baseline on binary data, and a generator of binary tables or images whose codes are binary.
Not for: the best likelihood, which ``iwae`` reaches, or numbers, whose fixed variance ``vae`` learns.
Symbols:
    p(h_l|h_{l+1})   ``down``; ``top``, the biases of the top layer
    q(h_{l+1}|h_l)   ``up``
    wake, sleep      ``wake_loss``, ``sleep_loss``
    log p - log q    ``log_weights``
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ganlib.config import Config, Count, Rate
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.losses.divergence import log_sum_exp
from ganlib.losses.table import row_nll
from ganlib.models.energy.dbn import Score
from ganlib.models.energy.rbm import MODALITIES, as_visible, draw_visible, uniform_like, visible_blocks
from ganlib.nn.gaussian import normal_cdf
from ganlib.nn.sampler import Sampler, sampler_for
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase


@dataclass(frozen=True, kw_only=True)
class HelmholtzConfig(Config):
    """``hidden``: units of each layer from the data upwards; ``score_samples``: draws of the score's bound."""

    hidden: tuple[Count, ...] = (64, 32)
    learning_rate: Rate = 1e-3
    score_samples: Count = 16


def log_units(logits: Tensor, h: Tensor) -> Tensor:
    """Log-probability of binary units ``h`` under sigmoid(logits), summed over the last axis."""
    return (h * logits - softplus(logits)).sum(-1)


class Dream(nn.Module):
    """The generative net: standard normal noise ``(n, units)`` to the logits ``(n, *shape)`` of visible units.

    Those of pixels are halved, since tanh(l / 2) = 2 s(l) - 1.
    """

    def __init__(self, top: Tensor, down: nn.ModuleList, spec: DataSpec) -> None:
        super().__init__()
        self.top, self.down = nn.Parameter(top.detach().clone()), down
        self.sizes = [len(top), *(net.out_features for net in list(down)[:0:-1])]
        self.shape, self.scale = spec.shape, 0.5 if spec.kind == "image" else 1.0

    def forward(self, z: Tensor) -> Tensor:
        """Generate."""
        noise = normal_cdf(z).split(self.sizes, 1)
        logits = self.top.expand(len(z), -1)
        for u, net in zip(noise, list(self.down)[::-1], strict=True):
            logits = net((u < torch.sigmoid(logits)).to(z.dtype))
        return (self.scale * logits).unflatten(1, self.shape)


@register(
    "helmholtz",
    config=HelmholtzConfig,
    modalities=MODALITIES,
    paper="Hinton, Dayan, Frey & Neal, The Wake-Sleep Algorithm for Unsupervised Neural Networks, Science 268, 1995",
)
class Helmholtz(Algorithm):
    """Players ``generative`` and ``recognition``."""

    config: HelmholtzConfig
    table: Tensor

    def __init__(self, spec: DataSpec, config: HelmholtzConfig) -> None:
        super().__init__()
        if not config.hidden:
            raise ConfigError("hidden names the width of each layer, at least one")
        self.spec, self.config, self.blocks = spec, config, visible_blocks(spec)
        widths = (spec.dim, *config.hidden)
        self.up = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.down = nn.ModuleList(nn.Linear(b, a) for a, b in pairwise(widths))
        self.top = nn.Parameter(torch.zeros(config.hidden[-1]))
        generator = torch.Generator().manual_seed(1995)
        self.register_buffer("table", torch.rand(config.score_samples, sum(config.hidden), generator=generator))

    def players(self) -> dict[str, list[nn.Module]]:
        """The two nets."""
        return {"generative": [self.down, nn.ParameterList([self.top])], "recognition": [self.up]}

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam for both."""
        return dict.fromkeys(self.players(), Optimiser("adam", self.config.learning_rate, (0.9, 0.999)))

    def phases(self) -> tuple[Phase, ...]:
        """Wake, then sleep."""
        return (Phase("generative", self.wake_loss), Phase("recognition", self.sleep_loss))

    # ---------------------------------------------------------------- the two nets
    def recognise(self, v: Tensor, noise: Tensor) -> list[Tensor]:
        """Hidden units from the data upwards, ``noise (..., units)`` uniform."""
        found, below = [], v
        for net, u in zip(self.up, noise.split(list(self.config.hidden), -1), strict=True):
            below = (u < torch.sigmoid(net(below))).to(v.dtype)
            found.append(below)
        return found

    def log_recognition(self, v: Tensor, h: Sequence[Tensor]) -> Tensor:
        """log q(h|x)."""
        parts = [log_units(net(below), above) for net, below, above in zip(self.up, (v, *h), h, strict=False)]
        return torch.stack(parts).sum(0)

    def log_generation(self, v: Tensor, h: Sequence[Tensor]) -> Tensor:
        """log p(x, h)."""
        total = log_units(self.top, h[-1])
        for net, below, above in zip(list(self.down)[1:], h, h[1:], strict=False):
            total = total + log_units(net(above), below)
        rows = v.expand(*h[0].shape[:-1], -1).flatten(0, -2)
        logits = self.down[0](h[0]).flatten(0, -2)
        return total - row_nll(self.blocks, logits, torch.zeros_like(logits), rows).sum(1).view_as(total)

    def dream(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """Visible and hidden units drawn from the top."""
        logits, found = self.top.expand(len(batch), -1), list[Tensor]()
        for net in list(self.down)[::-1]:
            h = (uniform_like(logits, batch) < torch.sigmoid(logits)).to(logits.dtype)
            found.insert(0, h)
            logits = net(h)
        return draw_visible(self.blocks, logits, uniform_like(logits, batch)), found

    # ---------------------------------------------------------------- losses
    def wake_loss(self, batch: Batch) -> Losses:
        """-log p(x, h) of recognised examples, nats per row."""
        v = as_visible(self.spec, batch.x)
        with torch.no_grad():
            h = self.recognise(v, batch.rand(sum(self.config.hidden)))
        return Losses(wake=-self.log_generation(v, h).mean())

    def sleep_loss(self, batch: Batch) -> Losses:
        """-log q(h|x) of dreamt examples, nats per row."""
        with torch.no_grad():
            v, h = self.dream(batch)
        return Losses(sleep=-self.log_recognition(v, h).mean())

    def log_weights(self, x: Tensor, noise: Tensor) -> Tensor:
        """log p(x, h_i) - log q(h_i|x), ``(n, k)``, from ``noise (k, units)`` or ``(n, k, units)``, uniform."""
        v = as_visible(self.spec, x).unsqueeze(1)
        h = self.recognise(v, noise.expand(len(x), -1, -1))
        return self.log_generation(v, h) - self.log_recognition(v, h)

    def bound(self, x: Tensor, noise: Tensor) -> Tensor:
        """The importance bound on log p(x), ``(n,)``; ``noise`` as in ``log_weights``."""
        weights = self.log_weights(x, noise)
        return log_sum_exp(weights) - math.log(weights.shape[1])

    def validation_loss(self, batch: Batch) -> Tensor:
        """The negative bound on held-out rows."""
        return self.score(batch.x).mean()

    def couples_batch(self) -> str:
        """Dreams are drawn for the whole batch."""
        return "dreams draw noise for each process's own examples"

    # ---------------------------------------------------------------- use
    def encode(self, x: Tensor) -> Tensor:
        """Recognition probabilities of the top units at the means below, ``(n, hidden[-1])``."""
        v = as_visible(self.spec, x)
        for net in self.up:
            v = torch.sigmoid(net(v))
        return v

    def score(self, x: Tensor) -> Tensor:
        """The negative bound over the fixed table."""
        return -self.bound(x, self.table)

    def scorer(self) -> nn.Module:
        """The negative bound, for export."""
        return Score(self).eval()

    def sampler(self) -> Sampler:
        """Ancestral sampling; images are the probabilities of their pixels."""
        dream = Dream(self.top, self.down, self.spec)
        return sampler_for(dream, sum(self.config.hidden), self.spec, torch.ones(self.spec.dim))
