"""DANN: a classifier for a domain without labels, by features that it shares with a labelled one.

Paper: Ganin et al., Domain-Adversarial Training of Neural Networks, arXiv 1505.07818, JMLR 17, 2016.

Idea: features f from which labels can be predicted, and from which a critic cannot name the domain, predict labels in
both domains:

    classifier: E L_y(y, labels(f(a))) - lambda · L_d                                    (equations 9, 13 to 15)
    critic:     L_d = -E log D(f(a)) - E log(1 - D(f(b)))
    lambda:     adversarial · (2 / (1 + exp(-rise · p)) - 1), p the share of training that is done  (section 5.2.2)

``adversarial`` is the weight of the game in ``GameConfig``. The critic's loss with its sign reversed is the saturating
game played by both domains' features, so that no gradient-reversal layer is needed; with ``objective="gan"`` the
features minimise the critic's loss with exchanged domains instead.

Shapes: x ``(n, *shape)`` with labels y int64 ``(n,)`` from domain A, x_b ``(n, *shape)`` without labels from domain B,
in no common order (``with_target`` brings both to one length). Vectors pass through an MLP, images and series through
strided convolutions.
Defaults of the paper: rise 10, one hidden layer in the label predictor, batches of one half each.
Deviations: Adam at 1e-3 instead of SGD with momentum and a falling rate; in a step the critic moves before the
features; ``networks`` of this library instead of the paper's three convolutional ones.

Use it for: classifying data whose sensor, site or rendering has changed since the labels were made, if unlabelled
examples of the new domain are at hand and classes are about as frequent in both.
Not for: domains whose classes have other frequencies, since equal features then mix classes; a few labels in the domain
itself, for which ``semi_supervised_gan`` is better; seeing the change, for which ``cyclegan`` or ``unit`` translate.

Symbols:
    f        ``DANN.extractor``
    labels   ``DANN.labels``
    D        ``DANN.game``, whose critic scores features high if they are from domain A
    L_d      ``Game.critic_loss``; reversed: ``Game.generator_loss`` and ``Game.opposite_loss``
    lambda   ``DANN.strength`` times ``DANNConfig.adversarial``
    p        ``DANN.done`` updates, over the budget of steps
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ganlib.adversarial import Game, GameConfig, Sides
from ganlib.config import Count, Rate, Share, Weight
from ganlib.data.fields import Vector
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError, DataError
from ganlib.nn.architecture import NetOptions, architecture
from ganlib.nn.mlp import MLP
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase, Stage


@dataclass(frozen=True, kw_only=True)
class DomainConfig(GameConfig):
    """``norm``: normalisation of the feature extractor, none, batch, layer or instance; ``label_hidden`` and
    ``critic_hidden``: widths of the hidden layers of the label predictor and of the critic; ``rise``: how fast the
    weight of the game rises."""

    width: Count = 32
    norm: str = "none"
    label_hidden: tuple[Count, ...] = (100,)
    critic_hidden: tuple[Count, ...] = (100,)
    rise: Weight = 10.0
    learning_rate: Rate | None = 1e-3
    betas: tuple[Share, Share] | None = (0.9, 0.999)


@dataclass(frozen=True, kw_only=True)
class DANNConfig(DomainConfig):
    """The feature extractor's networks, and the objective; the rest is of every domain-adversarial model."""

    objective: Literal["gan_saturating", "gan"] = "gan_saturating"
    networks: str = "auto"
    hidden: tuple[Count, ...] = (64, 64)
    dropout: Share = 0.0


def with_target(x: Tensor, y: Tensor, x_b: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """Training data of both domains in random order, the smaller domain repeated to the number of the larger one.

    Raises DataError if labels and examples differ in number, or if a domain is empty.
    """
    if len(x) != len(y) or not len(x) or not len(x_b):
        raise DataError(
            f"{len(x)} examples and {len(y)} labels of the labelled domain, {len(x_b)} examples of the other: give "
            "each labelled example one label, and examples of both domains"
        )
    generator, most = torch.Generator().manual_seed(seed), max(len(x), len(x_b))

    def order(rows: int) -> Tensor:
        return torch.cat([torch.randperm(rows, generator=generator) for _ in range(math.ceil(most / rows))])[:most]

    labelled = order(len(x))
    return {"x": x[labelled], "y": y[labelled], "x_b": x_b[order(len(x_b))]}


class DomainAdversarial(Algorithm):
    """Features that predict the labels of domain A, and from which a critic cannot name the domain.

    A subclass sets ``extractor``, the features of examples; ``labels``, the logits of features; and ``game``, whose
    critic judges features. Players ``critic`` and ``classifier`` (extractor and labels).
    """

    config: DomainConfig
    extractor: nn.Module
    labels: nn.Module
    game: Game
    done: Tensor

    def __init__(self, spec: DataSpec, config: DomainConfig) -> None:
        super().__init__()
        self.spec, self.config, self.budget = spec, config, 1
        self.register_buffer("done", torch.zeros(()))

    @property
    def by_class(self) -> bool:
        """Nothing is conditioned on the class."""
        return False

    def class_logits(self, x: Tensor) -> Tensor:
        """Logits of the classes, in axis 1, of examples of either domain."""
        return self.labels(self.extractor(x))

    # ---------------------------------------------------------------- training
    def players(self) -> dict[str, nn.Module | list[nn.Module]]:
        """The critic; extractor and label predictor."""
        return {**self.game.players(), "classifier": [self.extractor, self.labels]}

    def optimisers(self) -> dict[str, Optimiser]:
        """Those of the game."""
        return self.game.optimisers()

    def stages(self, budget: int) -> Sequence[Stage]:
        """One stage, whose steps the weight of the game rises over."""
        self.budget = max(1, budget)
        self.done.zero_()
        return super().stages(budget)

    def phases(self) -> tuple[Phase, ...]:
        """The critic, then the classifier."""
        critic, classifier = self.game.phases(self.sides, self.classifier_loss)
        return critic, Phase(classifier.trains, classifier.loss, after=(*classifier.after, self._count))

    def _count(self, batch: Batch) -> None:
        self.done += 1

    def strength(self) -> Tensor:
        """The weight of the game at this step as a share of its largest, from 0 towards 1."""
        return 2 / (1 + torch.exp(-self.config.rise * (self.done / self.budget).clamp(max=1))) - 1

    def features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Features of both domains, computed in one forward until the classifier moves."""
        both = batch.once("features", lambda: self.extractor(torch.cat([batch.x, batch["x_b"]])), of=("classifier",))
        first, second = both.chunk(2)
        return first, second

    def sides(self, batch: Batch) -> Sides:
        """Features of domain A against those of domain B, without their gradient."""
        first, second = self.features(batch)
        return Sides(first.detach(), second.detach())

    def classifier_loss(self, batch: Batch) -> Losses:
        """Predict the labels of domain A, and hide the domain: the gradient of the game is scaled by ``strength``."""
        first, second = self.features(batch)
        losses = Losses(labels=cross_entropy(self.labels(first), batch.y))
        if not self.config.adversarial:
            return losses
        strength = self.strength()
        hidden = Sides(*(strength * own + (1 - strength) * own.detach() for own in (first, second)))
        return losses | self.hiding_loss(batch, hidden)

    def hiding_loss(self, batch: Batch, sides: Sides) -> Losses:
        """The game as the features of both domains play it."""
        return self.game.generator_loss(batch, sides) | self.game.opposite_loss(batch, sides)

    def validation_loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the labels of domain A; nothing about the other domain is known."""
        return cross_entropy(self.class_logits(batch.x), batch.y)

    def couples_batch(self) -> str:
        """What the game couples, or batch norm."""
        return self.game.couples() or ("batch norm" if self.config.norm == "batch" else "")


@register(
    "dann",
    config=DANNConfig,
    modalities=("points", "table", "image", "series"),
    paper="Ganin et al., Domain-Adversarial Training of Neural Networks, arXiv 1505.07818, JMLR 17, 2016",
    trainer={"batch_size": 64},
)
class DANN(DomainAdversarial):
    """Players ``critic`` and ``classifier`` (feature extractor and label predictor)."""

    config: DANNConfig

    def __init__(self, spec: DataSpec, config: DANNConfig) -> None:
        super().__init__(spec, config)
        _check(spec)
        options = NetOptions(config.hidden, config.width, config.norm, dropout=config.dropout)
        self.extractor = architecture(config.networks, spec).trunk(spec.shape, 0, options)
        width = self.extractor.width
        self.labels = MLP(width, config.label_hidden, spec.classes)
        critic = MLP(width, config.critic_hidden, 1)
        self.game = Game(critic, config, Vector(width), generator=self.extractor, against="classifier")

    def encode(self, x: Tensor) -> Tensor:
        """Features common to both domains, ``(n, width)``."""
        return self.extractor(x)

    def classify(self, x: Tensor) -> Tensor:
        """The most probable class of examples of either domain, ``(n,)``."""
        return self.class_logits(x).argmax(1)


def _check(spec: DataSpec) -> None:
    """Raise ConfigError unless there are classes and both domains have one shape."""
    if spec.classes < 2:
        raise ConfigError("dann predicts classes: give a DataSpec with two or more, 'y': Classes(k)")
    check_alike(spec)


def check_alike(spec: DataSpec) -> None:
    """Raise ConfigError unless both domains have one shape."""
    other = spec.field_of("x_b")
    assert other is not None
    if other.shape != spec.x.shape:
        raise ConfigError(
            f"both domains share one network, and their shapes are {spec.x.shape} and {other.shape}: bring them to "
            "equal channels and sides, or to the same columns"
        )
