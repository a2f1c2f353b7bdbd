"""Two generators and two critics that translate between unpaired domains, held together by cycles.

Paper: Zhu et al., Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks, arXiv 1703.10593,
2017 (the objective); Kim et al., arXiv 1703.05192, 2017 (DiscoGAN, the point-mixture problem of the toy).

    generators: L_GAN(F(a), D_b) + L_GAN(G(b), D_a) + cycle · (|G(F(a)) - a| + |F(G(b)) - b|)     (CycleGAN, section 3)
    critics:    each its own domain, least-squares objective

Shapes: x ``(n, d)`` from domain A and x_b ``(n, e)`` from domain B, unpaired; e is d unless the DataSpec has ``x_b``.
Defaults: cycle 10, Adam 2e-4 with beta1 0.5 in the paper. Deviations: MLPs on vectors, a replay pool only if ``replay``
gives its size (50 in the paper), no identity term.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganlib.adversarial import Game, GameConfig, Sides, phases
from ganlib.config import Count, Rate, Share, Weight
from ganlib.data.spec import DataSpec
from ganlib.nn.mlp import MLP
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase


@dataclass(frozen=True, kw_only=True)
class CoupledPairConfig(GameConfig):
    """``cycle`` weighs the reconstruction after a round trip; the rest are both games'."""

    hidden: tuple[Count, ...] = (128, 128)
    objective: str = "least_squares"
    cycle: Weight = 10.0
    learning_rate: Rate | None = 2e-4
    betas: tuple[Share, Share] | None = (0.5, 0.999)


@register(
    "coupled_pair",
    config=CoupledPairConfig,
    modalities=("points", "table"),
    paper="Zhu et al., Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks, "
    "arXiv 1703.10593, 2017",
)
class CoupledPair(Algorithm):
    """Players ``generators`` (both at once) and ``critics``."""

    config: CoupledPairConfig

    def __init__(self, spec: DataSpec, config: CoupledPairConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        a, b = spec.x, spec.fields.get("x_b", spec.x)
        self.forward_generator = MLP(a.dim, config.hidden, b.dim)
        self.backward_generator = MLP(b.dim, config.hidden, a.dim)
        self.game_a, self.game_b = (
            Game(
                MLP(field.dim, config.hidden, 1, "leaky_relu"),
                config,
                field,
                generator=generator,
                player="critics",
                against="generators",
                suffix=suffix,
                leads=False,
            )
            for field, generator, suffix in (
                (a, self.backward_generator, "_a"),
                (b, self.forward_generator, "_b"),
            )
        )

    @torch.no_grad()
    def translate(self, x: Tensor) -> Tensor:
        """Examples of domain A in domain B, ``(n, e)``."""
        return self.forward_generator(x)

    def players(self) -> dict[str, list[nn.Module]]:
        """Both generators; both critics."""
        critics = [critic for game in (self.game_a, self.game_b) for critic in game.players().values()]
        return {"generators": [self.forward_generator, self.backward_generator], "critics": critics}

    def optimisers(self) -> dict[str, Optimiser]:
        """Those of the games."""
        return self.game_a.optimisers()

    def phases(self) -> tuple[Phase, ...]:
        """Generators first, as in the authors' code, then critics."""
        *critics, generators = phases([(self.game_a, self.sides_a), (self.game_b, self.sides_b)], self.generator_loss)
        return (generators, *critics)

    def sides_a(self, batch: Batch) -> Sides:
        """Domain A against translations into it."""
        return Sides(batch.x, self.game_a.fakes(batch, lambda: self.backward_generator(batch["x_b"])))

    def sides_b(self, batch: Batch) -> Sides:
        """Domain B against translations into it."""
        return Sides(batch["x_b"], self.game_b.fakes(batch, lambda: self.forward_generator(batch.x)))

    def generator_loss(self, batch: Batch) -> Losses:
        """Fool both critics; come back after a round trip."""
        a, b = batch.x, batch["x_b"]
        fake_a, fake_b = self.backward_generator(b), self.forward_generator(a)
        cycle = (self.backward_generator(fake_b) - a).abs().mean() + (self.forward_generator(fake_a) - b).abs().mean()
        games = (self.game_a, Sides(a, fake_a)), (self.game_b, Sides(b, fake_b))
        fooled = [game.generator_loss(batch, sides) for game, sides in games]
        return fooled[0] | fooled[1] | Losses(weights={"cycle": self.config.cycle}, cycle=cycle)

    def couples_batch(self) -> str:
        """What the games couple."""
        return self.game_a.couples()
