"""pix2pix: an example to its counterpart, learned from pairs.

Paper: Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, arXiv 1611.07004, CVPR 2017.

Idea: the critic judges patches of the counterpart beside the source, and the generator, a U-Net, also stays close to
the pair's true counterpart, so that the game is about what an average of the possible counterparts would blur:

    G: -log D(x, G(x)) + l1 · |y - G(x)|;   D: -(log D(x, y) + log(1 - D(x, G(x))))             (equation 4)

Shapes: x ``(n, *source)`` and x_b ``(n, *target)``, images or series whose channels and sides may differ. The noise is
dropout in the three innermost levels of the U-Net (section 3.2): there is no latent.
Defaults of the paper and its code: l1 100, patches of 70 pixels (``layers`` 3), batch norm, N(0, 0.02) weights, Adam
2e-4 with beta1 0.5, no replay; the code's batch is 1, here 16.
Deviations: dropout is off after training, and batch norm uses its moving statistics, where the paper keeps both as in
training, so that a translation does not depend on its batch and can be sealed. The critic's loss is not halved, which
Adam would not notice. Only one direction is learned: for the other, exchange the domains.

Use it for: an image or series to its counterpart, learned from pairs, when an average of the possible answers would be
blurred. Filled-in digits were nearer to real ones than by the L1 distance alone (Fréchet distance 1.5 and 2.6).

Not for: the smallest error: the game helps likeness, and reading the digits hardly (.70 and .69); use
``adversarial=0``. No pairs: `cyclegan`. Tables: a regression.

Symbols:
    G           Pix2Pix.generator
    D(x, y)     Pix2Pix.game
    l1          Pix2PixConfig.l1, loss term l1
    patches     PatchCritic, Pix2PixConfig.layers
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ganlib.adversarial import Game, GameConfig, Sides
from ganlib.config import Count, Rate, Share, Weight
from ganlib.data.spec import DataSpec, Image, Series
from ganlib.nn.architecture import NetOptions, dcgan_weights
from ganlib.nn.patch import PatchCritic
from ganlib.nn.unet import UNet
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase


@dataclass(frozen=True, kw_only=True)
class Pix2PixConfig(GameConfig):
    """``l1`` weighs the distance to the true counterpart, ``adversarial`` the game; ``layers`` of the critic set the
    size of its patches; ``width`` is the number of channels of the first layers, ``dropout`` the generator's noise."""

    width: Count = 64
    layers: Count = 3
    dropout: Share = 0.5
    l1: Weight = 100.0
    learning_rate: Rate | None = 2e-4
    betas: tuple[Share, Share] | None = (0.5, 0.999)


@register(
    "pix2pix",
    config=Pix2PixConfig,
    modalities=("image", "series"),
    paper="Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, arXiv 1611.07004, CVPR 2017",
    trainer={"batch_size": 16},
)
class Pix2Pix(Algorithm):
    """Players ``critic`` and ``generator``."""

    config: Pix2PixConfig
    paired: ClassVar[bool] = True

    def __init__(self, spec: DataSpec, config: Pix2PixConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        source, target = (spec.need(name, Image, Series) for name in ("x", "x_b"))
        options = NetOptions(width=config.width, norm="batch", dropout=config.dropout)
        self.generator = self.network(source.shape, target.shape, options)
        critic = PatchCritic(target.shape, source.shape, options, config.layers)
        for net in (self.generator, critic):
            dcgan_weights(net)
        self.game = Game(critic, config, target, generator=self.generator, condition=source.shape)
        self.bounded = isinstance(target, Image)

    def network(self, source: tuple[int, ...], target: tuple[int, ...], options: NetOptions) -> nn.Module:
        """The generator, with linear outputs; models of other networks override it."""
        return UNet(source, target, options)

    def players(self) -> dict[str, nn.Module]:
        """The critic and the generator."""
        return self.game.players() | {"generator": self.generator}

    def optimisers(self) -> dict[str, Optimiser]:
        """Those of the game."""
        return self.game.optimisers()

    def phases(self) -> tuple[Phase, ...]:
        """The critic, then the generator, which reuses the critic's batch of translations."""
        return self.game.phases(self.dealt, self.generator_loss)

    def translate(self, x: Tensor) -> Tensor:
        """The counterparts of ``x (n, *source)``, ``(n, *target)``; of images in [-1, 1]."""
        made = self.generator(x)
        return torch.tanh(made) if self.bounded else made

    def dealt(self, batch: Batch) -> Sides:
        """True counterparts against translations, both beside their source."""
        return Sides(batch["x_b"], self.game.fakes(batch, lambda: self.translate(batch.x)), condition=batch.x)

    def generator_loss(self, batch: Batch) -> Losses:
        """Fool the critic, and stay close to the true counterpart."""
        made = self.game.made(batch, lambda: self.translate(batch.x))
        losses = Losses(weights={"l1": self.config.l1}, l1=(batch["x_b"] - made).abs().mean())
        return self.game.generator_loss(batch, Sides(batch["x_b"], made, condition=batch.x)) | losses

    def validation_loss(self, batch: Batch) -> Tensor:
        """Distance to the true counterparts."""
        return (batch["x_b"] - self.translate(batch.x)).abs().mean()

    def couples_batch(self) -> str:
        """What the game couples, or batch norm."""
        return self.game.couples() or "batch norm"
