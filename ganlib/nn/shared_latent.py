"""Encoders and decoders of two domains whose layers next to the code are shared.

Source: Liu et al., arXiv 1703.00848, section 3 (weight sharing) and its appendix (networks).
"""

from __future__ import annotations

from torch import Tensor, nn

from ganlib.nn.architecture import NetOptions
from ganlib.nn.layers import norm_layer
from ganlib.nn.residual import TranslatorBlock


class DomainNet(nn.Module):
    """One domain's own layers: images ``(n, channels, height, width)`` to features and back.

    A convolution of 7 taps a side to ``options.width`` channels, ``halvings`` of the sides that double the channels,
    ``blocks`` residual blocks, and the mirror image with a linear output. Height and width must be multiples of
    ``2 ** halvings``.
    """

    def __init__(self, channels: int, options: NetOptions, blocks: int, halvings: int) -> None:
        super().__init__()
        width, inner = options.width, options.width << halvings

        def then(layer: nn.Module, outputs: int) -> list[nn.Module]:
            return [layer, norm_layer(options.norm, outputs, 2), nn.ReLU()]

        down, up = then(nn.Conv2d(channels, width, 7, 1, 3), width), list[nn.Module]()
        for level in range(halvings):
            down += then(nn.Conv2d(width << level, width << level + 1, 4, 2, 1), width << level + 1)
            up += then(nn.ConvTranspose2d(inner >> level, inner >> level + 1, 4, 2, 1), inner >> level + 1)
        self.encoder = nn.Sequential(*down, *(TranslatorBlock(inner, 2, options) for _ in range(blocks)))
        self.decoder = nn.Sequential(
            *(TranslatorBlock(inner, 2, options) for _ in range(blocks)), *up, nn.Conv2d(width, channels, 7, 1, 3)
        )


class SharedLatent(nn.Module):
    """Two domains' own layers around ``shared`` common residual blocks on either side of the code."""

    def __init__(
        self, channels: tuple[int, int], options: NetOptions, blocks: int = 3, shared: int = 1, halvings: int = 2
    ) -> None:
        super().__init__()
        inner = options.width << halvings
        self.domains = nn.ModuleList(DomainNet(count, options, blocks, halvings) for count in channels)
        self.encoder, self.decoder = (
            nn.Sequential(*(TranslatorBlock(inner, 2, options) for _ in range(shared))) for _ in range(2)
        )

    def code(self, x: Tensor, domain: int) -> Tensor:
        """Images of a domain, 0 or 1, to codes ``(n, c, *sides)``."""
        own: DomainNet = self.domains[domain]  # type: ignore[assignment]
        return self.encoder(own.encoder(x))

    def decode(self, code: Tensor, domain: int) -> Tensor:
        """Codes to images of a domain, without an activation."""
        own: DomainNet = self.domains[domain]  # type: ignore[assignment]
        return own.decoder(self.decoder(code))
