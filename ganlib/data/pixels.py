"""Building blocks of the transforms: random numbers from a generator on any device, and pixel operations on images
``(n, channels, height, width)`` with separate random numbers for each image."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ganlib.errors import DataError

Edge = Literal["constant", "reflect", "replicate"]
_GRID_EDGES = {"constant": "zeros", "reflect": "reflection", "replicate": "border"}


def shape_of(images: Tensor) -> tuple[int, int, int, int]:
    """The images' shape; raises DataError for unsupported images."""
    if images.ndim != 4 or not images.is_floating_point():
        raise DataError(
            f"transforms take float images of shape (n, channels, height, width), not {tuple(images.shape)} of "
            f"{str(images.dtype).removeprefix('torch.')}; convert them with ganlib.data.images.to_tensor"
        )
    n, c, height, width = images.shape
    return n, c, height, width


# -------------------------------------------------------------------- random numbers
def uniform(
    size: int | tuple[int, ...], bounds: tuple[float, float], generator: torch.Generator, like: Tensor
) -> Tensor:
    """Uniform values, sampled on the generator's device and converted to the images' type and device."""
    low, high = bounds
    return (low + (high - low) * torch.rand(size, generator=generator, device=generator.device)).to(like)


def integers(n: int, low: int, high: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """Whole numbers in ``low..high``, both included."""
    return torch.randint(low, high + 1, (n,), generator=generator, device=generator.device).to(like.device)


def factors(images: Tensor, generator: torch.Generator, amount: float) -> Tensor:
    """A factor around 1 for each image, ``(n, 1, 1, 1)``."""
    n = shape_of(images)[0]
    return uniform(n, (1 - amount, 1 + amount), generator, images).view(n, 1, 1, 1)


# -------------------------------------------------------------------- pixels
def flip(images: Tensor, generator: torch.Generator, p: float, axis: int) -> Tensor:
    """Flip each image along ``axis`` with probability ``p``."""
    n = shape_of(images)[0]
    chosen = uniform(n, (0, 1), generator, images) < p
    return torch.where(chosen.view(n, 1, 1, 1), images.flip(axis), images)


def luma(images: Tensor) -> Tensor:
    """Luma by ITU-R BT.601, ``(n, 1, h, w)``; the mean of the channels unless there are three."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    return (images * images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def window(images: Tensor, top: Tensor, left: Tensor, size: tuple[int, int], edge: Edge, fill: float) -> Tensor:
    """Each image's window at (top, left), which may be negative; the image is continued by ``edge``."""
    n, c, height, width = images.shape
    rows, within_rows = _positions(top, size[0], height, edge)
    columns, within_columns = _positions(left, size[1], width, edge)
    every = torch.arange(n, device=images.device).view(n, 1, 1, 1)
    channel = torch.arange(c, device=images.device).view(1, c, 1, 1)
    taken = images[every, channel, rows.view(n, 1, -1, 1), columns.view(n, 1, 1, -1)]
    if edge != "constant":
        return taken
    inside = within_rows.view(n, 1, -1, 1) & within_columns.view(n, 1, 1, -1)
    return torch.where(inside, taken, images.new_tensor(fill))


def _positions(start: Tensor, length: int, side: int, edge: Edge) -> tuple[Tensor, Tensor]:
    """Source positions ``(n, length)`` of a window's pixels, and which of them lie inside the image."""
    wanted = start[:, None] + torch.arange(length, device=start.device)
    inside = (wanted >= 0) & (wanted < side)
    if edge == "reflect" and side > 1:
        period = 2 * (side - 1)
        wanted = wanted.remainder(period)
        wanted = torch.minimum(wanted, period - wanted)
    return wanted.clamp(0, side - 1), inside


def translate(images: Tensor, generator: torch.Generator, fraction: float, edge: Edge, fill: float) -> Tensor:
    """Each image moved by up to ``fraction`` of its sides, whole pixels."""
    n, _, height, width = shape_of(images)
    tall, wide = int(height * fraction + 0.5), int(width * fraction + 0.5)
    top = integers(n, -tall, tall, generator, images)
    left = integers(n, -wide, wide, generator, images)
    return window(images, top, left, (height, width), edge, fill)


def cut(images: Tensor, generator: torch.Generator, fraction: float, fill: float) -> Tensor:
    """Each image with a rectangle of ``fraction`` of its sides filled."""
    n, _, height, width = shape_of(images)
    holes = []
    for side, axis in ((height, 2), (width, 3)):
        length = int(side * fraction + 0.5)
        # Holes of even length are centred between pixels, which has one more possible place.
        first = integers(n, 0, side - length % 2, generator, images)[:, None] - length // 2
        place = torch.arange(side, device=images.device)
        holes.append(((place >= first) & (place < first + length)).view(n, 1, *((-1, 1) if axis == 2 else (1, -1))))
    return torch.where(holes[0] & holes[1], images.new_tensor(fill), images)


def linear(images: Tensor, matrix: Tensor, shift: Tensor, edge: Edge, fill: float) -> Tensor:
    """Resample so that output pixel p (x right, y down, from the centre) shows input pixel matrix (p - shift)."""
    height, width = images.shape[2:]
    half = matrix.new_tensor([width / 2, height / 2])
    scaled = matrix * half / half[:, None]
    moved = -(matrix @ shift[:, :, None]).squeeze(2) / half
    return resample(images, torch.cat([scaled, moved[:, :, None]], 2), edge, fill)


def resample(images: Tensor, theta: Tensor, edge: Edge, fill: float) -> Tensor:
    """Bilinear samples at an affine grid ``theta`` ``(n, 2, 3)`` in coordinates of [-1, 1] from edge to edge."""
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    # grid_sample only supports the fill value 0.
    return F.grid_sample(images - fill, grid, padding_mode=_GRID_EDGES[edge], align_corners=False) + fill


def shift_colour(images: Tensor, generator: torch.Generator) -> Tensor:
    """The paper's colour step: brightness, saturation, contrast, in this order."""
    n = images.shape[0]
    light, saturation, contrast = (
        uniform(n, bounds, generator, images).view(n, 1, 1, 1) for bounds in ((-0.5, 0.5), (0.0, 2.0), (0.5, 1.5))
    )
    images = images + light
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * saturation
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * contrast
