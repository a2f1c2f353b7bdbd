"""A U-Net that finds synthetic defects: patches of normal images blended into others.

Idea: a network that finds what does not belong in an image needs no real defects, if artificial ones are varied enough:

    y = (1 - m) · x + m · (a · x' + b)
    minimise   BCE(q(y), t) + 1/2 · (1 - 2 sum(q(y) · t) / (sum q(y) + sum t))                       (segmentation)
    score: (mean over pixels of q(x)^4)^(1/4)

m is a soft mask of random place, size, shape and opacity, 0 everywhere in 3 images of 10; x' another image of the
batch, moved and mirrored, with contrast a and brightness b; t marks the pixels that changed visibly. q(x) is the
probability of each pixel to be a defect; places are means over 4 x 4 pixels.
Shapes: x ``(n, c, h, w)`` in [-1, 1]; m, t and q ``(n, 1, h, w)``.

Sources: Schlüter et al., Natural Synthetic Anomalies for Self-Supervised Anomaly Detection and Localization, ECCV 2022
(patches of the user's own images); Zavrtanik et al., DRAEM, ICCV 2021 (a segmenting network and masks of thresholded
noise); Ronneberger et al., U-Net, arXiv 1505.04597; Sudre et al., Generalised Dice Overlap, arXiv 1707.03237 (the
second term). Deviations: soft blending instead of Poisson's; one network; no textures from elsewhere; ellipses whose
borders follow noise.

Use it for: defects in images with structure or texture, from a hundred images, in minutes; beside `patch_gaussian`,
which sees other defects.

Not for: images that differ as a whole: it has no sense of what an image should show; use `principal_mixture`.

Symbols:
    y, t    BlendedPatches.defects
    m       BlendedPatches.masks
    q       BlendedPatches.net, with a sigmoid
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganlib.config import Config, Count, Rate
from ganlib.data.spec import DataSpec
from ganlib.models.anomaly.networks import check_patches
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase

_POWER = 4.0
_PLACE = 4  # pixels
_CELLS = (4, 8, 16)  # of the noise that borders follow, on a side
_VISIBLE = 0.1  # of the deviation of pixels
_DEFECTIVE = 0.7  # of the images
_RARE = -3.0  # logit of a pixel before training
_DRAWS = 12
_WIDTHS = (1, 2, 4, 4)


@dataclass(frozen=True, kw_only=True)
class BlendedPatchesConfig(Config):
    """``width``: channels at full size; twice as many at half, four times at smaller ones."""

    width: Count = 8
    learning_rate: Rate = 3e-3


@register(
    "blended_patches",
    config=BlendedPatchesConfig,
    modalities=("image",),
    paper="Schlüter et al., ECCV 2022; Zavrtanik et al., ICCV 2021",
    trainer={"steps": 600, "batch_size": 16, "ema": 0.0, "schedule": "cosine", "warm_up": 60},
)
class BlendedPatches(Algorithm):
    """One player, the network."""

    def __init__(self, spec: DataSpec, config: BlendedPatchesConfig) -> None:
        super().__init__()
        channels, _, _ = check_patches(spec)
        self.spec, self.config = spec, config
        self.net = Segmenter(channels, tuple(config.width * factor for factor in _WIDTHS))

    def players(self) -> dict[str, nn.Module]:
        """One player."""
        return {"net": self.net}

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam."""
        return {"net": Optimiser("adam", self.config.learning_rate, (0.9, 0.999))}

    def phases(self) -> tuple[Phase, ...]:
        """Segmentation."""
        return (Phase("net", self.loss),)

    def loss(self, batch: Batch) -> Losses:
        """The error on images with fresh defects."""
        y, t = self.defects(batch.x, batch)
        logits = self.net(y).float()
        q = logits.sigmoid()
        overlap = (2 * (q * t).sum() + 1) / (q.sum() + t.sum() + 1)
        return Losses(segmentation=F.binary_cross_entropy_with_logits(logits, t) + 0.5 * (1 - overlap))

    def validation_loss(self, batch: Batch) -> Tensor:
        """The same on held-out images."""
        return self.loss(batch).total

    @torch.no_grad()
    def defects(self, x: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Images with synthetic defects, and where they are, 0 or 1 ``(n, 1, h, w)``."""
        draws = batch.rand(_DRAWS)[..., None, None, None].to(x).unbind(1)
        mask = self.masks(batch)
        down, across = (int(draws[j][0] * size) for j, size in zip((6, 7), x.shape[2:], strict=True))
        other = x.roll(1, 0).roll((down, across), (2, 3))
        other = torch.where(draws[8] < 0.5, other.flip(3), other)
        centre, deviation = other.mean((1, 2, 3), keepdim=True), x.std((1, 2, 3), keepdim=True)
        brightness = batch.randn(1)[..., None, None].to(x) * deviation
        other = (other - centre) * (0.3 + 1.2 * draws[9]) + centre + brightness
        defective = draws[11] < _DEFECTIVE
        opacity = mask * (0.2 + 0.8 * draws[10]) * defective
        y = (x * (1 - opacity) + other * opacity).clamp(-1, 1)
        changed = (y - x).abs().amax(1, keepdim=True) > _VISIBLE * x.std()
        return y, (changed & (mask > 0.3) & defective).to(x)

    def masks(self, batch: Batch) -> Tensor:
        """Soft masks in [0, 1] of random place, size and shape, ``(n, 1, h, w)``."""
        x, (height, width) = batch.x, self.spec.shape[1:]
        draws = batch.rand(6)[..., None, None].to(x).unbind(1)
        rows = torch.linspace(0, 1, height, device=x.device)[:, None] - draws[0]
        columns = torch.linspace(0, 1, width, device=x.device)[None] - draws[1]
        angle = math.pi * draws[4]
        along, beside = columns * angle.cos() + rows * angle.sin(), rows * angle.cos() - columns * angle.sin()
        radii = [0.03 * 10.0 ** draws[j] for j in (2, 3)]
        distance = (along / radii[0]).square() + (beside / radii[1]).square()
        noises = torch.stack([self._noise(batch, cells) for cells in _CELLS])
        chosen = (draws[5].flatten() * len(_CELLS)).long()
        noise = noises[chosen, torch.arange(len(x), device=x.device)]
        mask = torch.sigmoid(6 * (1 + 0.7 * noise - distance)) * (distance < 4)
        return mask[:, None]

    def _noise(self, batch: Batch, cells: int) -> Tensor:
        drawn = batch.randn(1, cells, cells).to(batch.x)
        return F.interpolate(drawn, self.spec.shape[1:], mode="bilinear", align_corners=True)[:, 0]

    def couples_batch(self) -> str:
        """Where the patches come from."""
        return "patches come from other images of the batch"

    def scorer(self) -> nn.Module:
        """Power mean of the probabilities."""
        return DefectScore(self.net).eval()

    def locator(self) -> nn.Module:
        """Mean probabilities of places."""
        return DefectMap(self.net).eval()


class Segmenter(nn.Module):
    """``(n, c, h, w) -> (n, 1, h, w)``, logits: a U-Net that begins at full size, since defects may be one pixel wide.

    ``widths``: channels at full size, and at each half of the one before.
    """

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        self.enter = _block(channels, widths[0])
        self.down = nn.ModuleList(_block(before, after, stride=2) for before, after in pairs)
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(after, after, 2, 2) for _, after in pairs)
        self.up = nn.ModuleList(_block(before + after, before) for before, after in pairs)
        self.out = nn.Conv2d(widths[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Segment."""
        levels = [self.enter(x)]
        for layer in self.down:
            levels.append(layer(levels[-1]))
        h = levels.pop()
        for enlarge, layer in zip(reversed(self.enlarge), reversed(self.up), strict=True):
            beside = levels.pop()
            height, width = beside.shape[2:]
            h = layer(torch.cat([enlarge(h)[:, :, :height, :width], beside], 1))
        return self.out(h) + _RARE


def _block(before: int, after: int, stride: int = 1) -> nn.Sequential:
    """Two convolutions with batch norm."""
    layers: list[nn.Module] = []
    for inside, step in ((before, stride), (after, 1)):
        layers += [nn.Conv2d(inside, after, 3, step, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


class DefectScore(nn.Module):
    """``(n, c, h, w) -> (n,)``: power mean of the probability of each pixel, in [0, 1]."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Score images."""
        q = torch.sigmoid(self.net(x))
        return q.flatten(1).pow(_POWER).mean(1).pow(1 / _POWER)


class DefectMap(nn.Module):
    """``(n, c, h, w) -> (n, h/4, w/4)``: mean probability of the pixels of each place."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Score places."""
        return F.avg_pool2d(torch.sigmoid(self.net(x)), _PLACE)[:, 0]
