"""Flows for vectors: invertible layers with exact likelihood, and the two smallest models of them.

Papers: Dinh, Krueger & Bengio, NICE: Non-linear Independent Components Estimation, arXiv 1410.8516, 2014; Dinh,
Sohl-Dickstein & Bengio, Density Estimation using Real NVP, arXiv 1605.08803, ICLR 2017.

Idea: x is mapped to z = f(x) by invertible layers, and

    log p(x) = log N(f(x); 0, I) + sum over layers log |det df_i|

A coupling changes one half of the values by a network of the other: ``y2 = x2 + m(x1)`` in NICE, whose determinant is
1 up to a last scaling of each value; ``y2 = x2 · exp(s(x1)) + m(x1)`` in Real NVP. Between couplings, values change
places. Shapes: x, z ``(n, d)``, d >= 2.
Defaults: 8 couplings of two layers of 64 units, Adam 1e-3.
Deviations: places are reversed, not masked in a chequerboard, since vectors have no neighbours; Real NVP has Glow's
ActNorm, initialised from the first batch, where its paper has batch norm; a Gaussian prior for NICE too (its paper
prefers the logistic one for some data); scales are bounded by tanh. Flags, one-hots and what is constant in the first
batch get Gaussian noise of deviation ``noise`` in training, because a density of discrete values has no bound.
The score is -log p(x); ``score="typicality"`` is its distance from the mean over training batches, which also finds
examples that are *more* likely than usual ones: a flow gives such to data off the distribution.

Use it for (realnvp): exact densities of tables and points that bend, with samples from the same model.

Not for (realnvp): anomalies that are *more* likely than usual rows: set ``score="typicality"``, or use `vae`. Images
and series: these couplings are for vectors; use `vq_vae` or `ganomaly`. Few rows of many columns: `gaussian`.

Use it for (nice): exact densities where the map must keep volumes up to a scale of each value, the simplest of the
flows.

Not for (nice): densities that vary much from place to place: additive couplings cannot stretch; use `realnvp` or
`glow`. Images and series, as for `realnvp`.

Symbols:
    f(x)              Flow.flow
    log |det df_i|    second result of Layer.forward
    s, m              Coupling._split
    log p(x)          Flow.log_prob
    noise             Flow.noisy, FlowConfig.noise
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from ganlib.config import Config, Count, Rate, Weight
from ganlib.data.fields import Block
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.losses.divergence import wide
from ganlib.losses.table import positions
from ganlib.nn.density import LogDensity
from ganlib.nn.mlp import MLP
from ganlib.nn.sampler import Sampler
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase

_MEMORY = 0.02


@dataclass(frozen=True, kw_only=True)
class LikelihoodConfig(Config):
    """``flow_steps``: couplings; ``score``: -log p(x), or its distance from the mean over training batches."""

    flow_steps: Count = 8
    score: Literal["likelihood", "typicality"] = "likelihood"
    learning_rate: Rate = 1e-3


@dataclass(frozen=True, kw_only=True)
class FlowConfig(LikelihoodConfig):
    """``noise``: deviation of the noise on discrete values in training."""

    hidden: tuple[Count, ...] = (64, 64)
    noise: Weight = 0.05


class Layer(nn.Module):
    """``forward`` returns ``(y, log|det|)``, the latter ``(n,)`` or a scalar; ``inverse`` undoes it."""

    def initialise(self, x: Tensor) -> None:
        """Data-dependent initialisation from the first batch, where a layer has one."""

    def fixed(self) -> Layer:
        """The trained layer with constants computed, for export."""
        return self

    def inverse(self, y: Tensor) -> Tensor:
        """Back to the data."""
        raise TypeError(f"{type(self).__name__} must define inverse()")


class ActNorm(Layer):
    """A shift and a scale of each value; with ``initialised``, mean 0 and variance 1 on the first batch."""

    def __init__(self, dim: int, initialised: bool = True) -> None:
        super().__init__()
        self.initialised = initialised
        self.shift, self.log_scale = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Mean 0 and variance 1."""
        if self.initialised:
            self.shift.copy_(-x.mean(0))
            self.log_scale.copy_(-x.std(0).clamp_min(0.05).log())  # an almost constant value is not blown up

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Towards the latent."""
        return (x + self.shift) * self.log_scale.exp(), self.log_scale.sum()

    def inverse(self, y: Tensor) -> Tensor:
        """Back to the data."""
        return y * (-self.log_scale).exp() - self.shift


class Reverse(Layer):
    """Values in reverse order."""

    places: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("places", torch.arange(dim - 1, -1, -1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Towards the latent."""
        return x[:, self.places], torch.zeros((), device=x.device, dtype=x.dtype)

    def inverse(self, y: Tensor) -> Tensor:
        """Back to the data."""
        return y[:, self.places]


class Coupling(Layer):
    """The second half of the values shifted, and scaled if ``affine``, by a network of the first; it starts as the
    identity."""

    def __init__(self, dim: int, hidden: tuple[int, ...], affine: bool = True) -> None:
        super().__init__()
        self.first, self.affine = dim // 2, affine
        self.net = self.network(self.first, hidden, (2 if affine else 1) * (dim - self.first))
        nn.init.zeros_(self.net.head.weight)
        nn.init.zeros_(self.net.head.bias)

    def network(self, inputs: int, hidden: tuple[int, ...], outputs: int) -> Any:
        """The network, whose last layer is ``head``."""
        return MLP(inputs, hidden, outputs)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        first, second = x[:, : self.first], x[:, self.first :]
        out = self.net(first)
        if not self.affine:
            return first, second, torch.zeros_like(out), out
        log_scale, shift = out.chunk(2, 1)
        return first, second, 2 * torch.tanh(log_scale / 2), shift

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Towards the latent."""
        first, second, log_scale, shift = self._split(x)
        return torch.cat([first, second * log_scale.exp() + shift], 1), log_scale.sum(1)

    def inverse(self, y: Tensor) -> Tensor:
        """Back to the data."""
        first, second, log_scale, shift = self._split(y)
        return torch.cat([first, (second - shift) * (-log_scale).exp()], 1)


class Invertible(Algorithm):
    """One player of invertible layers, trained by maximum likelihood; subclasses define ``build`` and ``noisy``."""

    config: LikelihoodConfig
    usual: Tensor

    def __init__(self, spec: DataSpec, config: LikelihoodConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        self.layers = nn.ModuleList(self.build())
        self.register_buffer("usual", torch.zeros(()))

    def build(self) -> Sequence[Layer]:
        """The layers, from data to latent."""
        raise TypeError(f"{type(self).__name__} must define build()")

    def players(self) -> dict[str, nn.Module]:
        """One player."""
        return {"flow": self}

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam."""
        return {"flow": Optimiser("adam", self.config.learning_rate, (0.9, 0.999))}

    def phases(self) -> tuple[Phase, ...]:
        """Maximum likelihood."""
        return (Phase("flow", self.loss),)

    def prepare(self, batch: Batch) -> None:
        """Data-dependent initialisation from the first batch, layer by layer."""
        x = self.noisy(batch)
        for layer in cast("Sequence[Layer]", self.layers):
            layer.initialise(x)
            x, _ = layer(x)

    def noisy(self, batch: Batch) -> Tensor:
        """The batch's examples, with noise on discrete values."""
        raise TypeError(f"{type(self).__name__} must define noisy()")

    def flow(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(z, log|det dz/dx|)``, shapes ``(n, d)`` and ``(n,)``; d is the number of values of an example."""
        # Rounding accumulates over the layers; in half precision, inverse and likelihood have two correct digits.
        with torch.autocast(x.device.type, enabled=False):
            x = wide(x)
            total = torch.zeros_like(x.flatten(1)[:, 0])
            for layer in self.layers:
                x, log_det = layer(x)
                total = total + log_det
        return x, total

    def inverse(self, z: Tensor) -> Tensor:
        """x with ``flow(x)[0] == z``."""
        with torch.autocast(z.device.type, enabled=False):
            z = wide(z)
            for layer in reversed(cast("Sequence[Layer]", self.layers)):
                z = layer.inverse(z)
        return z

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log density in nats, ``(n,)``."""
        z, log_det = self.flow(x)
        return log_det - 0.5 * (z.square() + math.log(2 * math.pi)).sum(1)

    def loss(self, batch: Batch) -> Losses:
        """Negative log-likelihood per row."""
        value = -batch.mean(self.log_prob(self.noisy(batch)))
        if self.training:
            with torch.no_grad():
                self.usual.lerp_(value, _MEMORY)
        return Losses(nll=value)

    def validation_loss(self, batch: Batch) -> Tensor:
        """The same on held-out rows."""
        return self.loss(batch).total

    # ---------------------------------------------------------------- use
    def frozen(self) -> Any:
        """A copy with the layers' constants computed, for export."""
        model = copy.deepcopy(self)
        model.layers = nn.ModuleList(layer.fixed() for layer in cast("Sequence[Layer]", model.layers))
        return model.eval()

    def density(self) -> nn.Module:
        """log p(x), for export."""
        return LogDensity(self.frozen())

    def scorer(self) -> nn.Module:
        """-log p(x), or how far it is from usual."""
        return FlowScorer(self.frozen()).eval()


class FlowScorer(nn.Module):
    """The score of examples: ``(n, *shape) -> (n,)``."""

    def __init__(self, model: Invertible) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Score examples."""
        nll = -self.model.log_prob(x)
        return nll if self.model.config.score == "likelihood" else (nll - self.model.usual).abs()


class Flow(Invertible):
    """Layers of vectors; subclasses define ``build``."""

    config: FlowConfig
    discrete: Tensor

    def __init__(self, spec: DataSpec, config: FlowConfig) -> None:
        if spec.dim < 2:
            raise ConfigError(
                "a flow needs at least 2 values per row, because a coupling transforms one half given the other"
            )
        super().__init__(spec, config)
        discrete = torch.ones(spec.dim)
        discrete[positions(spec.blocks, "number", spec.dim)] = 0
        self.register_buffer("discrete", discrete)

    def prepare(self, batch: Batch) -> None:
        """Data-dependent initialisation; what is constant in the first batch gets noise."""
        constant = batch.x.std(0) < self.config.noise
        self.discrete.copy_(torch.where(constant, torch.ones_like(self.discrete), self.discrete))
        super().prepare(batch)

    def noisy(self, batch: Batch) -> Tensor:
        """The batch's examples, with noise on flags, one-hots and constants."""
        if not self.config.noise:
            return batch.x
        return batch.x + self.config.noise * self.discrete * batch.randn(self.spec.dim)

    def sampler(self) -> Sampler:
        """Noise through the inverse."""
        return FlowSampler(self.frozen()).eval()


class FlowSampler(Sampler):
    """The inverse, ``z (n, d)`` to rows ``(n, d)``; flags are 0 or 1."""

    def __init__(self, model: Flow) -> None:
        super().__init__()
        self.model, self.latent_dim, self.blocks = model, model.spec.dim, model.spec.blocks

    def forward(self, z: Tensor) -> Tensor:
        """Generate."""
        x = self.model.inverse(z)
        return torch.cat([_settled(x, block) for block in self.blocks], 1) if self.blocks else x


def _settled(x: Tensor, block: Block) -> Tensor:
    part = x[:, block.slice]
    return (part > 0.5).to(part.dtype) if block.kind == "binary" else part


@register(
    "realnvp",
    config=FlowConfig,
    modalities=("points", "table"),
    paper="Dinh, Sohl-Dickstein & Bengio, Density Estimation using Real NVP, arXiv 1605.08803, ICLR 2017",
)
class RealNVP(Flow):
    """ActNorm, reversal and affine coupling."""

    def build(self) -> list[Layer]:
        """The layers."""
        dim, hidden = self.spec.dim, self.config.hidden
        steps = range(self.config.flow_steps)
        return [layer for _ in steps for layer in (ActNorm(dim), Reverse(dim), Coupling(dim, hidden))]


@register(
    "nice",
    config=FlowConfig,
    modalities=("points", "table"),
    paper="Dinh, Krueger & Bengio, NICE: Non-linear Independent Components Estimation, arXiv 1410.8516, 2014",
)
class NICE(Flow):
    """Reversal and additive coupling, and one scaling at the end."""

    def build(self) -> list[Layer]:
        """The layers."""
        dim, hidden = self.spec.dim, self.config.hidden
        steps = range(self.config.flow_steps)
        layers = [layer for _ in steps for layer in (Reverse(dim), Coupling(dim, hidden, affine=False))]
        return [*layers, ActNorm(dim)]
