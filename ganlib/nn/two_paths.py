"""Networks of two paths: one for the whole image, one for each of its quarters.

Source: Huang et al., Beyond Face Rotation, arXiv 1704.04086, section 3.1. Deviations: U-Nets for all paths; quarters of
the image instead of patches at landmarks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganlib.errors import ConfigError
from ganlib.nn.architecture import LEAST_SIDE, NetOptions
from ganlib.nn.resize import Resize
from ganlib.nn.unet import UNet


class TwoPaths(nn.Module):
    """``(n, *source)`` to ``(n, *target)``, both ``(channels, height, width)``; the output is linear.

    A global U-Net and four local ones, which share no weights, give ``options.width`` features of each pixel, from
    which two convolutions make the image. Raises ConfigError on sides that are odd or below 8.
    """

    def __init__(self, source: tuple[int, ...], target: tuple[int, ...], options: NetOptions) -> None:
        super().__init__()
        height, width = target[1:]
        if min(height, width) < 2 * LEAST_SIDE or height % 2 or width % 2:
            raise ConfigError(
                f"the quarters of images of {height} x {width} have no own path: bring the images to even sides of "
                f"{2 * LEAST_SIDE} or more"
            )
        self.resize, self.quarter = Resize(source[1:], target[1:]), (height // 2, width // 2)
        features = options.width
        self.whole = UNet((source[0], *target[1:]), (features, *target[1:]), options)
        self.parts = nn.ModuleList(
            UNet((source[0], *self.quarter), (features, *self.quarter), options) for _ in range(4)
        )
        self.part_head = nn.Conv2d(features, target[0], 1)
        self.join = nn.Conv2d(2 * features + target[0], features, 3, padding=1)
        self.head = nn.Conv2d(features, target[0], 3, padding=1)

    def paths(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The image, and the one that the local paths alone give, both ``(n, *target)`` and linear."""
        x = self.resize(x)
        height, width = self.quarter
        quarters = [quarter for row in x.split(height, 2) for quarter in row.split(width, 3)]
        read = [net(quarter) for net, quarter in zip(self.parts, quarters, strict=True)]
        local = torch.cat([torch.cat(read[:2], 3), torch.cat(read[2:], 3)], 2)
        alone = self.part_head(local)
        joined = self.join(torch.cat([self.whole(x), local, alone], 1)).relu()
        return self.head(joined), alone

    def forward(self, x: Tensor) -> Tensor:
        """The image."""
        return self.paths(x)[0]
