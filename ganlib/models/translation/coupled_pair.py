"""Two generators and two critics that translate between unpaired domains, held together by cycles.

Paper: Zhu et al., Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks, arXiv 1703.10593,
2017 (the objective); Kim et al., arXiv 1703.05192, 2017 (DiscoGAN, the point-mixture problem of the toy).

    generators: L_GAN(F(a), D_b) + L_GAN(G(b), D_a) + cycle · (|G(F(a)) - a| + |F(G(b)) - b|)     (CycleGAN, section 3)
    critics:    each its own domain, least-squares objective

Shapes: x ``(n, d)`` from domain A and x_b ``(n, e)`` from domain B, unpaired; e is d unless the DataSpec has ``x_b``.
Defaults: cycle 10, Adam 2e-4 with beta1 0.5 in the paper. Deviations: MLPs on vectors, a replay pool only if ``replay``
gives its size (50 in the paper), no identity term. Without pairs the objective is as low for another bijection than the
intended one; ``distance`` adds the term of Benaim & Wolf, arXiv 1706.00826, which prefers one that keeps distances.

Use it for: rows of one table to rows of another of the same meaning, both ways, without pairs.

Not for: pairs at hand: regress one on the other (`pix2pix` for images). Images and series: `cyclegan` or `discogan`. A
bijection that must be the true one: unpaired data do not determine it.

Symbols:
    F, G        CoupledPair.forward_generator, CoupledPair.backward_generator
    D_a, D_b    CoupledPair.game_a, CoupledPair.game_b
    |G(F(a)) - a|   CoupledPair.gap, loss term cycle
    cycle       CoupledPairConfig.cycle
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ganlib.adversarial import Game, GameConfig, Sides, phases
from ganlib.config import Count, Rate, Share, Weight
from ganlib.data.fields import Field
from ganlib.data.spec import DataSpec
from ganlib.losses.divergence import wide
from ganlib.nn.architecture import activate_output
from ganlib.nn.layers import has_batch_norm
from ganlib.nn.mlp import MLP
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase


@dataclass(frozen=True, kw_only=True)
class CoupledPairConfig(GameConfig):
    """``cycle`` weighs the reconstruction after a round trip, ``distance`` the change of distances between examples;
    the rest are both games'."""

    hidden: tuple[Count, ...] = (128, 128)
    objective: str = "least_squares"
    cycle: Weight = 10.0
    distance: Weight = 0.0
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
    """Players ``generators`` (both at once) and ``critics``.

    A model of other networks or another distance overrides ``translator``, ``judge`` and ``gap``; one whose generators
    share layers overrides ``build`` and ``generators``.
    """

    config: CoupledPairConfig

    def __init__(self, spec: DataSpec, config: CoupledPairConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        self.a, self.b = spec.x, spec.fields.get("x_b", spec.x)
        into_a, into_b = self.build()
        self.game_a, self.game_b = (
            Game(
                self.judge(field),
                config,
                field,
                generator=generator,
                player="critics",
                against="generators",
                suffix=suffix,
                leads=False,
            )
            for field, generator, suffix in (
                (self.a, into_a, "_a"),
                (self.b, into_b, "_b"),
            )
        )

    # ---------------------------------------------------------------- what it is made of
    def build(self) -> tuple[nn.Module, nn.Module]:
        """Build the generators; returns the one into A and the one into B."""
        self.forward_generator = self.translator(self.a, self.b)
        self.backward_generator = self.translator(self.b, self.a)
        return self.backward_generator, self.forward_generator

    def generators(self) -> list[nn.Module]:
        """The modules of the player ``generators``."""
        return [self.forward_generator, self.backward_generator]

    def translator(self, source: Field, target: Field) -> nn.Module:
        """A generator from one domain to another, with linear outputs."""
        return MLP(source.dim, self.config.hidden, target.dim)

    def judge(self, field: Field) -> nn.Module:
        """The critic of a domain."""
        return MLP(field.dim, self.config.hidden, 1, "leaky_relu")

    def gap(self, made: Tensor, x: Tensor) -> Tensor:
        """How far examples are from those that they should equal, a scalar."""
        return (made - x).abs().mean()

    # ---------------------------------------------------------------- use
    def translate(self, x: Tensor) -> Tensor:
        """Examples of domain A in domain B, ``(n, *its shape)``."""
        return within(self.b, self.forward_generator(x))

    def translate_back(self, x: Tensor) -> Tensor:
        """Examples of domain B in domain A."""
        return within(self.a, self.backward_generator(x))

    # ---------------------------------------------------------------- training
    def players(self) -> dict[str, list[nn.Module]]:
        """Both generators; both critics."""
        critics = [critic for game in (self.game_a, self.game_b) for critic in game.players().values()]
        return {"generators": self.generators(), "critics": critics}

    def optimisers(self) -> dict[str, Optimiser]:
        """Those of the games."""
        return self.game_a.optimisers()

    def phases(self) -> tuple[Phase, ...]:
        """Generators first, as in the authors' code, then critics."""
        *critics, generators = phases([(self.game_a, self.sides_a), (self.game_b, self.sides_b)], self.generator_loss)
        return (generators, *critics)

    def sides_a(self, batch: Batch) -> Sides:
        """Domain A against translations into it."""
        return Sides(batch.x, self.game_a.fakes(batch, lambda: self.translate_back(batch["x_b"])))

    def sides_b(self, batch: Batch) -> Sides:
        """Domain B against translations into it."""
        return Sides(batch["x_b"], self.game_b.fakes(batch, lambda: self.translate(batch.x)))

    def generator_loss(self, batch: Batch) -> Losses:
        """Fool both critics; come back after a round trip."""
        a, b = batch.x, batch["x_b"]
        fake_a, fake_b = self.translate_back(b), self.translate(a)
        cycle = self.gap(self.translate_back(fake_b), a) + self.gap(self.translate(fake_a), b)
        games = (self.game_a, Sides(a, fake_a)), (self.game_b, Sides(b, fake_b))
        fooled = [game.generator_loss(batch, sides) for game, sides in games]
        losses = fooled[0] | fooled[1] | Losses(weights={"cycle": self.config.cycle}, cycle=cycle)
        return losses | self.distance_loss(batch, fake_a, fake_b)

    def distance_loss(self, batch: Batch, fake_a: Tensor, fake_b: Tensor) -> Losses:
        """The change of distances in both directions; nothing if it has no weight."""
        if not self.config.distance:
            return Losses()
        a, b = batch.x, batch["x_b"]
        changed = changed_distances(a, fake_b, b) + changed_distances(b, fake_a, a)
        return Losses(weights={"distance": self.config.distance}, distance=changed)

    def couples_batch(self) -> str:
        """What the games couple, or batch norm."""
        norms = any(map(has_batch_norm, (*self.generators(), self.game_a, self.game_b)))
        reasons = {"distances between examples of the batch": self.config.distance > 0, "batch norm": norms}
        return self.game_a.couples() or next((reason for reason, holds in reasons.items() if holds), "")


def changed_distances(x: Tensor, made: Tensor, other: Tensor) -> Tensor:
    """How much translation changes the distances between neighbours of the batch, in units of their deviations.

    E |(|x_i - x_j| - m) / s - (|F(x_i) - F(x_j)| - m') / s'|, j the row after i. m and s are mean and deviation of the
    first distances, m' and s' those between examples of ``other``, the domain of ``made``.
    Source: Benaim & Wolf, One-Sided Unsupervised Domain Mapping, arXiv 1706.00826, equation 6.
    """

    def gaps(values: Tensor) -> Tensor:
        return (wide(values) - wide(values).roll(1, 0)).flatten(1).abs().mean(1)

    before, after, usual = gaps(x), gaps(made), gaps(other)
    first, second = (
        (own - own_unit.mean()) / own_unit.std(correction=0).clamp(min=1e-6)
        for own, own_unit in ((before, before), (after, usual))
    )
    return (first - second).abs().mean()


def within(field: Field, output: Tensor) -> Tensor:
    """A network's linear output in the field's range: images in [-1, 1], flags and categories of table rows."""
    return activate_output(DataSpec.of(field), output)
