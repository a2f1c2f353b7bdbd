"""Deep Boltzmann machine of two hidden layers.

Paper: Salakhutdinov & Hinton, Deep Boltzmann Machines, AISTATS 2009.

Idea: unlike in a deep belief network, both layers are undirected, so that each hidden unit below gets evidence from the
data and from the layer above:

    E(v, h1, h2) = A(v) - d · h1 - c · h2 - v · W1 h1 - h1 · W2 h2,   p(v) = sum over h of exp(-E) / Z

    1. pre-training: each layer as an RBM, the lower with its visible, the upper with its hidden units counted twice
    2. joint: minimise E(data, m1, m2) - E(chains), with mean-field values m of the hidden units given the data,
       m1 = s(d + v W1 + W2 m2), m2 = s(c + m1 W2), and persistent Gibbs chains

The score is the variational free energy E(v, m1, m2) - H(m1) - H(m2), which bounds -log p(v) - log Z from above. With
at most 15 units in the first layer, sums over its states give Z, and ``log_prob`` is exact; else the model has no
``log_prob``.
Shapes: x ``(n, *shape)``, flattened; codes ``(n, hidden[0] + hidden[1])``, m1 and m2.
Units: as in RBM.
Defaults: ten mean-field steps and one Gibbs step; a third of the training for each layer's pre-training, then the joint
one at a tenth of the rate. Deviations: Adam; the bias d is the mean of the biases that both pre-trainings find for h1;
no discriminative fine-tuning.

Use it for: the likelihood of binary images or flags under two layers that explain each other away (exact for few hidden
units), and as an energy detector.
Not for: features for few labels: with 50 labelled digits a classifier of its codes reached .79, of pixels .85 (one
training); use ``stacked_autoencoder``. Short trainings, in which ``rbm`` reaches the same likelihood sooner, and fast
scoring, for which ``dbn`` needs one pass instead of ten.
Symbols:
    W1, W2   ``layers``
    d        ``middle``
    m1, m2   ``mean_field``
    chains   ``chain_visible``, ``chain_top``
    Z        ``log_partition``
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ganlib.abilities import HasDensity
from ganlib.config import Config, Count, Rate
from ganlib.data.fields import Block
from ganlib.data.spec import DataSpec
from ganlib.losses.divergence import wide
from ganlib.models.energy.dbn import Stacked
from ganlib.models.energy.rbm import (
    EXACT,
    MODALITIES,
    RBM,
    Machine,
    as_visible,
    draw_visible,
    uniform_like,
    visible_blocks,
)
from ganlib.registry import register
from ganlib.training.algorithm import Batch, Losses, Optimiser, Phase, Stage

_JOINT_PACE = 0.1


@dataclass(frozen=True, kw_only=True)
class DBMConfig(Config):
    """``hidden``: units of the two layers; ``mean_field_steps``: iterations of m1 and m2; ``gibbs_steps`` of the
    ``chain_count`` chains for each update."""

    hidden: tuple[Count, Count] = (128, 64)
    mean_field_steps: Count = 10
    gibbs_steps: Count = 1
    chain_count: Count = 64
    learning_rate: Rate = 1e-2


def _entropy(p: Tensor) -> Tensor:
    """Entropy of independent units that are on with chance p, nats ``(n,)``."""
    p = p.clamp(1e-6, 1 - 1e-6)
    return -(p * p.log() + (1 - p) * (1 - p).log()).sum(1)


@register(
    "dbm",
    config=DBMConfig,
    modalities=MODALITIES,
    paper="Salakhutdinov & Hinton, Deep Boltzmann Machines, AISTATS 2009",
)
class DBM(Stacked):
    """Players ``layer0`` and ``layer1``, trained in turn and then together."""

    why_no_density: ClassVar[str] = (
        f"the partition function is a sum over 2^hidden[0] states; set hidden[0] to at most {EXACT}, or choose "
        "gaussian_mixture"
    )
    no_density_of = RBM.no_density_of
    config: DBMConfig
    chain_visible: Tensor
    chain_top: Tensor

    def __init__(self, spec: DataSpec, config: DBMConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        below = Machine(visible_blocks(spec), config.hidden[0])
        units = tuple(Block(f"h{i}", "binary", i) for i in range(config.hidden[0]))
        self.layers = nn.ModuleList([below, Machine(units, config.hidden[1])])
        self.register_buffer("chain_visible", torch.zeros(config.chain_count, spec.dim))
        self.register_buffer("chain_top", torch.full((config.chain_count, config.hidden[1]), 0.5))

    @classmethod
    def lacks(cls, config: DBMConfig) -> tuple[type, ...]:  # type: ignore[override]
        """No density if the partition function is too large."""
        return (HasDensity,) if config.hidden[0] > EXACT else ()

    def stages(self, budget: int) -> Sequence[Stage]:
        """The layers from below, then both."""
        joint = budget // 3
        slow = Optimiser("adam", _JOINT_PACE * self.config.learning_rate, (0.9, 0.999))
        phase = Phase(tuple(self.players()), self.joint_loss, optimiser=slow)
        return [*self.greedy(budget - joint), Stage("joint", (phase,), max(1, joint))]

    def prepare(self, batch: Batch) -> None:
        """The chains start at examples of the first batch."""
        v = as_visible(self.spec, batch.x)
        self.chain_visible.copy_(v[torch.arange(len(self.chain_visible), device=v.device) % len(v)])

    # ---------------------------------------------------------------- the model
    @property
    def _pair(self) -> tuple[Machine, Machine]:
        return cast("tuple[Machine, Machine]", tuple(self.layers))

    @property
    def middle(self) -> Tensor:
        """The bias d of the first hidden layer."""
        below, top = self._pair
        return 0.5 * (below.hidden + top.visible)

    def _first(self, v: Tensor, top: Tensor) -> Tensor:
        """p(h1 = 1 | v, h2)."""
        return torch.sigmoid(self.middle + v @ self._pair[0].weight + top @ self._pair[1].weight.T)

    def mean_field(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Mean-field values m1 and m2 of the hidden units given visible ones."""
        below, top = self._pair
        first = torch.sigmoid(self.middle + 2 * v @ below.weight)
        second = top.hidden_given(first)
        for _ in range(self.config.mean_field_steps):
            first = self._first(v, second)
            second = top.hidden_given(first)
        return first, second

    def energy(self, v: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """E(v, h1, h2), ``(n,)``."""
        below, top = self._pair
        upper = ((v @ below.weight + self.middle) * first).sum(1) + ((first @ top.weight + top.hidden) * second).sum(1)
        return below.visible_energy(v) - upper

    # ---------------------------------------------------------------- losses
    def layer_loss(self, level: int, batch: Batch) -> Losses:
        """Contrastive divergence of one layer, with its outer units counted twice."""
        machine = self._pair[level]
        with torch.autocast(batch.x.device.type, enabled=False):
            with torch.no_grad():
                v = as_visible(self.spec, batch.x)
                if level:
                    v = self._pair[0].hidden_given(2 * v)
                upwards, downwards = (1, 2) if level else (2, 1)
                data = machine.hidden_given(upwards * v)
                h = (uniform_like(data, batch) < data).to(v.dtype)
                made = draw_visible(
                    machine.blocks, machine.visible + downwards * h @ machine.weight.T, uniform_like(v, batch)
                )
                model = machine.hidden_given(upwards * made)

            def energy(v: Tensor, h: Tensor) -> Tensor:
                return (machine.visible_energy(v) - (h * (machine.hidden + v @ machine.weight)).sum(1)).mean()

            return Losses(divergence=energy(v, data) - energy(made, model))

    @torch.no_grad()
    def _walk(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The chains after this step's Gibbs steps: visible, first and top units."""
        (below, top), v, second = self._pair, self.chain_visible, self.chain_top
        for _ in range(self.config.gibbs_steps):
            p = self._first(v, second)
            first = (uniform_like(p, batch) < p).to(v.dtype)
            v = draw_visible(below.blocks, below.visible + first @ below.weight.T, uniform_like(v, batch))
            p = top.hidden_given(first)
            second = (uniform_like(p, batch) < p).to(v.dtype)
        if self.training:
            self.chain_visible.copy_(v)
            self.chain_top.copy_(second)
        return v, self._first(v, second), second

    def joint_loss(self, batch: Batch) -> Losses:
        """E(data) - E(chains); its value is no measure of progress, its gradient is the update."""
        with torch.autocast(batch.x.device.type, enabled=False):
            v = as_visible(self.spec, batch.x)
            with torch.no_grad():
                first, second = self.mean_field(v)
            return Losses(divergence=self.energy(v, first, second).mean() - self.energy(*self._walk(batch)).mean())

    def validation_loss(self, batch: Batch) -> Tensor:
        """Squared error of held-out examples rebuilt from their first hidden layer."""
        v = as_visible(self.spec, batch.x)
        return (v - self._pair[0].visible_given(self.mean_field(v)[0])).square().mean()

    def couples_batch(self) -> str:
        """Gibbs steps draw for the whole batch."""
        return "Gibbs chains draw noise for each process's own examples"

    # ---------------------------------------------------------------- use
    def encode(self, x: Tensor) -> Tensor:
        """Mean-field values of both layers, ``(n, hidden[0] + hidden[1])``."""
        return torch.cat(self.mean_field(as_visible(self.spec, x)), 1)

    def score(self, x: Tensor) -> Tensor:
        """The variational free energy."""
        v = as_visible(self.spec, x)
        first, second = self.mean_field(v)
        entropy = sum((_entropy(m) for m in (first, second)), torch.zeros_like(v[:, 0]))
        return self.energy(v, first, second) - entropy

    def _log_upper(self, states: Tensor) -> Tensor:
        """Log of the sum over h2 of exp(d · h1 + c · h2 + h1 · W2 h2), for states of h1."""
        top = self._pair[1]
        return states @ self.middle + softplus(top.hidden + states @ top.weight).sum(1)

    def log_partition(self) -> Tensor:
        """log Z, a scalar; raises ConfigError above 15 units in the first layer."""
        states = self._pair[0].hidden_states()
        return torch.logsumexp(self._log_upper(states) + self._pair[0].log_mass(states), 0)

    def log_prob(self, x: Tensor) -> Tensor:
        """Exact log-density in nats, ``(n,)``; raises ConfigError above 15 units in the first layer."""
        v, below = wide(as_visible(self.spec, x)), self._pair[0]
        states = below.hidden_states()
        joint = torch.logsumexp(self._log_upper(states) + v @ below.weight @ states.T, 1)
        return joint - below.visible_energy(v) - self.log_partition()
