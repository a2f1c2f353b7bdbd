"""ResNet translators: an image to an image, or a series to a series, by residual blocks at a fraction of the sides.

Sources: Johnson et al., arXiv 1603.08155, section 3.1 and its supplement; Zhu et al., arXiv 1703.10593, appendix 7.2.
Deviations: zeros beyond the borders instead of reflections, which sealed graphs have no operator for; doubling
convolutions have 4 taps a side instead of 3.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from ganlib.errors import ConfigError
from ganlib.nn.architecture import TRANSPOSED, NetOptions
from ganlib.nn.layers import CONV, norm_layer
from ganlib.nn.resize import Resize

_LEAST = 4  # of a side where the blocks work: instance norm makes a constant of a single position


class ResNetTranslator(nn.Module):
    """``(n, *source)`` to ``(n, *target)``, both ``(channels, *sides)``; the output is linear.

    A source of other sides is resized to the target's first. A convolution of 7 taps a side to ``options.width``
    channels, ``halvings`` of the sides that double the channels, ``blocks`` of two convolutions beside an identity, and
    the way back. Raises ConfigError if the target is too small for the halvings.
    """

    def __init__(
        self, source: tuple[int, ...], target: tuple[int, ...], options: NetOptions, blocks: int = 9, halvings: int = 2
    ) -> None:
        super().__init__()
        least, dims = min(target[1:]), len(target) - 1
        if least >> halvings < _LEAST:
            raise ConfigError(
                f"{' x '.join(map(str, target[1:]))} is too small for {halvings} halvings, which need sides of "
                f"{_LEAST << halvings}: "
                + (
                    f"set halvings={(least // _LEAST).bit_length() - 1}"
                    if least >= _LEAST
                    else f"bring the examples to sides of {_LEAST} or more"
                )
            )
        conv, wider = cast("Any", CONV[dims]), cast("Any", TRANSPOSED[dims])
        self.resize, self.sides = Resize(source[1:], target[1:]), target[1:]

        def then(layer: nn.Module, channels: int) -> list[nn.Module]:
            return [layer, norm_layer(options.norm, channels, dims, options.reference), nn.ReLU()]

        layers, width = then(conv(source[0], options.width, 7, 1, 3), options.width), options.width
        for _ in range(halvings):
            layers += then(conv(width, 2 * width, 3, 2, 1), 2 * width)
            width *= 2
        layers += [TranslatorBlock(width, dims, options) for _ in range(blocks)]
        for _ in range(halvings):
            layers += then(wider(width, width // 2, 4, 2, 1), width // 2)
            width //= 2
        self.body, self.head = nn.Sequential(*layers), conv(width, target[0], 7, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Translate."""
        made = self.head(self.body(self.resize(x)))
        return made[(..., *(slice(side) for side in self.sides))]


class TranslatorBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x)))))."""

    def __init__(self, channels: int, dims: int, options: NetOptions) -> None:
        super().__init__()
        conv = cast("Any", CONV[dims])
        layers: list[nn.Module] = [
            conv(channels, channels, 3, 1, 1),
            norm_layer(options.norm, channels, dims, options.reference),
            nn.ReLU(),
        ]
        if options.dropout:
            layers.append(nn.Dropout(options.dropout))
        layers += [conv(channels, channels, 3, 1, 1), norm_layer(options.norm, channels, dims, options.reference)]
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Add."""
        return x + self.body(x)
