"""Two generators and two critics that translate between unpaired domains, held together by cycles.

Paper: Zhu et al., Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks, arXiv 1703.10593,
2017 (the objective); Kim et al., arXiv 1703.05192, 2017 (DiscoGAN, the point-mixture problem of the toy).

    generators: L_GAN(F(a), D_b) + L_GAN(G(b), D_a) + cycle · (|G(F(a)) - a| + |F(G(b)) - b|)     (CycleGAN, section 3)
    critics:    each its own domain, least-squares objective

Shapes: x ``(n, d)`` from domain A and x_b ``(n, e)`` from domain B, unpaired; e is d unless the DataSpec has ``x_b``.
Defaults: cycle 10, Adam 2e-4 with beta1 0.5 in the paper. Deviations: MLPs on vectors, no replay buffer, no identity
term.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganlib.adversarial import Game
from ganlib.config import Config, Count, Rate, Weight
from ganlib.data.spec import DataSpec
from ganlib.nn.mlp import MLP
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase


@dataclass(frozen=True, kw_only=True)
class CoupledPairConfig(Config):
    """``cycle`` weighs the reconstruction after a round trip."""

    hidden: tuple[Count, ...] = (128, 128)
    objective: str = "least_squares"
    cycle: Weight = 10.0
    learning_rate: Rate = 2e-4


@register(
    "coupled_pair",
    config=CoupledPairConfig,
    modalities=("points", "table"),
    paper="Zhu et al., Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks, "
    "arXiv 1703.10593, 2017",
    known_gaps={"export": "small proving model: its full catalogue check and export come with the translation family"},
)
class CoupledPair(Algorithm):
    """Players ``generators`` (both at once) and ``critics``."""

    config: CoupledPairConfig

    def __init__(self, spec: DataSpec, config: CoupledPairConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        self.game_a, self.game_b = Game(config.objective), Game(config.objective)
        other = spec.fields.get("x_b", spec.x).dim
        self.forward_generator = MLP(spec.dim, config.hidden, other)
        self.backward_generator = MLP(other, config.hidden, spec.dim)
        self.critic_a = self.game_a.finish(MLP(spec.dim, config.hidden, 1, "leaky_relu"))
        self.critic_b = self.game_b.finish(MLP(other, config.hidden, 1, "leaky_relu"))

    @torch.no_grad()
    def translate(self, x: Tensor) -> Tensor:
        """Examples of domain A in domain B, ``(n, e)``."""
        return self.forward_generator(x)

    def players(self) -> dict[str, list[nn.Module]]:
        """Both generators; both critics."""
        return {
            "generators": [self.forward_generator, self.backward_generator],
            "critics": [self.critic_a, self.critic_b],
        }

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam for both sides."""
        return dict.fromkeys(self.players(), Optimiser("adam", self.config.learning_rate))

    def phases(self) -> tuple[Phase, ...]:
        """Generators first, as in the authors' code, then critics."""
        return (Phase("generators", self.generator_loss), Phase("critics", self.critic_loss))

    def _fakes(self, batch: Batch) -> tuple[Tensor, Tensor]:
        def translate() -> tuple[Tensor, Tensor]:
            return self.forward_generator(batch.x), self.backward_generator(batch["x_b"])

        return batch.once("fakes", translate, of=("generators",))

    def generator_loss(self, batch: Batch) -> Losses:
        """Fool both critics; come back after a round trip."""
        fake_b, fake_a = self._fakes(batch)
        cycle = (self.backward_generator(fake_b) - batch.x).abs().mean()
        cycle = cycle + (self.forward_generator(fake_a) - batch["x_b"]).abs().mean()
        return Losses(
            weights={"cycle": self.config.cycle},
            fool_a=self.game_a.generator_loss(self.critic_a(fake_a)),
            fool_b=self.game_b.generator_loss(self.critic_b(fake_b)),
            cycle=cycle,
        )

    def critic_loss(self, batch: Batch) -> Losses:
        """Each critic on its own domain."""
        fake_b, fake_a = (fake.detach() for fake in self._fakes(batch))
        return Losses(
            critic_a=self.game_a.critic_loss(self.critic_a(batch.x), self.critic_a(fake_a)),
            critic_b=self.game_b.critic_loss(self.critic_b(batch["x_b"]), self.critic_b(fake_b)),
        )
