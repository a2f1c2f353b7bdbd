"""Transforms that change the values of pixels: colour, noise, blur, holes and blends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional as F

from ganlib.config import Count
from ganlib.data.pixels import cut, factors, luma, shape_of, uniform
from ganlib.data.transform_options import Fraction, Pixel, TransformOptions
from ganlib.errors import DataError

Sigma = Annotated[float, Ge(0.05), Le(20)]


@dataclass(frozen=True, kw_only=True)
class RandomBrightness(TransformOptions):
    """Light, counted from black, times a factor within ``1 ± amount``; ``amount`` in [0, 1]; clipped."""

    amount: Fraction = 0.2

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images, brighter or darker."""
        factor = factors(images, generator, self.amount)
        return ((images + 1) * factor - 1).clamp(-1, 1)


@dataclass(frozen=True, kw_only=True)
class RandomContrast(TransformOptions):
    """Distance from the image's mean grey times a factor within ``1 ± amount``; ``amount`` in [0, 1]; clipped."""

    amount: Fraction = 0.2

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images with more or less contrast."""
        factor = factors(images, generator, self.amount)
        mean = luma(images).mean((1, 2, 3), keepdim=True)
        return (mean + (images - mean) * factor).clamp(-1, 1)


@dataclass(frozen=True, kw_only=True)
class RandomSaturation(TransformOptions):
    """Distance from each pixel's grey times a factor within ``1 ± amount``; ``amount`` in [0, 1]; clipped.

    Grey images are unchanged.
    """

    amount: Fraction = 0.2

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images with stronger or weaker colours."""
        factor = factors(images, generator, self.amount)
        grey = luma(images)
        return (grey + (images - grey) * factor).clamp(-1, 1)


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(TransformOptions):
    """Independent normal noise of standard deviation ``std`` in [0, 2] on every value; clipped to [-1, 1]."""

    std: Annotated[float, Ge(0), Le(2)] = 0.05

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The noisy images."""
        shape_of(images)
        noise = torch.randn(images.shape, generator=generator, device=generator.device).to(images)
        return (images + self.std * noise).clamp(-1, 1)


@dataclass(frozen=True, kw_only=True)
class GaussianBlur(TransformOptions):
    """Gaussian blur, with ``sigma`` in pixels, in [0.05, 20], sampled per image; edges are replicated."""

    sigma: tuple[Sigma, Sigma] = (0.1, 2.0)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The blurred images."""
        n, c, height, width = shape_of(images)
        sigma = uniform(n, self.sigma, generator, images)
        radius = math.ceil(4 * self.sigma[1])
        steps = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
        kernel = torch.softmax(-(steps**2) / (2 * sigma[:, None] ** 2), 1).repeat_interleave(c, 0)
        flat = F.pad(images.reshape(1, n * c, height, width), (radius,) * 4, mode="replicate")
        flat = F.conv2d(flat, kernel[:, None, :, None], groups=n * c)
        return F.conv2d(flat, kernel[:, None, None, :], groups=n * c).view(n, c, height, width)


@dataclass(frozen=True, kw_only=True)
class Cutout(TransformOptions):
    """A rectangle of ``fraction`` in [0, 1] of each side becomes ``fill`` in [-1, 1].

    Its centre is uniform over the image, so that the rectangle may reach beyond it.
    Source: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 1708.04552.
    """

    fraction: Fraction = 0.5
    fill: Pixel = 0.0

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images, each with its hole."""
        return cut(images, generator, self.fraction, self.fill)


@dataclass(frozen=True, kw_only=True)
class MixUp(TransformOptions):
    """Blend each image and its label with another one of the batch; called with labels as a third argument.

    The weight is sampled per image from Beta(alpha, alpha), ``alpha`` in [0.01, 100]; ``classes`` at least 1.
    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", arXiv 1710.09412.
    """

    classes: Count
    alpha: Annotated[float, Ge(0.01), Le(100)] = 0.2

    def __call__(self, images: Tensor, generator: torch.Generator, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Blended images, and soft labels ``(n, classes)`` that sum to 1, from class indices ``labels`` ``(n,)``.

        Raises DataError unless there is one label in 0..classes-1 per image.
        """
        n = shape_of(images)[0]
        whole = not labels.is_floating_point() and labels.shape == (n,)
        if not whole or int(labels.min()) < 0 or int(labels.max()) >= self.classes:
            raise DataError(f"mixup needs one class index in 0..{self.classes - 1} for each of {n} images")
        partner = torch.randperm(n, generator=generator, device=generator.device).to(images.device)
        # torch cannot sample Beta with a generator, so NumPy does, seeded by the generator.
        seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
        sampled = np.random.default_rng(seed).beta(self.alpha, self.alpha, n)
        weight = torch.from_numpy(sampled).to(images)
        hard = F.one_hot(labels.long(), self.classes).to(images)
        share = weight.view(n, 1, 1, 1)
        return (
            share * images + (1 - share) * images[partner],
            weight[:, None] * hard + (1 - weight[:, None]) * hard[partner.to(hard.device)],
        )
