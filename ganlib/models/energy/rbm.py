"""Restricted Boltzmann machine.

Papers: Hinton, Training Products of Experts by Minimizing Contrastive Divergence, 2002 (CD-k); Tieleman, Training
Restricted Boltzmann Machines using Approximations to the Likelihood Gradient, 2008 (persistent chains); Gaussian
visible units: Welling, Rosen-Zvi & Hinton, Exponential Family Harmoniums, 2004.

Idea: binary hidden units h explain visible units v by an energy, in which h sum out to the free energy

    p(v) = exp(-F(v)) / Z,   F(v) = A(v) - sum_j softplus(c_j + v · W_j)
    A(v) = 1/2 ||v - b||² for numbers, -b · v for flags, categories and pixels
    update: minimise F(data) - F(v_k), where v_k is k Gibbs steps from the data (CD) or from last step's v_k (PCD)

The score is F, which differs from -log p by the constant log Z only. With at most 15 hidden units log Z is a sum over
their 2^15 states, so that ``log_prob`` is exact; else the model has no ``log_prob``.
Shapes: x ``(n, *shape)``, flattened; h ``(n, hidden_units)``.
Units: numbers and series are Gaussian with variance 1 (the readers standardise them), flags Bernoulli, categories
one-of-k, pixels in [-1, 1] Bernoulli with probability (x + 1) / 2; for pixels ``log_prob`` is the probability of black
and white images.
Defaults: CD-1; weights from N(0, 0.01) (Hinton, A Practical Guide, 2010). Deviation: Adam instead of SGD with momentum.

Use it for: flags, categories and black and white images as an energy, with exact densities up to 15 hidden units.

Not for: grey images and dependences of many numbers: one hidden layer of a Gaussian machine bends little; use `vae` or
`realnvp`. Sampling: its Gibbs chains are not sealed as a generator; use `gaussian_mixture` or `vae`.

Symbols:
    F(v)      Machine.free_energy
    A(v)      Machine.gaussian, Machine.visible
    W, b, c   Machine.weight, Machine.visible, Machine.hidden
    v_k       Machine.gibbs, RBMConfig.gibbs_steps
    log Z     Machine.log_partition
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, softplus

from ganlib.abilities import HasDensity
from ganlib.config import Config, Count, Rate
from ganlib.data.fields import Block, runs
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.losses.divergence import log_sum_exp, wide
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase

EXACT = 15
MODALITIES = ("points", "table", "image", "series")


@dataclass(frozen=True, kw_only=True)
class RBMConfig(Config):
    """``hidden_units``: at most 15 for exact densities; ``gibbs_steps``: k; ``chains``: from the data (CD) or
    persistent (PCD); ``chain_count``: of persistent ones."""

    hidden_units: Count = 64
    gibbs_steps: Count = 1
    chains: Literal["data", "persistent"] = "data"
    chain_count: Count = 64
    learning_rate: Rate = 1e-2


def visible_blocks(spec: DataSpec) -> tuple[Block, ...]:
    """The kinds of the visible units: a table's own, numbers for points and series, flags for pixels."""
    if spec.blocks:
        return spec.blocks
    kind: Literal["number", "binary"] = "binary" if spec.kind == "image" else "number"
    return tuple(Block(f"x{i}", kind, i) for i in range(spec.dim))


Map = Callable[[Tensor], Tensor]


def by_kind(blocks: tuple[Block, ...], values: Tensor, flag: Map, category: Map, number: Map) -> Tensor:
    """Map the columns of ``values (n, d, ...)`` by the kind of their units, each category separately."""
    parts = []
    for kind, run in runs(blocks):
        if kind == "category":
            parts += [category(values[:, block.slice]) for block in run]
        else:
            parts.append((number if kind == "number" else flag)(values[:, run[0].start : run[-1].stop]))
    return torch.cat(parts, 1)


def draw_visible(blocks: tuple[Block, ...], logits: Tensor, u: Tensor) -> Tensor:
    """Visible units with these means or logits, from uniform ``u``, all ``(n, d)``."""
    return by_kind(
        blocks,
        torch.stack([logits, u.clamp(1e-6, 1 - 1e-6)], 2),
        lambda t: (t[..., 1] < torch.sigmoid(t[..., 0])).to(t.dtype),
        lambda t: one_hot((t[..., 0] - (-t[..., 1].log()).log()).argmax(1), t.shape[1]).to(t.dtype),
        lambda t: t[..., 0] + math.sqrt(2) * torch.erfinv(2 * t[..., 1] - 1),
    )


class Machine(nn.Module):
    """The parameters of an RBM of these visible units, and its conditional distributions."""

    gaussian: Tensor

    def __init__(self, blocks: tuple[Block, ...], hidden_units: int) -> None:
        super().__init__()
        self.blocks, dim = blocks, max(block.stop for block in blocks)
        self.weight = nn.Parameter(0.01 * torch.randn(dim, hidden_units))
        self.visible, self.hidden = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(hidden_units))
        gaussian = torch.zeros(dim)
        for block in blocks:
            gaussian[block.slice] = float(block.kind == "number")
        self.register_buffer("gaussian", gaussian)

    def free_energy(self, v: Tensor) -> Tensor:
        """F of visible units ``(n, d)``: ``(n,)``."""
        with torch.autocast(v.device.type, enabled=False):
            v = wide(v)
            return self.visible_energy(v) - softplus(self.hidden + v @ self.weight).sum(1)

    def visible_energy(self, v: Tensor) -> Tensor:
        """A(v), the energy of visible units alone, ``(n,)``."""
        quadratic = 0.5 * (v - self.visible).square() * self.gaussian - v * self.visible * (1 - self.gaussian)
        return quadratic.sum(1)

    def hidden_given(self, v: Tensor) -> Tensor:
        """p(h = 1 | v), ``(n, hidden_units)``."""
        return torch.sigmoid(self.hidden + v @ self.weight)

    def visible_given(self, h: Tensor) -> Tensor:
        """E[v | h], ``(n, d)``."""
        return self._by_kind(self.visible + h @ self.weight.T, torch.sigmoid, lambda logits: torch.softmax(logits, 1))

    def visible_nll(self, v: Tensor, h: Tensor) -> Tensor:
        """-log p(v | h) without the constant of Gaussian units, ``(n,)``."""
        field = self.visible + h @ self.weight.T
        normaliser = self._by_kind(field, softplus, lambda t: log_sum_exp(t).unsqueeze(1), torch.zeros_like)
        matched = 0.5 * (v - field).square() * self.gaussian - v * field * (1 - self.gaussian)
        return matched.sum(1) + normaliser.sum(1)

    def _by_kind(self, values: Tensor, flag: Map, category: Map, number: Map = lambda v: v) -> Tensor:
        return by_kind(self.blocks, values, flag, category, number)

    @torch.no_grad()
    def gibbs(self, v: Tensor, batch: Batch, steps: int) -> Tensor:
        """Visible units after this number of Gibbs steps."""
        for _ in range(steps):
            p = self.hidden_given(v)
            h = (uniform_like(p, batch) < p).to(v.dtype)
            v = draw_visible(self.blocks, self.visible + h @ self.weight.T, uniform_like(v, batch))
        return v

    def log_partition(self) -> Tensor:
        """log Z, a scalar; raises ConfigError above 15 hidden units."""
        h = self.hidden_states()
        return torch.logsumexp(h @ self.hidden + self.log_mass(h), 0)

    def hidden_states(self) -> Tensor:
        """All states of the hidden units ``(2^units, units)``; raises ConfigError above 15 of them."""
        units = len(self.hidden)
        if units > EXACT:
            raise ConfigError(
                f"the exact partition function of {units} hidden units is a sum over 2^{units} states; use at most "
                f"{EXACT} hidden_units, or compare free energies"
            )
        states = (torch.arange(2**units, device=self.weight.device)[:, None] >> torch.arange(units)) & 1
        return states.to(self.weight.dtype)

    def log_mass(self, h: Tensor) -> Tensor:
        """Log of the sum or integral of exp(v · W h - A(v)) over all v, ``(n,)``."""
        field = h @ self.weight.T
        return self._by_kind(
            torch.stack([field, self.visible + field], 2),
            lambda t: softplus(t[..., 1]),
            lambda t: torch.logsumexp(t[..., 1], 1, keepdim=True),
            lambda t: 0.5 * (t[..., 1].square() - (t[..., 1] - t[..., 0]).square()) + 0.5 * math.log(2 * math.pi),
        ).sum(1)


def uniform_like(like: Tensor, batch: Batch) -> Tensor:
    """Uniform noise of the shape of a tensor, from the run's generator."""
    return torch.rand(like.shape, generator=batch.generator, device=like.device)


class FreeEnergy(nn.Module):
    """``(n, *shape) -> (n,)``: the free energy of examples."""

    def __init__(self, model: RBM) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Score examples."""
        return self.model.machine.free_energy(as_visible(self.model.spec, x))


class _Normalised(nn.Module):
    """``(n, *shape) -> (n,)``: -F - log Z, with log Z as a constant."""

    log_partition: Tensor

    def __init__(self, model: RBM) -> None:
        super().__init__()
        self.energy = FreeEnergy(copy.deepcopy(model))
        with torch.no_grad():
            self.register_buffer("log_partition", model.machine.log_partition())

    def forward(self, x: Tensor) -> Tensor:
        """Log-densities of examples."""
        return -self.energy(x) - self.log_partition


def as_visible(spec: DataSpec, x: Tensor) -> Tensor:
    """Examples as visible units ``(n, d)``: pixels as probabilities."""
    flat = wide(x).flatten(1)
    return (flat + 1) / 2 if spec.kind == "image" else flat


@register(
    "rbm",
    config=RBMConfig,
    modalities=MODALITIES,
    paper="Hinton, Training Products of Experts by Minimizing Contrastive Divergence, Neural Computation 14, 2002",
)
class RBM(Algorithm):
    """One player, the machine."""

    why_no_density: ClassVar[str] = (
        f"the partition function of its hidden units is a sum over 2^hidden_units states; set hidden_units to at most "
        f"{EXACT}, or choose gaussian_mixture"
    )
    no_density_of: ClassVar[tuple[str, ...]] = ("image",)  # but probabilities of black and white ones

    config: RBMConfig
    chains: Tensor

    def __init__(self, spec: DataSpec, config: RBMConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        self.machine = Machine(visible_blocks(spec), config.hidden_units)
        count = config.chain_count if config.chains == "persistent" else 0
        self.register_buffer("chains", torch.zeros(count, spec.dim))

    @classmethod
    def lacks(cls, config: RBMConfig) -> tuple[type, ...]:  # type: ignore[override]
        """No density if the partition function is too large."""
        return (HasDensity,) if config.hidden_units > EXACT else ()

    def players(self) -> dict[str, nn.Module]:
        """One player."""
        return {"machine": self.machine}

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam at the configured rate."""
        return {"machine": Optimiser("adam", self.config.learning_rate, (0.9, 0.999))}

    def phases(self) -> tuple[Phase, ...]:
        """Contrastive divergence."""
        return (Phase("machine", self.loss),)

    def prepare(self, batch: Batch) -> None:
        """Persistent chains start at examples of the first batch."""
        if len(self.chains):
            v = as_visible(self.spec, batch.x)
            self.chains.copy_(v[torch.arange(len(self.chains), device=v.device) % len(v)])

    def loss(self, batch: Batch) -> Losses:
        """F(data) - F(chains); its value is no measure of progress, its gradient is the update."""
        v = as_visible(self.spec, batch.x)
        with torch.autocast(v.device.type, enabled=False):
            persistent = len(self.chains) > 0
            made = self.machine.gibbs(self.chains if persistent else v, batch, self.config.gibbs_steps)
            if persistent and self.training:
                self.chains.copy_(made)
            gap = self.machine.free_energy(v).mean() - self.machine.free_energy(made).mean()
            rebuilt = (v - self.machine.visible_given(self.machine.hidden_given(v))).square().mean()
        return Losses(weights={"rebuilt": 0.0}, divergence=gap, rebuilt=rebuilt.detach())

    def validation_loss(self, batch: Batch) -> Tensor:
        """Squared error of held-out examples rebuilt from their hidden units."""
        v = as_visible(self.spec, batch.x)
        return (v - self.machine.visible_given(self.machine.hidden_given(v))).square().mean()

    def couples_batch(self) -> str:
        """Gibbs steps draw for the whole batch."""
        return "Gibbs chains draw noise for each process's own examples"

    def encode(self, x: Tensor) -> Tensor:
        """p(h = 1 | x), ``(n, hidden_units)``."""
        return self.machine.hidden_given(as_visible(self.spec, x))

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log-density in nats, ``(n,)``; raises ConfigError above 15 hidden units."""
        return -self.machine.free_energy(as_visible(self.spec, x)) - self.machine.log_partition()

    def density(self) -> nn.Module:
        """The log-density with its partition function computed, for export; raises ConfigError as ``log_prob``."""
        return _Normalised(self).eval()

    def scorer(self) -> nn.Module:
        """The free energy, for export."""
        return FreeEnergy(self).eval()
