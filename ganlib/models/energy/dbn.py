"""Deep belief network and stacked denoising auto-encoder: layers trained one after the other.

Papers: Hinton, Osindero & Teh, A Fast Learning Algorithm for Deep Belief Nets, Neural Computation 18, 2006; Bengio et
al., Greedy Layer-Wise Training of Deep Networks, 2007; Vincent et al., Stacked Denoising Autoencoders, JMLR 11, 2010.

Idea (dbn): each layer is an RBM of the hidden probabilities below it. Its score bounds -log p(x) from
above up to the constant log Z of the top, with q the layers' factorial conditionals at their means:

    score(x) = sum over layers below the top of [-log p(v_l | q_l) - H(q_l)] + F_top(v_top)

Idea (stacked_autoencoder): each layer g(f(.)) rebuilds what is below it, v, from a copy c(v) in which a share of the
values is set to 0; then all layers are fine-tuned to rebuild x:

    layer:        minimise E ||v - g(f(c(v)))||²
    fine-tuning:  minimise E ||x - x^||² / d, without corruption, which is also the score

Shapes: x ``(n, *shape)``, flattened; codes ``(n, hidden[-1])``.
Defaults: a third of the training goes to each layer of two, and the last to fine-tuning; corruption 0.25 (Vincent et
al. choose among 0 to 0.5). Deviations: Adam; CD-1; the belief network is not fine-tuned.

Use it for (dbn): the classical deep energy model, as a baseline of codes and of anomaly scores for flags and black and
white images. Logistic regression of 100 MNIST labels read .81 from its codes, .75 from pixels.

Not for (dbn): a likelihood: its score is a bound up to an unknown constant; use `realnvp`, or `rbm` with few units.
Best scores: `began` and `ganomaly` are recorded on images (.92 and .85), this one on its toy only.

Use it for (stacked_autoencoder): codes of several layers, each trained by itself first, then all together.

Not for (stacked_autoencoder): images whose neighbours matter: it flattens them; `autoencoder` has convolutions.
Features for few labels: logistic regression of 100 MNIST labels read .72 from its codes, .75 from pixels (`dbn` .81).
Generating: `vae`.

Symbols (dbn):
    v_l, q_l        DBN.below
    -log p(v_l | q_l)   Machine.visible_nll
    H(q_l)          DBN.score
    F_top           Machine.free_energy
    CD              Machine.gibbs, DBNConfig.gibbs_steps

Symbols (stacked_autoencoder):
    layer           Layer
    corruption      SAEConfig.corruption, Stacked.layer_loss
    fine-tuning     StackedAutoencoder.tuning_loss
    score           StackedAutoencoder.score
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ganlib.config import Config, Count, Rate, Share
from ganlib.data.fields import Block
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.losses.divergence import wide
from ganlib.models.energy.rbm import MODALITIES, Machine, as_visible, visible_blocks
from ganlib.nn.architecture import activate_output
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase, Stage


class Score(nn.Module):
    """``(n, *shape) -> (n,)``: the model's ``score``."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Score examples."""
        return self.model.score(x)


class Stacked(Algorithm):
    """A player a layer, each trained in a stage of its own."""

    config: Any
    layers: nn.ModuleList

    def _check(self) -> None:
        if not self.config.hidden:
            raise ConfigError("hidden names the width of each layer, at least one")

    def players(self) -> dict[str, nn.Module]:
        """The layers."""
        return {f"layer{i}": layer for i, layer in enumerate(self.layers)}

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam at the configured rate."""
        return dict.fromkeys(self.players(), Optimiser("adam", self.config.learning_rate, (0.9, 0.999)))

    def phases(self) -> tuple[Phase, ...]:
        """The last stage's."""
        return tuple(self.stages(1)[-1].phases)  # type: ignore[arg-type]

    def greedy(self, budget: int) -> list[Stage]:
        """One stage a layer, of equal parts of the budget."""
        names, part = list(self.players()), max(1, budget // len(self.layers))
        return [
            Stage(
                name,
                (Phase(name, partial(self.layer_loss, level)),),
                part if level else budget - part * (len(names) - 1),
            )
            for level, name in enumerate(names)
        ]

    def layer_loss(self, level: int, batch: Batch) -> Losses:
        """The loss of one layer."""
        raise TypeError(f"{type(self).__name__} must define layer_loss()")

    def score(self, x: Tensor) -> Tensor:
        """Scores ``(n,)``."""
        raise TypeError(f"{type(self).__name__} must define score()")

    def validation_loss(self, batch: Batch) -> Tensor:
        """The score of held-out normal examples."""
        return self.score(batch.x).mean()

    def scorer(self) -> nn.Module:
        """The score, for export."""
        return Score(self).eval()


@dataclass(frozen=True, kw_only=True)
class DBNConfig(Config):
    """``hidden``: units of each layer; ``gibbs_steps`` of contrastive divergence."""

    hidden: tuple[Count, ...] = (128, 64)
    gibbs_steps: Count = 1
    learning_rate: Rate = 1e-2


@register(
    "dbn",
    config=DBNConfig,
    modalities=MODALITIES,
    paper="Hinton, Osindero & Teh, A Fast Learning Algorithm for Deep Belief Nets, Neural Computation 18, 2006",
)
class DBN(Stacked):
    """RBMs on top of each other."""

    config: DBNConfig

    def __init__(self, spec: DataSpec, config: DBNConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        self._check()
        blocks, machines = visible_blocks(spec), []
        for units in config.hidden:
            machines.append(Machine(blocks, units))
            blocks = tuple(Block(f"h{i}", "binary", i) for i in range(units))
        self.layers = nn.ModuleList(machines)

    def stages(self, budget: int) -> Sequence[Stage]:
        """The layers, from below."""
        return self.greedy(budget)

    def below(self, x: Tensor, level: int) -> Tensor:
        """What the layer at this level sees."""
        v = as_visible(self.spec, x)
        for machine in list(self.layers)[:level]:
            v = cast("Machine", machine).hidden_given(v)
        return v

    def layer_loss(self, level: int, batch: Batch) -> Losses:
        """Contrastive divergence of one machine; its value is no measure of progress."""
        machine = cast("Machine", self.layers[level])
        with torch.autocast(batch.x.device.type, enabled=False):
            with torch.no_grad():
                v = self.below(batch.x, level)
                made = machine.gibbs(v, batch, self.config.gibbs_steps)
            return Losses(divergence=machine.free_energy(v).mean() - machine.free_energy(made).mean())

    def encode(self, x: Tensor) -> Tensor:
        """Hidden probabilities of the top, ``(n, hidden[-1])``."""
        return self.below(x, len(self.layers))

    def score(self, x: Tensor) -> Tensor:
        """The bound at the layers' means."""
        v, total = as_visible(self.spec, x), torch.zeros_like(x.flatten(1)[:, 0])
        for machine in list(self.layers)[:-1]:
            machine = cast("Machine", machine)
            logits = machine.hidden + v @ machine.weight
            q = torch.sigmoid(logits)
            entropy = (softplus(logits) - q * logits).sum(1)
            total = total + machine.visible_nll(v, q) - entropy
            v = q
        return total + cast("Machine", self.layers[-1]).free_energy(v)

    def couples_batch(self) -> str:
        """Gibbs steps draw for the whole batch."""
        return "Gibbs chains draw noise for each process's own examples"


@dataclass(frozen=True, kw_only=True)
class SAEConfig(Config):
    """``hidden``: units of each layer; ``corruption``: share of values set to 0 in greedy training."""

    hidden: tuple[Count, ...] = (128, 64)
    corruption: Share = 0.25
    learning_rate: Rate = 1e-3


class Layer(nn.Module):
    """One auto-encoder: ``forward`` encodes, ``rebuild`` decodes."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(inputs, units), nn.Linear(units, inputs)

    def forward(self, v: Tensor) -> Tensor:
        """Encode."""
        return torch.relu(self.up(v))


@register(
    "stacked_autoencoder",
    config=SAEConfig,
    modalities=MODALITIES,
    paper="Vincent et al., Stacked Denoising Autoencoders, JMLR 11, 2010",
)
class StackedAutoencoder(Stacked):
    """Denoising auto-encoders on top of each other, then fine-tuned together."""

    config: SAEConfig

    def __init__(self, spec: DataSpec, config: SAEConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        self._check()
        widths = (spec.dim, *config.hidden)
        self.layers = nn.ModuleList(Layer(a, b) for a, b in pairwise(widths))

    def stages(self, budget: int) -> Sequence[Stage]:
        """The layers from below, then all of them; fine-tuning has the share of a layer."""
        tune = budget // (len(self.layers) + 1)
        names = tuple(self.players())
        return [*self.greedy(budget - tune), Stage("tune", (Phase(names, self.tuning_loss),), max(1, tune))]

    def below(self, x: Tensor, level: int) -> Tensor:
        """What the layer at this level rebuilds."""
        v = x.flatten(1)
        for layer in list(self.layers)[:level]:
            v = layer(v)
        return v

    def _output(self, level: int, code: Tensor) -> Tensor:
        """The reconstruction of a layer's input, in its range."""
        out = cast("Layer", self.layers[level]).down(code)
        if level:
            return torch.relu(out)
        return activate_output(self.spec, out)

    def layer_loss(self, level: int, batch: Batch) -> Losses:
        """Squared error of one layer's input from its corrupted copy."""
        with torch.no_grad():
            v = self.below(batch.x, level)
        kept = (batch.rand(v.shape[1]) >= self.config.corruption).to(v.dtype)
        return Losses(rebuilt=(wide(v) - self._output(level, self.layers[level](v * kept))).square().mean())

    def rebuild(self, x: Tensor) -> Tensor:
        """x from its code, ``(n, *shape)``."""
        code = self.encode(x)
        for level in reversed(range(len(self.layers))):
            code = self._output(level, code)
        return wide(code).view_as(x)

    def encode(self, x: Tensor) -> Tensor:
        """Codes ``(n, hidden[-1])``."""
        return self.below(x, len(self.layers))

    def tuning_loss(self, batch: Batch) -> Losses:
        """Squared error of x through all layers."""
        return Losses(rebuilt=self.score(batch.x).mean())

    def score(self, x: Tensor) -> Tensor:
        """Mean squared error."""
        return (x - self.rebuild(x)).square().flatten(1).mean(1)

    def residual(self, x: Tensor) -> Tensor:
        """The contribution of each position to the score, of the shape of ``x``."""
        return (x - self.rebuild(x)).square() / self.spec.dim
