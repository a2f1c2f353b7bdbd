"""U-Net: an image to an image, or a series to a series, with connections between the levels of one size.

Sources: Ronneberger et al., arXiv 1505.04597; Isola et al., arXiv 1611.07004, section 6.1.1 (strided convolutions,
batch norm, dropout in the innermost levels, LeakyReLU on the way down).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from ganlib.nn.architecture import TRANSPOSED, NetOptions, check_sides, pyramid
from ganlib.nn.layers import CONV, norm_layer
from ganlib.nn.resize import Resize

_DROPPED = 3  # innermost levels that have dropout


class UNet(nn.Module):
    """``(n, *source)`` to ``(n, *target)``, both ``(channels, height, width)`` or ``(channels, length)``; the output is
    linear.

    A source of another size is resized to the target's first. ``options.width`` is the number of channels of the first
    level, which doubles up to eight times; ``options.dropout`` is for the three innermost levels. ``latent``: width of
    a latent ``(n, latent)`` that enters at the innermost level, 0 for none. Raises ConfigError on sides below 4.
    """

    def __init__(self, source: tuple[int, ...], target: tuple[int, ...], options: NetOptions, latent: int = 0) -> None:
        super().__init__()
        check_sides(source)
        check_sides(target)
        self.resize, dims = Resize(source[1:], target[1:]), len(target) - 1
        self.levels = pyramid(target[1:])
        depth = len(self.levels) - 1
        widths = [options.width * min(8, 2**level) for level in range(depth)]
        self.down = nn.ModuleList(
            _down(before, after, self.levels[level], options, dims, plain=level == 0)
            for level, (before, after) in enumerate(zip([source[0], *widths], widths, strict=False))
        )
        self.enter = nn.Linear(latent, widths[-1] * math.prod(self.levels[-1])) if latent else None
        outer = [target[0], *widths[:-1]]
        self.up = nn.ModuleList(
            _up(
                widths[level] * (1 if level == depth - 1 else 2),  # all but the innermost read their mirror image too
                outer[level],
                replace(options, dropout=options.dropout if depth - 1 - level < _DROPPED else 0.0),
                dims,
                last=level == 0,
            )
            for level in range(depth)
        )

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        """Translate."""
        h = self.resize(x)
        passed: list[Tensor] = []
        for layer in self.down:
            h = layer(h)
            passed.append(h)
        if self.enter is not None:
            h = h + self.enter(z).view_as(h)
        for level in reversed(range(len(self.up))):
            h = h if level == len(self.up) - 1 else torch.cat([h, passed[level]], 1)
            h = self.up[level](h)[(..., *(slice(side) for side in self.levels[level]))]
        return h


def _down(
    before: int, after: int, sides: tuple[int, ...], options: NetOptions, dims: int, plain: bool
) -> nn.Sequential:
    size = 4 if all(side % 2 == 0 for side in sides) else 3
    layers: list[nn.Module] = [cast("Any", CONV[dims])(before, after, size, 2, 1)]
    if not plain:
        layers.append(norm_layer(options.norm, after, dims, options.reference))
    return nn.Sequential(*layers, nn.LeakyReLU(0.2))


def _up(before: int, after: int, options: NetOptions, dims: int, last: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.ReLU(), cast("Any", TRANSPOSED[dims])(before, after, 4, 2, 1)]
    if not last:
        layers.append(norm_layer(options.norm, after, dims, options.reference))
        if options.dropout:
            layers.append(nn.Dropout(options.dropout))
    return nn.Sequential(*layers)
