"""Transforms that move the pixels of images: flips, crops, shifts, rotations and affine maps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Le
from torch import Tensor

from ganlib.data.pixels import Edge, flip, integers, linear, resample, shape_of, translate, uniform, window
from ganlib.data.transform_options import Fraction, Pixel, TransformOptions
from ganlib.errors import DataError

Turn = Annotated[float, Ge(-360), Le(360)]
Area = Annotated[float, Ge(1e-3), Le(1)]
Ratio = Annotated[float, Ge(0.1), Le(10)]
Shear = Annotated[float, Ge(-80), Le(80)]


@dataclass(frozen=True, kw_only=True)
class RandomHorizontalFlip(TransformOptions):
    """Mirror left and right with probability ``p`` in [0, 1]."""

    p: Fraction = 0.5
    axis: ClassVar[int] = 3

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images, some mirrored."""
        return flip(images, generator, self.p, self.axis)


@dataclass(frozen=True, kw_only=True)
class RandomVerticalFlip(RandomHorizontalFlip):
    """Mirror top and bottom with probability ``p`` in [0, 1]."""

    axis: ClassVar[int] = 2


@dataclass(frozen=True, kw_only=True)
class RandomCrop(TransformOptions):
    """A window of the image padded by ``padding`` pixels on each side, every position equally likely.

    ``size`` is the window's side, at least 1; defaults to the image's height and width. ``edge`` fills the padding:
    constant (``fill`` in [-1, 1]), reflect or replicate. The call raises DataError if the padded image is smaller than
    the window.
    """

    padding: Annotated[int, Ge(0), Le(256)] = 4
    size: Annotated[int, Ge(1), Le(256)] | None = None
    edge: Edge = "constant"
    fill: Pixel = -1.0

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Windows ``(n, c, size, size)``, or of the images' shape."""
        n, _, height, width = shape_of(images)
        tall, wide = (self.size, self.size) if self.size else (height, width)
        down, across = height + 2 * self.padding - tall, width + 2 * self.padding - wide
        if down < 0 or across < 0:
            padded = f"{width + 2 * self.padding} x {height + 2 * self.padding}"
            raise DataError(f"a window of {wide} x {tall} does not fit into padded images of {padded}; raise padding")
        top = integers(n, 0, down, generator, images) - self.padding
        left = integers(n, 0, across, generator, images) - self.padding
        return window(images, top, left, (tall, wide), self.edge, self.fill)


@dataclass(frozen=True, kw_only=True)
class RandomTranslation(TransformOptions):
    """A shift by whole pixels, uniform up to ``fraction`` in [0, 1] of each side.

    Uncovered pixels are filled by ``edge`` and ``fill``, as in RandomCrop.
    """

    fraction: Fraction = 0.125
    edge: Edge = "constant"
    fill: Pixel = -1.0

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The shifted images, of the same shape."""
        return translate(images, generator, self.fraction, self.edge, self.fill)


@dataclass(frozen=True, kw_only=True)
class RandomResizedCrop(TransformOptions):
    """A random part of the image, stretched to the image's size.

    Its share of the area is sampled from ``scale`` in (0, 1], and its width-to-height ratio (relative to the image's)
    log-uniformly from ``ratio`` in [0.1, 10]; sides are clipped to those of the image.
    """

    scale: tuple[Area, Area] = (0.5, 1.0)
    ratio: tuple[Ratio, Ratio] = (0.75, 4 / 3)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The stretched parts, of the same shape."""
        n = shape_of(images)[0]
        side = uniform(n, self.scale, generator, images).sqrt()
        low, high = self.ratio
        skew = (uniform(n, (math.log(low), math.log(high)), generator, images) / 2).exp()
        wide, tall = (side * skew).clamp(max=1), (side / skew).clamp(max=1)
        across = (1 - wide) * uniform(n, (-1, 1), generator, images)
        down = (1 - tall) * uniform(n, (-1, 1), generator, images)
        nought = torch.zeros_like(wide)
        theta = torch.stack([wide, nought, across, nought, tall, down], 1).view(n, 2, 3)
        return resample(images, theta, "replicate", 0.0)


@dataclass(frozen=True, kw_only=True)
class RandomRotation(TransformOptions):
    """Rotation about the centre by an angle from ``degrees`` in [-360, 360], positive anticlockwise; bilinear."""

    degrees: tuple[Turn, Turn] = (-10.0, 10.0)
    edge: Edge = "constant"
    fill: Pixel = -1.0

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The rotated images, of the same shape."""
        n = shape_of(images)[0]
        angle = torch.deg2rad(uniform(n, self.degrees, generator, images))
        matrix = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(n, 2, 2)
        return linear(images, matrix, angle.new_zeros(n, 2), self.edge, self.fill)


@dataclass(frozen=True, kw_only=True)
class RandomAffine(TransformOptions):
    """Shear, scaling, rotation about the centre and translation, in this order; bilinear.

    ``degrees`` in [-360, 360], positive anticlockwise; ``translate``: largest shift as a share of the side, in [0, 1];
    ``scale`` in [0.1, 10], above 1 enlarges; ``shear`` of the rows in degrees, in [-80, 80].
    """

    degrees: tuple[Turn, Turn] = (-10.0, 10.0)
    translate: Fraction = 0.1
    scale: tuple[Ratio, Ratio] = (0.9, 1.1)
    shear: tuple[Shear, Shear] = (0.0, 0.0)
    edge: Edge = "constant"
    fill: Pixel = -1.0

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The transformed images, of the same shape."""
        n, _, height, width = shape_of(images)
        angle = torch.deg2rad(uniform(n, self.degrees, generator, images))
        slope = torch.deg2rad(uniform(n, self.shear, generator, images)).tan()
        size = uniform(n, self.scale, generator, images)
        sides = angle.new_tensor([width, height])
        shift = uniform((n, 2), (-self.translate, self.translate), generator, images) * sides
        # Resampling needs the source of each output pixel, which is the inverse transform.
        back = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(n, 2, 2)
        ones, noughts = torch.ones_like(slope), torch.zeros_like(slope)
        unshear = torch.stack([ones, -slope, noughts, ones], 1).view(n, 2, 2)
        return linear(images, unshear @ back / size.view(n, 1, 1), shift, self.edge, self.fill)
