"""Enlarging networks of images and series: sub-pixel convolutions, and the residual network of SRGAN.

Sources: Shi et al., arXiv 1609.05158, equation 4 (sub-pixel convolutions); Ledig et al., arXiv 1609.04802, figure 4.
"""

from __future__ import annotations

import math
from typing import Any, cast

from torch import Tensor, nn

from ganlib.errors import ConfigError
from ganlib.nn.architecture import NetOptions
from ganlib.nn.layers import CONV, norm_layer


class Shuffle(nn.Module):
    """Channels to positions: ``(n, c · factor^d, *sides)`` to ``(n, c, *(factor · side))`` for d sides.

    Channels are in the order of ``torch.nn.PixelShuffle``. It reshapes and transposes, since sealed graphs have no
    DepthToSpace.
    """

    def __init__(self, factor: int, dims: int) -> None:
        super().__init__()
        self.factor, self.dims = factor, dims

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge."""
        sides, f = x.shape[2:], self.factor
        x = x.unflatten(1, (x.shape[1] // f**self.dims, *(f,) * self.dims))
        # (n, c, f, ..., side, ...) to (n, c, side, f, ...)
        axes = [axis for side in range(self.dims) for axis in (2 + self.dims + side, 2 + side)]
        return x.permute(0, 1, *axes).reshape(x.shape[0], x.shape[1], *(f * side for side in sides))


def factors(source: tuple[int, ...], target: tuple[int, ...]) -> list[int]:
    """The prime steps, 2 or 3, by which every side of a source grows to the target's; both are ``(channels, *sides)``.

    Raises ConfigError unless all sides grow by the same product of them.
    """
    ratios = {large / small for small, large in zip(source[1:], target[1:], strict=True)}
    ratio, steps = ratios.pop(), list[int]()
    left = int(ratio)
    for prime in (2, 3):
        while left % prime == 0 and left > 1:
            steps.append(prime)
            left //= prime
    if ratios or left != ratio / math.prod(steps) or left != 1 or not steps:
        raise ConfigError(
            f"examples of {' x '.join(map(str, source[1:]))} grow to {' x '.join(map(str, target[1:]))}, and every "
            "side must grow by the same whole factor: 2, 3, 4, 6, 8 or another product of 2 and 3; resize one of "
            "them first"
        )
    return steps


class SubpixelResNet(nn.Module):
    """``(n, *source)`` to ``(n, *target)``, both ``(channels, *sides)``, enlarged by a whole factor; the output is
    linear.

    A convolution of 9 taps a side to ``options.width`` channels, ``blocks`` of two convolutions beside an identity, one
    identity around all of them, and a sub-pixel convolution for each prime step of the factor.
    """

    def __init__(self, source: tuple[int, ...], target: tuple[int, ...], options: NetOptions, blocks: int = 16) -> None:
        super().__init__()
        steps, dims, width = factors(source, target), len(target) - 1, options.width
        conv = cast("Any", CONV[dims])
        self.enter = nn.Sequential(conv(source[0], width, 9, 1, 4), nn.PReLU())
        self.blocks = nn.ModuleList(_Block(width, dims, options) for _ in range(blocks))
        self.leave = nn.Sequential(conv(width, width, 3, 1, 1), norm_layer(options.norm, width, dims))
        enlarge: list[nn.Module] = []
        for step in steps:
            enlarge += [conv(width, width * step**dims, 3, 1, 1), Shuffle(step, dims), nn.PReLU()]
        self.enlarge, self.head = nn.Sequential(*enlarge), conv(width, target[0], 9, 1, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarge."""
        first = h = self.enter(x)
        for block in self.blocks:
            h = block(h)
        return self.head(self.enlarge(first + self.leave(h)))


class _Block(nn.Module):
    """x + norm(conv(prelu(norm(conv(x)))))."""

    def __init__(self, width: int, dims: int, options: NetOptions) -> None:
        super().__init__()
        conv = cast("Any", CONV[dims])
        self.body = nn.Sequential(
            conv(width, width, 3, 1, 1),
            norm_layer(options.norm, width, dims),
            nn.PReLU(),
            conv(width, width, 3, 1, 1),
            norm_layer(options.norm, width, dims),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Add."""
        return x + self.body(x)
