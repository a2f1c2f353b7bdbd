"""Generative adversarial network, under any objective, with any networks.

Paper: Goodfellow et al., Generative Adversarial Networks, arXiv 1406.2661, 2014.

Idea: a generator G maps noise to data, a critic D separates real from generated; both play

    min_G max_D  E log D(x) + E log(1 - D(G(z)))                                  (equation 1)

with the generator trained on -log D(G(z)) (non-saturating, section 3). Shapes: x ``(n, *shape)``; z
``(n, latent_dim)``. Any row of ``losses.adversarial.OBJECTIVES`` may be named instead; what is left None in the
configuration is that row's own (learning rate, critic steps, penalty, clipping).
Defaults: the paper used momentum SGD and maxout critics; ours are Adam 2e-4 with beta1 0.5 (Radford et al., arXiv
1511.06434), MLPs of ReLU layers for vectors and the DCGAN pyramid for images and series.
Deviations: G and D see each other's latest update (D first), one update each.

Every objective with a ``model`` name is also registered under it (``wgan_gp``, ``began``, ...).

Use it for: the plain adversarial baseline without labels, and any other objective, penalty or trick by option
(``objective=``, ``penalty=``, ``replay=``). It found 8 of 8 modes on a ring; the critic came within .03 of its optimum.

Not for: many modes: it found 20.3 of 25, `wgan_gp` and `mode_regularised_gan` 25. Examples by class: `cvae` (.957 train
synthetic, test real on digits). Anomaly scores: this critic learns none; use `vae`, or `began` for images.

Symbols:
    G               GAN.generator
    D               sigmoid of GAN.critic
    z               GAN.latents, GAN.draw
    -log D(G(z))    _non_saturating, loss term generator
    -log D(x) - log(1 - D(G(z)))   _cross_entropy, loss term critic
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ganlib.abilities import Scores
from ganlib.adversarial import Game, Sides
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.losses.adversarial import OBJECTIVES, objective
from ganlib.losses.objective import Objective
from ganlib.models.gan.config import GANConfig
from ganlib.models.gan.networks import Networks, Wiring
from ganlib.nn.architecture import activate_output
from ganlib.nn.conditional import ByClass
from ganlib.nn.layers import WithReference, bake, has_batch_norm
from ganlib.nn.sampler import Sampler, sampler_for
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase


class GAN(Algorithm):
    """A generator and the game against its critic: players ``critic`` (if the objective has one) and ``generator``.

    A subclass passes the ``Wiring`` that differs to the constructor, and overrides ``build`` for other networks,
    ``condition`` for what they are conditioned on, ``draw`` for other latents, or a loss for more terms. Raises
    ConfigError on options that contradict each other.
    """

    config: GANConfig
    generator: nn.Module

    def __init__(self, spec: DataSpec, config: GANConfig, wiring: Wiring | None = None) -> None:
        super().__init__()
        self.spec, self.config, self.wiring = spec, config, wiring or Wiring()
        networks = Networks(spec, config, self.wiring)
        self.code_dim = networks.inputs
        critic = self.build(networks)
        self.game = Game(
            critic,
            config,
            spec.x,
            generator=self.generator,
            condition=(spec.condition,) if self.wiring.condition and self.wiring.conditions_critic else None,
            score=self.wiring.score,
        )

    def build(self, networks: Networks) -> nn.Module | None:
        """Set ``generator``; returns the critic, None if the objective has none."""
        self.generator = networks.generator()
        return None if self.objective.kind == "none" else networks.finished(networks.critic())

    @property
    def objective(self) -> Objective:
        """The row of the objective's table."""
        return objective(self.config.objective)

    @property
    def critic(self) -> Any:
        """The game's critic."""
        return self.game.critic

    # ---------------------------------------------------------------- training
    def players(self) -> dict[str, nn.Module]:
        """Critic and generator."""
        return self.game.players() | {"generator": self.generator}

    def optimisers(self) -> dict[str, Optimiser]:
        """The objective's, with the configured rates."""
        return {name: self.game.rules.optimiser(name == "critic") for name in self.players()}

    def phases(self) -> Sequence[Phase]:
        """Critic updates, then one of the generator; a lazy penalty has its own update."""
        return self.game.phases(self.dealt, self.generator_loss, self.critic_loss)

    @torch.no_grad()
    def prepare(self, batch: Batch) -> None:
        """Choose the reference batch of virtual batch norm."""
        if isinstance(self.generator, WithReference):
            self.generator.remember(self.latents(batch), self.condition(batch))

    @property
    def by_class(self) -> bool:
        """Classes may be there for the critic to name, without conditioning the generator."""
        return self.spec.classes > 0 and self.wiring.condition > 0

    def condition(self, batch: Batch) -> Tensor | None:
        """The generator's condition, ``(n, k)``; None here."""
        return None

    def critic_condition(self, batch: Batch) -> Tensor | None:
        """The critic's condition: the same, or none."""
        return self.condition(batch) if self.wiring.conditions_critic else None

    def latents(self, batch: Batch) -> Tensor:
        """The generator's input ``(n, code_dim)``; the same for the batch until the generator moves."""
        return batch.once("latents", lambda: self.draw(batch), of=("generator",))

    def draw(self, batch: Batch) -> Tensor:
        """Noise ``(n, code_dim)``."""
        return batch.randn(self.code_dim)

    def generate(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Examples in the data's range."""
        return activate_output(self.spec, self.generator(z, condition))

    def examples(self, batch: Batch) -> Tensor:
        """A forward of the generator on the batch's latents."""
        return self.generate(self.latents(batch), self.condition(batch))

    def made(self, batch: Batch) -> Tensor:
        """Generated examples, one forward shared by both losses until the generator moves."""
        return self.game.made(batch, lambda: self.examples(batch))

    def fakes(self, batch: Batch) -> Tensor:
        """Generated examples as the critic learns from them: without the generator's gradient."""
        return self.game.fakes(batch, lambda: self.examples(batch))

    def sides(self, batch: Batch, made: Tensor) -> Sides:
        """The game of the batch's examples against ``made``."""
        return Sides(batch.x, made, self.critic_condition(batch))

    def dealt(self, batch: Batch) -> Sides:
        """The game as the critic plays it."""
        return self.sides(batch, self.fakes(batch))

    def judge(self, batch: Batch, x: Tensor) -> Tensor:
        """The critic's outputs for examples under the batch's conditions, one forward until a player moves."""
        return self.game.judge(batch, x, self.critic_condition(batch))

    def critic_loss(self, batch: Batch) -> Losses:
        """The critic's side of the game."""
        return self.game.critic_loss(batch, self.dealt(batch))

    def generator_loss(self, batch: Batch) -> Losses:
        """The generator's side of the game."""
        return self.game.generator_loss(batch, self.sides(batch, self.made(batch)))

    # ---------------------------------------------------------------- use
    def couples_batch(self) -> str:
        """Why the examples of a batch depend on each other, or nothing; for data-parallel training."""
        reasons = {
            self.game.couples(): bool(self.game.couples()),
            "batch norm: set generator_norm and critic_norm to layer": any(
                map(has_batch_norm, self.players().values())
            ),
            "minibatch discrimination": self.config.minibatch_discrimination > 0,
        }
        return next((reason for reason, holds in reasons.items() if holds), "")

    def sampler(self) -> Sampler:
        """The generator."""
        return sampler_for(ByClass(self.generator, 0), self.code_dim, self.spec)

    @classmethod
    def lacks(cls, config: GANConfig) -> tuple[type, ...]:
        """Scores, unless the objective's critic learns one."""
        return () if objective(config.objective).detects else (Scores,)

    def scorer(self) -> nn.Module:
        """The critic's energy or loss of examples, low for what looks real.

        Raises ConfigError where the objective's critic learns no such score.
        """
        if not self.objective.detects:
            able = ", ".join(row.name for row in OBJECTIVES.values() if row.detects)
            raise ConfigError(f"a critic trained by objective {self.config.objective!r} does not detect; choose {able}")
        return CriticScorer(bake(self.critic)).eval()


class CriticScorer(nn.Module):
    """Minus a critic's score, ``(n, *shape) -> (n,)``."""

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, x: Tensor) -> Tensor:
        """Score examples."""
        return -self.critic(x, None)[:, 0]
