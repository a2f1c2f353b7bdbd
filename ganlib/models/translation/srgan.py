"""SRGAN: small images to large ones with plausible detail, learned from pairs.

Paper: Ledig et al., Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network,
arXiv 1609.04802, CVPR 2017.

Idea: many large images fit one small image, and the smallest squared error is their mean, a blur. Compare features of
the images instead of pixels, and let a critic of large images fill in the detail:

    G first:  ||b - G(a)||²                                                                         (equation 4)
    then G:   content · ||phi(b) - phi(G(a))||² + adversarial · (-log D(G(a)))                      (equations 3, 5, 6)
    critic:   -log D(b) - log(1 - D(G(a)))                                                          (equation 2)

phi are the features of a network that was trained before: here the encoder of a convolutional auto-encoder of the large
examples, trained in a first stage without labels, as no network trained on photographs would suit every kind of data.
Their squared error is divided by their mean square in the batch, so that ``content`` means the same for all data.

Shapes: x ``(n, channels, *small)`` and its counterpart x_b ``(n, channels, *large)``, images or series; every side
grows by the same product of 2 and 3.
Defaults of the paper: 16 residual blocks of 64 channels, parametric ReLU, batch norm, pixel shuffle, adversarial 1e-3,
Adam 1e-4 with beta1 0.9, batches of 16; ``content`` is 6e-3, its rescaling of VGG's features.
Deviations: phi, see above; the stages share one budget of steps (a tenth for phi, ``squared_error`` of the rest for the
first loss) instead of a million steps and two rates; the critic is this library's strided trunk with batch norm.

Use it for: enlarging images or series of one kind, from pairs of both resolutions, if they should look sharp.
Not for: measuring or recognising, since its detail is invented: a classifier read .89 of its digits, and .91 of those
of the squared error alone (``adversarial=0, content=0``), which also has the smaller error; on MNIST, 7 to 28 pixels
with ``content=1``, .945 of both; pairs of one size, for which ``pix2pix`` is.

Symbols:
    G     ``SRGAN.generator``
    D     ``SRGAN.game``, on large examples
    phi   ``SRGAN.perception.encoder``
    a, b  ``batch.x``, ``batch["x_b"]``
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from ganlib.adversarial import Game, GameConfig, Sides
from ganlib.config import Count, Rate, Share, Weight
from ganlib.data.spec import DataSpec, Image, Series
from ganlib.errors import ConfigError
from ganlib.nn.architecture import TRANSPOSED, Headed, NetOptions, architecture
from ganlib.nn.layers import CONV
from ganlib.nn.subpixel import SubpixelResNet
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase, Stage

_LEAST = 8  # of a large side: the critic and phi halve it


@dataclass(frozen=True, kw_only=True)
class SRGANConfig(GameConfig):
    """``blocks`` and ``width`` are the generator's; ``critic_width`` and ``feature_width`` the channels of the first
    layers of critic and feature network. ``squared_error``: the share of the steps spent on the first loss.
    ``content``: weight of the distance of features."""

    blocks: Count = 16
    width: Count = 64
    critic_width: Count = 64
    feature_width: Count = 16
    squared_error: Share = 0.5
    content: Weight = 6e-3
    adversarial: Weight = 1e-3
    learning_rate: Rate | None = 1e-4
    betas: tuple[Share, Share] | None = (0.9, 0.999)


class Perception(nn.Module):
    """An auto-encoder of ``(n, channels, *sides)``; ``encoder`` halves the sides twice, to ``4 · width`` channels."""

    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        dims = len(shape) - 1
        conv, wider = cast("Any", CONV[dims]), cast("Any", TRANSPOSED[dims])
        self.sides = shape[1:]
        self.encoder = nn.Sequential(
            conv(shape[0], width, 3, 1, 1), nn.ReLU(),
            conv(width, 2 * width, 3, 2, 1), nn.ReLU(),
            conv(2 * width, 4 * width, 3, 2, 1), nn.ReLU(),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            wider(4 * width, 2 * width, 4, 2, 1), nn.ReLU(), wider(2 * width, shape[0], 4, 2, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Rebuild."""
        return self.decoder(self.encoder(x))[(..., *(slice(side) for side in self.sides))]


@register(
    "srgan",
    config=SRGANConfig,
    modalities=("image", "series"),
    paper="Ledig et al., Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network, "
    "arXiv 1609.04802, CVPR 2017",
    trainer={"batch_size": 16},
)
class SRGAN(Algorithm):
    """Players ``perception``, ``generator`` and ``critic``."""

    config: SRGANConfig
    paired: ClassVar[bool] = True

    def __init__(self, spec: DataSpec, config: SRGANConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        source, target = (spec.need(name, Image, Series) for name in ("x", "x_b"))
        _check(source.shape, target.shape)
        self.generator = SubpixelResNet(
            source.shape, target.shape, NetOptions(width=config.width, norm="batch"), config.blocks
        )
        row = architecture("dcgan", DataSpec.of(target))
        critic = Headed(row.trunk(target.shape, 0, NetOptions(width=config.critic_width, norm="batch")), 1)
        self.game = Game(critic, config, target, generator=self.generator)
        self.perception = Perception(target.shape, config.feature_width)
        self.bounded = isinstance(target, Image)

    def players(self) -> dict[str, nn.Module]:
        """The critic, the generator and the feature network."""
        return {**self.game.players(), "generator": self.generator, "perception": self.perception}

    def optimisers(self) -> dict[str, Optimiser]:
        """Those of the game; the feature network has ten times the generator's rate."""
        own = self.game.optimisers()
        base = own["generator"]
        return {**own, "perception": replace(base, learning_rate=10 * base.learning_rate)}

    def stages(self, budget: int) -> Sequence[Stage]:
        """The features, the squared error, then the game; the squared error alone if the others weigh nothing."""
        features = max(1, budget // 10)
        first = max(1, int((budget - features) * self.config.squared_error))
        plain = not (self.config.content or self.config.adversarial)
        if plain:
            features, first = 0, budget
        stages = (
            Stage("features", (Phase("perception", self.feature_loss),), features),
            Stage("squared_error", (Phase("generator", self.squared_error),), first),
            Stage("adversarial", self.phases(), max(1, budget - features - first)),
        )
        return stages[1:2] if plain else stages

    def phases(self) -> tuple[Phase, ...]:
        """The critic, then the generator, which reuses the critic's batch of enlarged examples."""
        return self.game.phases(self.sides, self.generator_loss)

    def translate(self, x: Tensor) -> Tensor:
        """Enlarged examples ``(n, *large)``; of images in [-1, 1]."""
        made = self.generator(x)
        return torch.tanh(made) if self.bounded else made

    def sides(self, batch: Batch) -> Sides:
        """True large examples against enlarged ones."""
        return Sides(batch["x_b"], self.game.fakes(batch, lambda: self.translate(batch.x)))

    def feature_loss(self, batch: Batch) -> Losses:
        """Rebuild large examples."""
        return Losses(features=(self.perception(batch["x_b"]) - batch["x_b"]).square().mean())

    def squared_error(self, batch: Batch) -> Losses:
        """The mean squared error."""
        return Losses(squared_error=(self.translate(batch.x) - batch["x_b"]).square().mean())

    def generator_loss(self, batch: Batch) -> Losses:
        """Features of the true counterpart, in the eyes of the critic a large example."""
        made = self.game.made(batch, lambda: self.translate(batch.x))
        with torch.no_grad():
            wanted = self.perception.encoder(batch["x_b"])
            spread = wanted.square().mean().clamp(min=1e-6)
        content = (self.perception.encoder(made) - wanted).square().mean() / spread
        losses = Losses(weights={"content": self.config.content}, content=content)
        return self.game.generator_loss(batch, Sides(batch["x_b"], made)) | losses

    def validation_loss(self, batch: Batch) -> Tensor:
        """Squared error."""
        return (batch["x_b"] - self.translate(batch.x)).square().mean()

    def couples_batch(self) -> str:
        """What the game couples, or batch norm."""
        return self.game.couples() or "batch norm"


def _check(source: tuple[int, ...], target: tuple[int, ...]) -> None:
    """Raise ConfigError unless both have equal channels and the large one is large enough."""
    if len(source) != len(target) or source[0] != target[0]:
        raise ConfigError(
            f"srgan enlarges, and the examples have {source[0]} and {target[0]} channels (shapes {source} and "
            f"{target}): bring them to equal channels, or use pix2pix, which changes them"
        )
    if min(target[1:]) < _LEAST:
        raise ConfigError(
            f"large examples of {' x '.join(map(str, target[1:]))} are too small for srgan's critic, which needs sides "
            f"of {_LEAST} or more"
        )
