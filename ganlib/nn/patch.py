"""Critics that judge patches of an image or stretches of a series, at one or at several scales.

Sources: Isola et al., arXiv 1611.07004, section 6.1.2 (patches); Wang et al., arXiv 1711.11585, section 3.2 (scales).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from ganlib.errors import ConfigError
from ganlib.nn.architecture import NetOptions
from ganlib.nn.layers import CONV, norm_layer
from ganlib.nn.resize import Resize, beside

_LEAST = 3  # of a side after the halving layers
_KINDS = {1: "series", 2: "images"}


class PatchCritic(nn.Module):
    """``(n, *shape)``, and a condition if there is one, to a score for each patch, ``(n, 1, *sides)``.

    ``shape`` is an image's or a series'. ``condition`` is the width of a vector, or the shape of its like, which is
    resized to the judged one. ``layers`` halving convolutions give patches of 16 (1), 34 (2), 70 (3, the paper's) or
    142 (4) pixels. Raises ConfigError if the example is too small for them.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        condition: int | tuple[int, ...] = 0,
        options: NetOptions | None = None,
        layers: int = 3,
    ) -> None:
        super().__init__()
        options = options or NetOptions(width=64, norm="batch")
        dims = len(shape) - 1
        if min(shape[1:]) >> layers < _LEAST:
            fewer = (min(shape[1:]) // _LEAST).bit_length() - 1
            raise ConfigError(
                f"{_KINDS[dims]} of {' x '.join(map(str, shape[1:]))} are too small for a patch critic of {layers} "
                f"halving layers, which needs sides of {_LEAST << layers}: "
                + (f"set layers={fewer}" if fewer > 0 else f"bring them to sides of {2 * _LEAST} or more")
            )
        given = condition if isinstance(condition, int) else condition[0]
        self.resize = None
        if not isinstance(condition, int):
            self.resize = Resize(condition[1:], shape[1:])
        widths = [options.width * min(8, 2**level) for level in range(layers + 1)]
        body, conv = list[nn.Module](), cast("Any", CONV[dims])
        for level, (before, after) in enumerate(zip([shape[0] + given, *widths], widths, strict=False)):
            body.append(conv(before, after, 4, 2 if level < layers else 1, 1))
            if level:
                body.append(norm_layer(options.norm, after, dims, options.reference))
            body.append(nn.LeakyReLU(0.2))
        self.body, self.head = nn.Sequential(*body), conv(widths[-1], 1, 4, 1, 1)

    def _hidden(self, x: Tensor, condition: Tensor | None) -> Tensor:
        if condition is not None and self.resize is not None:
            condition = self.resize(condition)
        return self.body(beside(x, condition))

    def features(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Mean of the last hidden layer over positions, ``(n, f)``."""
        return self._hidden(x, condition).flatten(2).mean(2)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Scores of patches."""
        return self.head(self._hidden(x, condition))


class PyramidCritic(nn.Module):
    """Patch critics of the image and of its halves, ``(n, patches)`` from the finest scale to the coarsest.

    ``scales`` is their number; the other arguments are those of ``PatchCritic``, with an image as condition only if it
    has the sides of the judged one.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        condition: int | tuple[int, ...] = 0,
        options: NetOptions | None = None,
        layers: int = 3,
        scales: int = 3,
    ) -> None:
        super().__init__()
        if isinstance(condition, tuple) and condition[1:] != shape[1:]:
            raise ConfigError(f"a condition of {condition[1:]} has not the sides of the image, {shape[1:]}: resize it")
        given = condition if isinstance(condition, int) else condition[0]
        sides = [tuple(side >> scale for side in shape[1:]) for scale in range(scales)]
        self.critics = nn.ModuleList(
            PatchCritic((shape[0] + given, *side), options=options, layers=layers) for side in sides
        )

    def _scaled(self, x: Tensor, condition: Tensor | None) -> list[Tensor]:
        scaled = [beside(x, condition)]
        for _ in self.critics[1:]:
            scaled.append(avg_pool2d(scaled[-1], 2))
        return scaled

    def features(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Features of all scales, ``(n, f)``."""
        images = self._scaled(x, condition)
        return torch.cat([critic.features(image) for critic, image in zip(self.critics, images, strict=True)], 1)  # type: ignore[operator]

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Scores of patches."""
        images = self._scaled(x, condition)
        return torch.cat([critic(image).flatten(1) for critic, image in zip(self.critics, images, strict=True)], 1)
