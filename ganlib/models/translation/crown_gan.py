"""Crown GAN: a surface designed to fit between two others, with the right distribution of gaps.

Paper: Hwang et al., Learning Beyond Human Expertise with Generative Models for Dental Restorations, arXiv 1804.00064,
2018.

Idea: pix2pix from depth maps of the prepared jaw, of the opposing jaw and of the space between them to the jaw with its
crown. A crown must meet the opposing teeth rightly, hence a further term compares the distribution of gaps:

    G: pix2pix's loss + histogram · E W(h(o - G(x)), h(o - y))

with o the opposing surface, h the histogram of the gaps of one example, and W the distance between two histograms. An
average of the possible crowns is near to each in L1, but touches the opposing teeth nowhere: its histogram is wrong.

Shapes: x ``(n, c, h, w)``: the prepared surface, the opposing one (channel ``opposing``) and the gap map or other
conditions; x_b ``(n, 1, h, w)``: the designed surface, on the same grid. All are heights in [-1, 1] in one unit, larger
towards the opposing side; a negative gap is a penetration.
Defaults: pix2pix's. The weight of the term, its range and its bins are ours.
Deviations: the distance between histograms is the earth mover's; histograms are of the whole map, without the paper's
emphasis of regions.

Use it for: designing a surface that must keep a distribution of distances to another one (crowns, seals, mating parts),
from pairs of conditions and finished designs.
Not for: image pairs without such a constraint; use ``pix2pix``. It does not guarantee a least gap: check the result.

Symbols:
    G         ``generator``
    D         ``game.critic``, of patches beside their conditions
    o         channel ``opposing`` of ``x``
    h         ``ganlib.losses.histogram.soft_histogram``
    W         ``ganlib.losses.histogram.histogram_distance``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le
from torch import Tensor

from ganlib.config import Count, Weight, Whole
from ganlib.data.spec import DataSpec, Image
from ganlib.errors import ConfigError
from ganlib.losses.histogram import histogram_distance, soft_histogram
from ganlib.models.translation.pix2pix import Pix2Pix, Pix2PixConfig
from ganlib.registry import register
from ganlib.training.algorithm import Batch, Losses

# Surfaces lie in [-1, 1], so no gap is wider than 2.
Gap = Annotated[float, Ge(-2), Le(2)]


@dataclass(frozen=True, kw_only=True)
class CrownGANConfig(Pix2PixConfig):
    """``histogram`` weighs the distance between histograms of gaps, from ``least_gap`` to ``most_gap`` in ``bins``;
    ``opposing`` is the channel of x that holds the opposing surface. The rest is pix2pix's."""

    histogram: Weight = 300.0
    opposing: Whole = 1
    least_gap: Gap = -1.0
    most_gap: Gap = 2.0
    bins: Count = 64


@register(
    "crown_gan",
    config=CrownGANConfig,
    modalities=("image",),
    paper="Hwang et al., Learning Beyond Human Expertise with Generative Models for Dental Restorations, "
    "arXiv 1804.00064, 2018",
    trainer={"batch_size": 16},
)
class CrownGAN(Pix2Pix):
    """Players ``critic`` and ``generator``."""

    config: CrownGANConfig

    def __init__(self, spec: DataSpec, config: CrownGANConfig) -> None:
        source, target = (spec.need(name, Image) for name in ("x", "x_b"))
        if config.opposing >= source.channels:
            raise ConfigError(
                f"channel {config.opposing} of x must hold the opposing surface, and x has {source.channels} channels: "
                "stack prepared surface, opposing surface and gap map as channels of x, or set opposing"
            )
        if target.shape != (1, *source.shape[1:]):
            raise ConfigError(
                f"gaps are measured pixel by pixel between one designed surface and x: x_b must have the shape "
                f"{(1, *source.shape[1:])}, not {target.shape}"
            )
        if config.most_gap <= config.least_gap or config.bins == 1:
            raise ConfigError(
                f"a histogram of gaps needs least_gap < most_gap and two bins or more; got {config.least_gap:g}, "
                f"{config.most_gap:g} and {config.bins}"
            )
        super().__init__(spec, config)

    def gaps(self, x: Tensor, surface: Tensor) -> Tensor:
        """The histogram of gaps between each surface ``(n, 1, h, w)`` and the opposing one, ``(n, bins)``."""
        gap = x[:, self.config.opposing : self.config.opposing + 1] - surface
        return soft_histogram(gap.flatten(1), self.config.least_gap, self.config.most_gap, self.config.bins)

    def generator_loss(self, batch: Batch) -> Losses:
        """As pix2pix's, and the distance between the histograms of gaps."""
        losses, width = super().generator_loss(batch), self.config.most_gap - self.config.least_gap
        made = self.game.made(batch, lambda: self.translate(batch.x))
        wanted = self.gaps(batch.x, batch["x_b"])
        distance = histogram_distance(self.gaps(batch.x, made), wanted, width / (self.config.bins - 1)).mean()
        return losses | Losses(weights={"histogram": self.config.histogram}, histogram=distance)
