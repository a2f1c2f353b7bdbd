"""Images moved by affine maps, and the maps that follow from points.

Source: Jaderberg et al., Spatial Transformer Networks, arXiv 1506.02025, section 3.

Coordinates are (right, down) in [-1, 1] from edge to edge of an image, as in ``torch.nn.functional.affine_grid`` with
``align_corners=False``. A map is a matrix ``(n, 2, 3)`` from positions in the result to positions in the source.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_STILL = 1e-4


class AffineWarp(nn.Module):
    """Images ``(n, c, *sides)`` and maps ``(n, 2, 3)`` to the images read at the mapped positions, bilinear; 0 outside.

    It multiplies by matrices of weights, so that it can be exported, and its gradient is deterministic on every device.
    Time and memory grow with the product of all pixels and the height: for images of up to about 64 pixels a side.
    """

    grid: Tensor

    def __init__(self, sides: tuple[int, int]) -> None:
        super().__init__()
        self.sides = sides
        down, right = (_centres(side) for side in sides)
        places = torch.stack([right.expand(sides), down.unsqueeze(1).expand(sides), torch.ones(sides)])
        self.register_buffer("grid", places.flatten(1), persistent=False)

    def forward(self, images: Tensor, maps: Tensor) -> Tensor:
        """Warp, in float32 or wider."""
        with torch.autocast(images.device.type, enabled=False):
            images, maps = _wide(images), _wide(maps)
            across, down = (maps @ self.grid).unbind(1)
            return read_at(images, across, down, self.sides).unflatten(2, self.sides)


def read_at(images: Tensor, across: Tensor, down: Tensor, sides: tuple[int, int]) -> Tensor:
    """Values of images ``(n, c, *sides)`` at places ``(n, p)``, bilinear and 0 outside: ``(n, c, p)``.

    Memory is n · p · (height + c · width) numbers.
    """
    rows, columns = (_weights(place, side) for place, side in zip((down, across), sides, strict=True))
    read = rows @ images.transpose(1, 2).flatten(2)  # (n, p, c * width)
    return (read.unflatten(2, (images.shape[1], -1)) * columns.unsqueeze(2)).sum(3).transpose(1, 2)


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _centres(side: int) -> Tensor:
    return (2 * torch.arange(side, dtype=torch.float32) + 1) / side - 1


def _weights(place: Tensor, side: int) -> Tensor:
    """The share of each row or column of pixels in each place ``(n, pixels)``: ``(n, pixels, side)``.

    At the centre of a pixel the slope is that towards the next one, because the mean of both sides' would be 0: maps
    that start from the identity could not be learned.
    """
    position = (place + 1) * (side / 2) - 0.5
    beyond = position.unsqueeze(2) - torch.arange(side, device=place.device)
    share = torch.where(beyond < 0, 1 + beyond, 1 - beyond)
    return torch.where((beyond >= -1) & (beyond < 1), share, torch.zeros_like(share))


def peaks(maps: Tensor) -> Tensor:
    """The mean position of each map's weight: ``(n, k, 2)`` from weights of at least 0, ``(n, k, height, width)``."""
    maps = _wide(maps)
    height, width = maps.shape[2:]
    share = maps / (maps.sum((2, 3), keepdim=True) + 1e-6)
    right, down = (_centres(side).to(maps) for side in (width, height))
    return torch.stack([(share.sum(2) * right).sum(2), (share.sum(3) * down).sum(2)], 2)


def similarity(result: Tensor, source: Tensor) -> Tensor:
    """The turn, scale and shift that take points of the result nearest to those of the source, ``(n, 2, 3)``.

    Both are ``(n, k, 2)`` with k >= 2, in coordinates of one unit (those of a square image). Least squares in closed
    form: with points as complex numbers, a = (sum conj(r) s + e) / (sum |r|² + e) after centring, and b the means'
    difference. e is 1e-4: without it, points nearly in one place would turn and scale by rounding errors.
    """
    first, second = result.mean(1), source.mean(1)
    r, s = result - first.unsqueeze(1), source - second.unsqueeze(1)
    size = r.square().sum((1, 2)) + _STILL
    turn = ((r * s).sum((1, 2)) + _STILL) / size
    lift = (r[:, :, 0] * s[:, :, 1] - r[:, :, 1] * s[:, :, 0]).sum(1) / size
    linear = torch.stack([torch.stack([turn, -lift], 1), torch.stack([lift, turn], 1)], 1)
    shift = second.unsqueeze(2) - linear @ first.unsqueeze(2)
    return torch.cat([linear, shift], 2)
