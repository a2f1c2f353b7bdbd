"""pix2pix: an image to its counterpart, learned from pairs.

Paper: Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, arXiv 1611.07004, CVPR 2017.

Idea: the critic judges patches of the counterpart beside the source, and the generator, a U-Net, also stays close to
the pair's true counterpart:

    G: -log D(x, G(x)) + l1 · |y - G(x)|;   D: -½ (log D(x, y) + log(1 - D(x, G(x))))             (equation 4)

Shapes: x ``(n, *source)`` and x_b ``(n, *target)``, images whose channels and sides may differ. The noise is dropout.
Deviation: dropout is off after training, so that translations can be reproduced. The critic's loss is not halved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ganlib.adversarial import Game, GameConfig, Sides
from ganlib.config import Count, Rate, Share, Weight
from ganlib.data.spec import DataSpec, Image
from ganlib.nn.architecture import NetOptions, dcgan_weights
from ganlib.nn.patch import PatchCritic
from ganlib.nn.unet import UNet
from ganlib.registry import register
from ganlib.testing import Toy
from ganlib.testing.problems import digits
from ganlib.training import Algorithm, Batch, Losses, Optimiser, Phase


@dataclass(frozen=True, kw_only=True)
class Pix2PixConfig(GameConfig):
    """``l1`` weighs the distance to the true counterpart; ``layers`` of the critic set the size of its patches."""

    width: Count = 64
    layers: Count = 3
    dropout: Share = 0.5
    l1: Weight = 100.0
    learning_rate: Rate | None = 2e-4


def _pairs(seed: int, part: str = "train") -> dict[str, Tensor]:
    """Digits, and the same twice as large, bent to the right, as negative and positive in two channels."""
    x = digits(seed, part)[0]
    large = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    rows = [large[:, :, row].roll(row // 4, -1) for row in range(16)]
    bent = torch.stack(rows, 2)
    return {"x": x, "x_b": torch.cat([bent, -bent], 1)}


@torch.no_grad()
def _explained(algorithm: Any, seed: int) -> float:
    """Share of the held-out counterparts' variance that translations explain."""
    pairs = _pairs(seed, "test")
    error = algorithm.eval().translate(pairs["x"]) - pairs["x_b"]
    return 1 - float(error.square().mean() / (pairs["x_b"] - pairs["x_b"].mean(0)).square().mean())


TOY = Toy(
    data=_pairs,
    spec=DataSpec({"x": Image(1, 8, 8), "x_b": Image(2, 16, 16)}),
    level=_explained,
    at_least=0.7,
    measure="8x8 digits to their bent 16x16 counterparts: variance explained",
    baseline=lambda seed: 0.0,  # the mean counterpart
    config={"width": 8, "layers": 1, "learning_rate": 2e-3, "dropout": 0.1},
    trainer={"steps": 300, "batch_size": 32},
)


@register(
    "pix2pix_proof",
    config=Pix2PixConfig,
    modalities=("image",),
    paper="Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, arXiv 1611.07004, CVPR 2017",
    toy=TOY,
)
class Pix2Pix(Algorithm):
    """Players ``critic`` and ``generator``."""

    config: Pix2PixConfig

    def __init__(self, spec: DataSpec, config: Pix2PixConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        source, target = spec.need("x", Image), spec.need("x_b", Image)
        options = NetOptions(width=config.width, norm="batch", dropout=config.dropout)
        self.generator = UNet(source.shape, target.shape, options)
        critic = PatchCritic(target.shape, source.shape, options, config.layers)
        for net in (self.generator, critic):
            dcgan_weights(net)
        self.game = Game(critic, config, target, generator=self.generator, condition=source.shape)

    def players(self) -> dict[str, nn.Module]:
        return self.game.players() | {"generator": self.generator}

    def optimisers(self) -> dict[str, Optimiser]:
        return self.game.optimisers()

    def phases(self) -> tuple[Phase, ...]:
        return self.game.phases(self.dealt, self.generator_loss)

    def translate(self, x: Tensor) -> Tensor:
        return torch.tanh(self.generator(x))

    def dealt(self, batch: Batch) -> Sides:
        return Sides(batch["x_b"], self.game.fakes(batch, lambda: self.translate(batch.x)), condition=batch.x)

    def generator_loss(self, batch: Batch) -> Losses:
        made = self.game.made(batch, lambda: self.translate(batch.x))
        distance = (batch["x_b"] - made).abs().mean()
        fooled = self.game.generator_loss(batch, Sides(batch["x_b"], made, condition=batch.x))
        return fooled | Losses(weights={"l1": self.config.l1}, l1=distance)
