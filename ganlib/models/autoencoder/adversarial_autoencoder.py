"""Adversarial auto-encoder: a game on latents gives the code any prior.

Paper: Makhzani et al., Adversarial Autoencoders, arXiv 1511.05644, 2015.

Idea: beside the error of rebuilding, a critic compares codes q(z) with samples of a prior p(z), which needs no density:

    auto-encoder  minimise ||x - g(z)||² / d + adversarial · L_G(D(z)),   z = f(x)
    critic        separates z ~ p(z) (real) from z = f(x)

Modes. *Semi-supervised* (section 5): the code is (y, z); a second critic makes the class probabilities y of
all examples look like one-hot draws of a uniform Cat(y), and labelled examples also train them by cross-entropy.
*Clustering* (section 6): the same without labels, with ``clusters`` classes.

Shapes: x ``(n, *shape)``; code ``(n, latent_dim)``, then class probabilities in the other modes.
Defaults: the standard normal prior and a deterministic encoder, as in most of the paper; critics of two layers.
Deviations: one update for rebuilding, game and labels, which the paper makes in turn; Adam 1e-3 where the paper has SGD
with momentum [unverified]; labels weigh 10, since few examples stand against two games; squared error for all data.
``objective="mmd"``, which has no critic, makes it a
Wasserstein auto-encoder (Tolstikhin et al., arXiv 1711.01558). The score is the error of rebuilding, plus
``critic_in_score`` times minus the critic's score of the code, which is high where no normal code lies.

Use it for (adversarial_autoencoder): codes with a prior of any shape, from which the decoder also generates. The MMD
test did not separate its codes from the prior (mean p .34; codes of a plain auto-encoder .005).

Not for (adversarial_autoencoder): the code's likelihood or a bound: `vae` and `iwae`. Anomalies only: `autoencoder`
gives the same error of rebuilding without a game.

Use it for (semi_supervised_aae): classes from few labels beside a generator by class: an auto-encoder whose code is
class and style.

Not for (semi_supervised_aae): the best accuracy from few labels of images: `semi_supervised_gan` is recorded (.922 from
50 labels of digits), this one on points only. Sharp samples: those of its toy are scattered (see the picture). All
examples labelled: `cvae`.

Use it for (clustering_aae): groups without labels together with a generator, where styles within a group are
continuous.

Not for (clustering_aae): clusters alone: k-means is simpler. Classes that you can name
for some examples: `semi_supervised_aae`.

Symbols:
    f, g        Coder.encoder, Coder.decoder
    D           Game.critic
    p(z)        prior, option prior
    L_G         loss term generator
    ||x - g(z)||² / d   Coder.errors, loss term reconstruction

Symbols (semi_supervised_aae, clustering_aae):
    Cat(y)      Categorical
    y           Coder.split
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from ganlib.abilities import Predicts
from ganlib.adversarial import Game, GameConfig, Sides, phases
from ganlib.config import Count, Rate, Weight
from ganlib.data.fields import Vector
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.losses.adversarial import objective
from ganlib.models.autoencoder.autoencoder import Coder, CoderConfig, RebuildingScorer
from ganlib.models.autoencoder.priors import Categorical, Prior, prior
from ganlib.nn.mlp import MLP
from ganlib.nn.sampler import Sampler, sampler_for
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase

PAPER = "Makhzani et al., Adversarial Autoencoders, arXiv 1511.05644, 2015"


@dataclass(frozen=True, kw_only=True)
class AdversarialAutoencoderConfig(GameConfig, CoderConfig):
    """``prior``: a row of ``priors.PRIORS``; ``clusters``: of mode clustering; ``labelled``: weight of the labels.

    ``mode``: what the code holds beside latents: nothing, the data's classes, or clusters; ``critic_hidden``: widths of
    the critics; ``critic_in_score``: weight of the critic's opinion of the code in the score.
    """

    mode: Literal["unsupervised", "semi_supervised", "clustering"] = "unsupervised"
    prior: str = "normal"
    clusters: Count = 10
    labelled: Weight = 10.0
    critic_hidden: tuple[Count, ...] = (128, 128)
    critic_in_score: Weight = 0.0
    learning_rate: Rate | None = 1e-3


class CodeScorer(RebuildingScorer):
    """The error of rebuilding, and how far the code is from the prior in the critic's eyes: ``(n, *shape) -> (n,)``."""

    def __init__(self, coder: Coder, critic: nn.Module, weight: float) -> None:
        super().__init__(coder)
        self.critic, self.weight = critic, weight

    def forward(self, x: Tensor) -> Tensor:
        """Score examples."""
        return super().forward(x) - self.weight * self.critic(self.coder.split(x)[0])[:, 0]


class FromPrior(nn.Module):
    """Noise, and the class if one is given, to a decoder's output."""

    def __init__(self, decoder: nn.Module, latents: Prior, classes: Prior | None) -> None:
        super().__init__()
        self.decoder, self.latents, self.classes = decoder, latents, classes

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Generate; without a condition, the class is drawn."""
        code = self.latents(z[:, : self.latents.noise])
        if self.classes is not None:
            if condition is None:
                label = self.classes(z[:, self.latents.noise :])
            else:
                label = one_hot(condition, self.classes.size).to(z.dtype)
            code = torch.cat([code, label], 1)
        return self.decoder(code)


@register(
    "adversarial_autoencoder",
    config=AdversarialAutoencoderConfig,
    modalities=("table", "points", "image", "series"),
    paper=PAPER,
)
class AdversarialAutoencoder(Algorithm):
    """Players ``autoencoder`` and ``critic`` (two critics if the code has classes)."""

    takes = ("classes",)
    config: AdversarialAutoencoderConfig

    def __init__(self, spec: DataSpec, config: AdversarialAutoencoderConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        counts = {"unsupervised": 0, "semi_supervised": spec.classes, "clustering": config.clusters}
        self.classes = counts[config.mode]
        if config.mode != "unsupervised" and self.classes < 2:
            raise ConfigError(
                f"mode {config.mode!r} needs two or more classes, and there are {self.classes}: give a DataSpec with "
                "classes=..., or clusters=..., or use mode='unsupervised'"
            )
        self.coder = Coder(spec, config, self.classes)
        self.prior = prior(config.prior, config.latent_dim)
        self.class_prior = Categorical(self.classes) if self.classes else None
        self.game = self._game(config.latent_dim, "")
        self.class_game = self._game(self.classes, "_class") if self.classes else None

    def _game(self, size: int, suffix: str) -> Game:
        plays = objective(self.config.objective).kind != "none"
        critic = MLP(size, self.config.critic_hidden, 1, "leaky_relu") if plays else None
        generator, field = self.coder.encoder, Vector(size)
        return Game(critic, self.config, field, generator=generator, against="autoencoder", suffix=suffix)

    def _games(self) -> list[tuple[Game, Prior, slice]]:
        """Each game with its prior and its part of the code."""
        size = self.config.latent_dim
        found: list[tuple[Game, Prior, slice]] = [(self.game, self.prior, slice(0, size))]
        if self.class_game is not None and self.class_prior is not None:
            found.append((self.class_game, self.class_prior, slice(size, size + self.classes)))
        return found

    def players(self) -> dict[str, nn.Module | list[nn.Module]]:
        """The auto-encoder; the critics, if there are any."""
        critics = [critic for game, _, _ in self._games() for critic in game.players().values()]
        own: dict[str, nn.Module | list[nn.Module]] = {"autoencoder": self.coder}
        return own | ({"critic": critics} if critics else {})

    def optimisers(self) -> dict[str, Optimiser]:
        """Those of the game."""
        return self.game.optimisers()

    def phases(self) -> tuple[Phase, ...]:
        """The critics, then the auto-encoder."""

        def deal(game: Game, latents: Prior, part: slice) -> tuple[Game, object]:
            return game, lambda batch: self._sides(batch, game, latents, part, fixed=True)

        return phases([deal(*one) for one in self._games()], self.autoencoder_loss)  # type: ignore[misc]

    def codes(self, batch: Batch) -> Tensor:
        """The codes of the batch, until the auto-encoder moves."""
        return batch.once("codes", lambda: self.coder.code(batch.x), of=("autoencoder",))

    def _sides(self, batch: Batch, game: Game, latents: Prior, part: slice, fixed: bool) -> Sides:
        """The prior against codes; ``fixed`` ones are without the encoder's gradient."""
        made = (game.fakes if fixed else game.made)(batch, lambda: self.codes(batch)[:, part])
        return Sides(latents(batch.randn(latents.noise)), made)

    def autoencoder_loss(self, batch: Batch) -> Losses:
        """Rebuild, look like the priors, and name labelled examples (all, where only ``y`` is given)."""
        losses = Losses()
        for game, latents, part in self._games():
            losses |= game.generator_loss(batch, self._sides(batch, game, latents, part, fixed=False))
        rebuilt = self.coder.decode(self.codes(batch))
        losses |= Losses(reconstruction=self.coder.errors(batch.x, rebuilt, batch).mean())
        if self.config.mode != "semi_supervised":
            return losses
        few = "labelled_x" in batch.tensors
        x, y = (batch["labelled_x"], batch["labelled_y"]) if few else (batch.x, batch.y)
        named = cross_entropy(self.coder.split(x)[1], y)
        return losses | Losses(weights={"labelled": self.config.labelled}, labelled=named)

    def validation_loss(self, batch: Batch) -> Tensor:
        """The error of rebuilding held-out examples, and the gaps of their codes' first two moments to the prior's."""
        z, drawn = self.coder.split(batch.x)[0], self.prior(batch.randn(self.prior.noise))
        gaps = [(z.pow(k).mean(0) - drawn.pow(k).mean(0)).square().mean() for k in (1, 2)]
        return self.coder.errors(batch.x, self.coder.decode(self.coder.code(batch.x))).mean() + sum(gaps)

    def couples_batch(self) -> str:
        """What the games couple."""
        return self.game.couples()

    # ---------------------------------------------------------------- use
    @property
    def by_class(self) -> bool:
        """Only the semi-supervised code has the data's classes."""
        return self.config.mode == "semi_supervised"

    @classmethod
    def lacks(cls, config: AdversarialAutoencoderConfig) -> tuple[type, ...]:
        """Classes, where the code has none."""
        return (Predicts,) if config.mode == "unsupervised" else ()

    def encode(self, x: Tensor) -> Tensor:
        """The code."""
        return self.coder.code(x)

    def classify(self, x: Tensor) -> Tensor:
        """The most probable class or cluster, int64 ``(n,)``."""
        if not self.classes:
            raise ConfigError("this code has no classes: train with mode='semi_supervised' or 'clustering'")
        return self.coder.split(x)[1].argmax(1)

    def scorer(self) -> nn.Module:
        """The error of rebuilding, and the critic's opinion of the code."""
        if not self.config.critic_in_score:
            return RebuildingScorer(self.coder).eval()
        if self.game.critic is None:
            raise ConfigError("critic_in_score needs a critic, and this objective has none: set it to 0")
        return CodeScorer(self.coder, self.game.critic, self.config.critic_in_score).eval()

    def sampler(self) -> Sampler:
        """The decoder on samples of the prior."""
        noise = self.prior.noise + (self.class_prior.noise if self.class_prior is not None else 0)
        return sampler_for(FromPrior(self.coder.decoder, self.prior, self.class_prior), noise, self.spec)


register(
    "semi_supervised_aae",
    config=AdversarialAutoencoderConfig,
    modalities=("table", "points", "image", "series"),
    paper=PAPER,
    tasks=("classifier", "augmenter"),
    defaults={"mode": "semi_supervised"},
)(AdversarialAutoencoder)
register(
    "clustering_aae",
    config=AdversarialAutoencoderConfig,
    modalities=("table", "points", "image", "series"),
    paper=PAPER,
    tasks=("augmenter", "detector"),
    defaults={"mode": "clustering"},
)(AdversarialAutoencoder)
