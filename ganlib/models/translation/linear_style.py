"""Linear style transfer: an image in the style of another, by one matrix on its features.

Paper: Li et al., Learning Linear Transformations for Fast Image and Video Style Transfer, arXiv 1808.04537, CVPR 2019.

Idea: a style is the mean and the covariance of an auto-encoder's features. A linear map gives the features of a content
image those of a style, and two small networks read that map off the two images, instead of a decomposition for each
(section 3.2):

    F = T (F_c - mean F_c) + mean F_s,   T = M_s(F_s) · M_c(F_c),   image = decoder(F)
    loss: content · |E(image) - F_c|² + style · sum over levels of |mean - mean_s|² + |covariance - covariance_s|²

First the auto-encoder learns to reconstruct images of both domains; then it stays, and the map is learned.

Shapes: x ``(n, c, h, w)`` contents and x_b ``(n, c, h, w)`` styles, images in no common order. ``translate(x,
style)`` takes one style image for each content or one for all; without ``style`` it gives the domain's average style, a
running mean of M_s and of the features' means over the last batches of x_b, so that it is an ordinary translation.
Defaults: content 1 and Adam 1e-4 of the authors' code. Deviations: a small auto-encoder of one halving, trained here on
both domains, instead of VGG's; convolutions of single positions in M_c and M_s; ``style`` is ours, since the code's
0.02 belongs to VGG's features.

Use it for: textures, colours and lighting of one set of images on the contents of another, with the style chosen when
it is used.
Not for: changes of shape (``cyclegan``), or pairs with a known answer (``pix2pix``).

Symbols:
    E         ``levels``, of which the last gives F
    M_c       ``transfer.content``
    M_s       ``transfer.style``
    T         their product, in ``ganlib.nn.style.LinearTransfer``
    decoder   ``decoder``
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganlib.config import Config, Count, Rate, Share, Weight
from ganlib.data.spec import DataSpec, Image
from ganlib.errors import ConfigError, DataError
from ganlib.nn.architecture import check_sides
from ganlib.nn.style import LinearTransfer, moments
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase, Stage

_REMEMBERED = 50  # batches in the running mean of styles


@dataclass(frozen=True, kw_only=True)
class LinearStyleConfig(Config):
    """``width`` channels at the first level and twice as many at the last, ``narrow`` in the map; ``first`` is the
    share of training for the auto-encoder; ``content`` and ``style`` weigh the losses of the map."""

    width: Count = 32
    narrow: Count = 32
    first: Share = 0.4
    content: Weight = 1.0
    style: Weight = 10.0
    learning_rate: Rate = 1e-4


@register(
    "linear_style",
    config=LinearStyleConfig,
    modalities=("image",),
    paper="Li et al., Learning Linear Transformations for Fast Image and Video Style Transfer, arXiv 1808.04537, "
    "CVPR 2019",
    trainer={"batch_size": 16},
)
class LinearStyle(Algorithm):
    """Players ``autoencoder`` and ``transfer``."""

    config: LinearStyleConfig
    matrix: Tensor
    mean: Tensor
    seen: Tensor

    def __init__(self, spec: DataSpec, config: LinearStyleConfig) -> None:
        super().__init__()
        content, style = spec.need("x", Image), spec.fields.get("x_b", spec.x)
        if not isinstance(style, Image) or style.channels != content.channels:
            raise ConfigError(
                f"contents and styles are images of as many channels: x has {content.channels}, and x_b is {style!r}"
            )
        for field in (content, style):
            check_sides(field.shape)
            if field.shape != content.shape:
                raise ConfigError(
                    f"styles must have the shape of contents, {content.shape}, not {style.shape}: translations are of "
                    "the field x_b; resize the styles"
                )
        if content.height % 2 or content.width % 2:
            raise ConfigError(f"images of {content.height} x {content.width} cannot be halved: give even sides")
        self.spec, self.config = spec, config
        width, channels = config.width, content.channels
        first = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.LeakyReLU(0.2))
        second = nn.Sequential(nn.Conv2d(width, 2 * width, 4, 2, 1), nn.LeakyReLU(0.2))
        self.levels = nn.ModuleList([first, second])
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(width, channels, 3, padding=1)
        )
        self.transfer = LinearTransfer(2 * width, config.narrow)
        self.register_buffer("matrix", torch.eye(config.narrow))
        self.register_buffer("mean", torch.zeros(2 * width, 1))
        self.register_buffer("seen", torch.zeros(()))

    # ---------------------------------------------------------------- use
    def features(self, x: Tensor) -> list[Tensor]:
        """The encoder's features at each level, ``(n, channels, *sides)``."""
        found = [x]
        for level in self.levels:
            found.append(level(found[-1]))
        return found[1:]

    def decode(self, features: Tensor) -> Tensor:
        """Images in [-1, 1] of features of the last level."""
        return torch.tanh(self.decoder(features))

    def translate(self, x: Tensor, style: Tensor | None = None) -> Tensor:
        """Contents ``(n, c, h, w)`` in a style: of images ``style``, n of them or one, or the average of domain x_b."""
        if style is None:
            return self.decode(self.transfer(self.features(x)[-1], self.matrix.unsqueeze(0), self.mean.unsqueeze(0)))
        if style.ndim != 4 or len(style) not in (1, len(x)) or style.shape[1] != x.shape[1]:
            raise DataError(
                f"style must be one image or {len(x)}, (n, {x.shape[1]}, height, width); got {tuple(style.shape)}"
            )
        return self.decode(self.transfer(self.features(x)[-1], *self.transfer.of_style(self.features(style)[-1])))

    # ---------------------------------------------------------------- training
    def players(self) -> dict[str, list[nn.Module]]:
        """The auto-encoder, and what reads the map."""
        return {"autoencoder": [self.levels, self.decoder], "transfer": [self.transfer]}

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam for both."""
        return dict.fromkeys(self.players(), Optimiser("adam", self.config.learning_rate, (0.9, 0.999)))

    def stages(self, budget: int) -> Sequence[Stage]:
        """The auto-encoder, then the map."""
        first = max(1, round(self.config.first * budget))
        transfer = Phase("transfer", self.transfer_loss, after=(self._remember,))
        return (
            Stage("autoencoder", (Phase("autoencoder", self.autoencoder_loss),), first),
            Stage("transfer", (transfer,), max(1, budget - first)),
        )

    def autoencoder_loss(self, batch: Batch) -> Losses:
        """Mean squared error of reconstructed contents and styles."""
        images = torch.cat([batch.x, batch["x_b"]])
        return Losses(reconstruction=(self.decode(self.features(images)[-1]) - images).square().mean())

    def transfer_loss(self, batch: Batch) -> Losses:
        """The content's features, and the style's means and covariances at all levels."""
        style = self.features(batch["x_b"])
        made = self.features(self.translate(batch.x, batch["x_b"]))
        content = (made[-1] - self.features(batch.x)[-1].detach()).square().mean()
        gaps = [torch.zeros((), device=batch.x.device)]
        for found, wanted in zip(made, style, strict=True):
            (mean, covariance), (true_mean, true_covariance) = moments(found), moments(wanted.detach())
            gaps += [(mean - true_mean).square().mean(), (covariance - true_covariance).square().sum((1, 2)).mean()]
        weights = {"content": self.config.content, "style": self.config.style}
        return Losses(weights=weights, content=content, style=torch.stack(gaps).sum())

    @torch.no_grad()
    def _remember(self, batch: Batch) -> None:
        """The running mean of the styles' part of the map."""
        matrix, mean = self.transfer.of_style(self.features(batch["x_b"])[-1])
        self.seen += 1
        share = 1 / self.seen.clamp(max=_REMEMBERED)
        self.matrix += share * (matrix.float().mean(0) - self.matrix)
        self.mean += share * (mean.float().mean(0) - self.mean)

    def couples_batch(self) -> str:
        """The average style is a mean over batches."""
        return "it keeps the average style of its batches"
