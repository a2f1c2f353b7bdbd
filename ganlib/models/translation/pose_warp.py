"""Pose warp: an image of a figure to the same figure in another pose, part by part.

Paper: Balakrishnan et al., Synthesizing Images of Humans in Unseen Poses, arXiv 1804.07739, CVPR 2018.

Idea: a figure moves by parts, and each part of it nearly as a rigid piece. So the image is cut into parts and
background, each part is moved by the map that takes its joints from one pose to the other, and networks only repair
what the moved parts do not show (section 3):

    cut:        M_0, M_1, ... = softmax over layers of log prior + segmenter(x)
    move:       W_k = warp(I · M_k, T_k),  T_k the least-squares similarity of part k's joints
    foreground: F = sum_k W_k + painter(W_1, ..., target pose),   M = sigmoid(sum_k moved M_k + painter(...))
    background: B = I · M_0 + (1 - M_0) · filler(I · M_0, M_0)
    image:      G(x) = M · F + (1 - M) · B
    loss:       l1 · |y - G(x)| + adversarial · -log D(x, G(x))

The prior of a part is a bump along its joints in the source's pose; that of the background is even.

Shapes: x ``(n, c + 2 joints, h, w)``: an image, then a map of each joint in the source's pose, then in the target's,
all in [-1, 1], the maps -1 where the joint is not; x_b ``(n, c, h, w)``: the image in the target's pose. ``parts`` are
tuples of two joints or more.
Defaults: game 0.1 to a distance of 1, both at Adam 1e-4, of the authors' code, here 10 to ``l1`` 100.
Deviations: the distance is of pixels instead of VGG's features; painter and filler correct what was moved and what is
seen, instead of making all anew; U-Nets of one size for all networks; game and distance from the start; time and memory
of the warp allow sides of about 64.

Use it for: new poses of figures whose joints are known and whose parts keep their look (people, machines, hands).
Not for: images without joints (``pix2pix``), or views that hide most of a figure: what the source does not show is made
up.

Symbols:
    M_k       ``masks``, background first
    T_k       ``ganlib.nn.warp.similarity`` of ``ganlib.nn.warp.peaks``
    W_k       ``moved``
    F, M      ``generator.painter``
    B         ``generator.filler``
    G         ``generator.layers``, with M
    D         ``game.critic``
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import torch
from torch import Tensor, nn

from ganlib.config import Count, Rate, Share, Weight, Whole
from ganlib.data.spec import DataSpec, Image
from ganlib.errors import ConfigError
from ganlib.models.translation.pix2pix import Pix2Pix, Pix2PixConfig
from ganlib.nn.architecture import NetOptions
from ganlib.nn.unet import UNet
from ganlib.nn.warp import AffineWarp, peaks, similarity
from ganlib.registry import register

_SPREAD, _EVEN = 0.2, 0.3  # deviation of a part's prior across its line, of a half side; the background's prior
_STEEP = 6.0  # slope of the mask's logit in the moved parts' masks, before the painter's correction


@dataclass(frozen=True, kw_only=True)
class PoseWarpConfig(Pix2PixConfig):
    """``joints`` is the number of maps of each pose; ``parts`` name the joints of each part, counted from 0; () makes a
    part of each joint and the next. The rest is pix2pix's."""

    joints: Count = 3
    parts: tuple[tuple[Whole, ...], ...] = ()
    adversarial: Weight = 10.0
    dropout: Share = 0.0
    learning_rate: Rate | None = 1e-4


@register(
    "pose_warp",
    config=PoseWarpConfig,
    modalities=("image",),
    paper="Balakrishnan et al., Synthesizing Images of Humans in Unseen Poses, arXiv 1804.07739, CVPR 2018",
    trainer={"batch_size": 16},
)
class PoseWarp(Pix2Pix):
    """Players ``critic`` and ``generator``."""

    config: PoseWarpConfig

    def __init__(self, spec: DataSpec, config: PoseWarpConfig) -> None:
        source, target = (spec.need(name, Image) for name in ("x", "x_b"))
        wanted = (target.channels + 2 * config.joints, *target.shape[1:])
        if source.shape != wanted:
            raise ConfigError(
                f"x must hold an image like x_b and two poses of {config.joints} joints, {wanted}, not {source.shape}: "
                "stack image, source pose and target pose as channels, or set joints"
            )
        wrong = [part for part in config.parts if len(set(part)) < 2 or max(part) >= config.joints]
        if wrong or (config.joints < 2 and not config.parts):
            raise ConfigError(
                f"each part needs two different joints or more, from 0 to {config.joints - 1}: got parts "
                f"{wrong or config.parts} of {config.joints} joints"
            )
        super().__init__(spec, config)
        self.bounded = False  # the generator's layers are pixels already

    def network(self, source: tuple[int, ...], target: tuple[int, ...], options: NetOptions) -> nn.Module:
        """The four modules."""
        following = tuple((joint, joint + 1) for joint in range(self.config.joints - 1))
        return PartWarp(target, self.config.joints, self.config.parts or following, options)


def along(start: Tensor, end: Tensor, places: Tensor) -> Tensor:
    """A Gaussian bump around the lines from ``start (n, 2)`` to ``end``, at ``places (2, pixels)``: ``(n, pixels)``."""
    way, reach = (end - start).unsqueeze(2), places - start.unsqueeze(2)
    share = ((way * reach).sum(1, keepdim=True) / (way.square().sum(1, keepdim=True) + 1e-6)).clamp(0, 1)
    return torch.exp(-(reach - share * way).square().sum(1) / (2 * _SPREAD**2))


class PartWarp(nn.Module):
    """Source image and two poses ``(n, c + 2 joints, h, w)`` to the image in the second pose, in [-1, 1]."""

    def __init__(
        self, target: tuple[int, ...], joints: int, parts: tuple[tuple[int, ...], ...], options: NetOptions
    ) -> None:
        super().__init__()
        channels, height, width = target
        self.channels, self.joints, self.parts = channels, joints, parts
        count = len(parts)
        self.segmenter = UNet((channels + joints, height, width), (1 + count, height, width), options)
        layers = (count * (channels + 1) + joints, height, width)
        self.painter = UNet(layers, (channels + 1, height, width), options)
        self.filler = UNet((channels + 1, height, width), target, options)
        self.warp = AffineWarp((height, width))

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image, and the two poses as weights of at least 0."""
        image, first, second = x.split([self.channels, self.joints, self.joints], 1)
        return image, (first + 1).relu() / 2, (second + 1).relu() / 2

    def masks(self, x: Tensor) -> Tensor:
        """The share of background and parts in each pixel of the source, ``(n, 1 + parts, h, w)``."""
        image, first, _ = self._split(x)
        joints = peaks(first)
        bars = [self._bar(joints, part) for part in self.parts]
        prior = torch.cat([torch.full_like(bars[0], _EVEN), *bars], 1)
        return (self.segmenter(torch.cat([image, first], 1)) + (prior + 0.01).log()).softmax(1)

    def _bar(self, joints: Tensor, part: tuple[int, ...]) -> Tensor:
        """A bump along the lines between a part's joints, ``(n, 1, h, w)``."""
        bars = [along(joints[:, a], joints[:, b], self.warp.grid[:2]) for a, b in pairwise(part)]
        return reduce(torch.maximum, bars).unflatten(1, (1, *self.warp.sides))

    def moved(self, x: Tensor, masks: Tensor) -> Tensor:
        """Each part of the image with its mask, where the second pose has it, ``(n, parts · (c + 1), h, w)``."""
        image, first, second = self._split(x)
        before, after = peaks(first), peaks(second)
        made = []
        for index, part in enumerate(self.parts, 1):
            mask, joints = masks[:, index : index + 1], list(part)
            maps = similarity(after[:, joints], before[:, joints])
            made.append(self.warp(torch.cat([image * mask, mask], 1), maps))
        return torch.cat(made, 1)

    def layers(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The image ``(n, c, h, w)`` in [-1, 1], and the foreground's mask ``(n, 1, h, w)``."""
        image, _, second = self._split(x)
        masks = self.masks(x)
        moved = self.moved(x, masks)
        painted, ground = self.painter(torch.cat([moved, second], 1)), masks[:, :1]
        parts = moved.unflatten(1, (len(self.parts), -1)).sum(1)
        weight, colours = parts[:, self.channels :], parts[:, : self.channels]
        figure = colours / (weight + 0.1) + painted[:, : self.channels]
        filled = image * ground + (1 - ground) * self.filler(torch.cat([image * ground, ground], 1))
        mask = torch.sigmoid(_STEEP * (weight - 0.5) + painted[:, self.channels :])
        return (mask * figure + (1 - mask) * filled).clamp(-1, 1), mask

    def forward(self, x: Tensor) -> Tensor:
        """The image."""
        return self.layers(x)[0]
