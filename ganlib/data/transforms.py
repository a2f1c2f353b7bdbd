"""Augmentation of image batches ``(n, channels, height, width)`` in [-1, 1], with a separate random draw per image.

A transform is a frozen configuration, called with (images, generator). Equal generators give equal output on any
device. All except ``mixup``, which also blends labels, can be chained with ``Compose``. All are differentiable in the
images (piecewise if values are clipped).
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ganlib.config import Config
from ganlib.data.pixels import (
    Edge,
    cut,
    factors,
    flip,
    integers,
    linear,
    luma,
    resample,
    shape_of,
    shift_colour,
    translate,
    uniform,
    window,
)
from ganlib.errors import ConfigError, DataError

Policy = Literal["colour", "translation", "cutout"]
POLICY: tuple[Policy, ...] = ("colour", "translation", "cutout")


class Transform(Protocol):
    """A chainable transform: a function of images ``(n, c, h, w)`` and a generator."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The augmented images."""


@dataclass(frozen=True)
class Compose:
    """Several transforms in turn: ``Compose([RandomHorizontalFlip(), RandomCrop(padding=4)])``.

    Raises ConfigError for anything but a list, and for members that are not functions of (images, generator).
    """

    transforms: Sequence[Transform]

    def __post_init__(self) -> None:
        if not isinstance(self.transforms, Iterable) or isinstance(self.transforms, str):
            raise ConfigError(f"Compose takes a list of transforms, Compose([a, b]), not {self.transforms!r}")
        object.__setattr__(self, "transforms", tuple(self.transforms))
        for one in self.transforms:
            check_transform(one, "Compose chains")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images after the last transform."""
        for one in self.transforms:
            images = one(images, generator)
        return images


Bounds = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Bounded(Config):
    """Options that must lie within ``bounds``: numbers, or pairs of increasing values; None is not checked."""

    bounds: ClassVar[Bounds] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, (low, high) in self.bounds.items():
            value = getattr(self, name)
            if isinstance(value, tuple):
                _range(name, value, low, high)
            elif value is not None:
                _within(name, value, low, high)


# -------------------------------------------------------------------- place
@dataclass(frozen=True, kw_only=True)
class RandomHorizontalFlip(Bounded):
    """Mirror left and right with probability ``p`` in [0, 1]."""

    p: float = 0.5
    bounds: ClassVar[Bounds] = {"p": (0, 1)}
    axis: ClassVar[int] = 3

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images, some mirrored."""
        return flip(images, generator, self.p, self.axis)


@dataclass(frozen=True, kw_only=True)
class RandomVerticalFlip(RandomHorizontalFlip):
    """Mirror top and bottom with probability ``p`` in [0, 1]."""

    axis: ClassVar[int] = 2


@dataclass(frozen=True, kw_only=True)
class RandomCrop(Bounded):
    """A window of the image padded by ``padding`` pixels on each side, every position equally likely.

    ``size`` is the window's side, at least 1; defaults to the image's height and width. ``edge`` fills the padding:
    constant (``fill`` in [-1, 1]), reflect or replicate. The call raises DataError if the padded image is smaller than
    the window.
    """

    padding: int = 4
    size: int | None = None
    edge: Edge = "constant"
    fill: float = -1.0

    bounds: ClassVar[Bounds] = {"padding": (0, 256), "size": (1, 256), "fill": (-1, 1)}

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Windows ``(n, c, size, size)``, or of the images' own shape."""
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
class RandomTranslation(Bounded):
    """A shift by whole pixels, uniform up to ``fraction`` in [0, 1] of each side.

    Uncovered pixels are filled by ``edge`` and ``fill``, as in RandomCrop.
    """

    fraction: float = 0.125
    edge: Edge = "constant"
    fill: float = -1.0

    bounds: ClassVar[Bounds] = {"fraction": (0, 1), "fill": (-1, 1)}

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The shifted images, of the same shape."""
        return translate(images, generator, self.fraction, self.edge, self.fill)


@dataclass(frozen=True, kw_only=True)
class RandomResizedCrop(Bounded):
    """A random part of the image, stretched to the image's size.

    The part has a share of the area drawn from ``scale`` in (0, 1] and a width-to-height ratio (relative to the
    image's) drawn log-uniformly from ``ratio`` in [0.1, 10], cut off where a side would exceed the image.
    """

    scale: tuple[float, float] = (0.5, 1.0)
    ratio: tuple[float, float] = (0.75, 4 / 3)

    bounds: ClassVar[Bounds] = {"scale": (1e-3, 1), "ratio": (0.1, 10)}

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
class RandomRotation(Bounded):
    """Rotation about the centre by an angle from ``degrees`` in [-360, 360], positive anticlockwise; bilinear."""

    degrees: tuple[float, float] = (-10.0, 10.0)
    edge: Edge = "constant"
    fill: float = -1.0

    bounds: ClassVar[Bounds] = {"degrees": (-360, 360), "fill": (-1, 1)}

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The rotated images, of the same shape."""
        n = shape_of(images)[0]
        angle = torch.deg2rad(uniform(n, self.degrees, generator, images))
        matrix = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(n, 2, 2)
        return linear(images, matrix, angle.new_zeros(n, 2), self.edge, self.fill)


@dataclass(frozen=True, kw_only=True)
class RandomAffine(Bounded):
    """Shear, scaling, rotation about the centre and translation, in this order; bilinear.

    ``degrees`` in [-360, 360], positive anticlockwise; ``translate``: largest shift as a share of the side, in [0, 1];
    ``scale`` in [0.1, 10], above 1 enlarges; ``shear`` of the rows in degrees, in [-80, 80].
    """

    degrees: tuple[float, float] = (-10.0, 10.0)
    translate: float = 0.1
    scale: tuple[float, float] = (0.9, 1.1)
    shear: tuple[float, float] = (0.0, 0.0)
    edge: Edge = "constant"
    fill: float = -1.0

    bounds: ClassVar[Bounds] = {
        "degrees": (-360, 360),
        "translate": (0, 1),
        "scale": (0.1, 10),
        "shear": (-80, 80),
        "fill": (-1, 1),
    }

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


# -------------------------------------------------------------------- colour
@dataclass(frozen=True, kw_only=True)
class RandomBrightness(Bounded):
    """Light, counted from black, times a factor within ``1 ± amount``; ``amount`` in [0, 1]; clipped."""

    amount: float = 0.2

    bounds: ClassVar[Bounds] = {"amount": (0, 1)}

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images, brighter or darker."""
        factor = factors(images, generator, self.amount)
        return ((images + 1) * factor - 1).clamp(-1, 1)


@dataclass(frozen=True, kw_only=True)
class RandomContrast(Bounded):
    """Distance from the image's mean grey times a factor within ``1 ± amount``; ``amount`` in [0, 1]; clipped."""

    amount: float = 0.2

    bounds: ClassVar[Bounds] = {"amount": (0, 1)}

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images with more or less contrast."""
        factor = factors(images, generator, self.amount)
        mean = luma(images).mean((1, 2, 3), keepdim=True)
        return (mean + (images - mean) * factor).clamp(-1, 1)


@dataclass(frozen=True, kw_only=True)
class RandomSaturation(Bounded):
    """Distance from each pixel's own grey times a factor within ``1 ± amount``; ``amount`` in [0, 1]; clipped.

    Grey images are unchanged.
    """

    amount: float = 0.2

    bounds: ClassVar[Bounds] = {"amount": (0, 1)}

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images with stronger or weaker colours."""
        factor = factors(images, generator, self.amount)
        grey = luma(images)
        return (grey + (images - grey) * factor).clamp(-1, 1)


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Bounded):
    """Independent normal noise of standard deviation ``std`` in [0, 2] on every value; clipped to [-1, 1]."""

    std: float = 0.05

    bounds: ClassVar[Bounds] = {"std": (0, 2)}

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The noisy images."""
        shape_of(images)
        noise = torch.randn(images.shape, generator=generator, device=generator.device).to(images)
        return (images + self.std * noise).clamp(-1, 1)


@dataclass(frozen=True, kw_only=True)
class GaussianBlur(Bounded):
    """Convolution with a normal bell whose ``sigma`` in pixels, in [0.05, 20], is drawn per image; edges replicated."""

    sigma: tuple[float, float] = (0.1, 2.0)

    bounds: ClassVar[Bounds] = {"sigma": (0.05, 20)}

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
class Cutout(Bounded):
    """A rectangle of ``fraction`` in [0, 1] of each side becomes ``fill`` in [-1, 1].

    Its centre is uniform over the image, so that the rectangle may reach beyond it.
    Source: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 1708.04552.
    """

    fraction: float = 0.5
    fill: float = 0.0

    bounds: ClassVar[Bounds] = {"fraction": (0, 1), "fill": (-1, 1)}

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images, each with its hole."""
        return cut(images, generator, self.fraction, self.fill)


@dataclass(frozen=True, kw_only=True)
class MixUp(Bounded):
    """Blend each image and its label with another one of the batch; called with labels as a third argument.

    The weight is drawn per image from Beta(alpha, alpha), ``alpha`` in [0.01, 100]; ``classes`` at least 1.
    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", arXiv 1710.09412.
    """

    classes: int
    alpha: float = 0.2

    bounds: ClassVar[Bounds] = {"classes": (1, math.inf), "alpha": (0.01, 100)}

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
        drawn = np.random.default_rng(seed).beta(self.alpha, self.alpha, n)
        weight = torch.from_numpy(drawn).to(images)
        hard = F.one_hot(labels.long(), self.classes).to(images)
        share = weight.view(n, 1, 1, 1)
        return (
            share * images + (1 - share) * images[partner],
            weight[:, None] * hard + (1 - weight[:, None]) * hard[partner.to(hard.device)],
        )


# -------------------------------------------------------------------- for discriminators
@dataclass(frozen=True, kw_only=True)
class DiffAugment(Config):
    """Differentiable augmentation of a discriminator's inputs; see ``diff_augment``."""

    policy: tuple[Policy, ...] = POLICY

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.policy)) != len(self.policy):
            raise ConfigError(f"policy names a step twice: {', '.join(self.policy)}")

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The augmented images, of the same shape; gradients flow back to ``images``."""
        shape_of(images)
        for step in self.policy:
            images = _STEPS[step](images, generator)
        return images


def diff_augment(images: Tensor, generator: torch.Generator, policy: Sequence[Policy] = POLICY) -> Tensor:
    """Augment a discriminator's inputs, real or generated, with gradients to the generator.

    "colour": brightness shifted by up to 0.5, saturation times 0..2, contrast times 0.5..1.5, not clipped;
    "translation": by up to an eighth of each side; "cutout": a hole of half of each side. Uncovered pixels are 0.
    Use it in both updates and on both kinds of images: if only real images are augmented, the generator learns the
    augmentation. Source: Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", arXiv 2006.10738.
    Raises ConfigError for an unknown step.
    """
    return DiffAugment(policy=tuple(policy))(images, generator)


def diff_augment_pair(
    real: Tensor, fake: Tensor, generator: torch.Generator, policy: Sequence[Policy] = POLICY
) -> tuple[Tensor, Tensor]:
    """``diff_augment`` of both, with the same random draw for the i-th real and the i-th generated image.

    Raises DataError if the shapes differ.
    """
    if real.shape != fake.shape:
        raise DataError(f"real and generated images differ in shape: {tuple(real.shape)} and {tuple(fake.shape)}")
    start = generator.get_state()
    first = diff_augment(real, generator, policy)
    generator.set_state(start)
    return first, diff_augment(fake, generator, policy)


TRANSFORMS: Mapping[str, Callable[..., Any]] = {
    "horizontal_flip": RandomHorizontalFlip,
    "vertical_flip": RandomVerticalFlip,
    "crop": RandomCrop,
    "resized_crop": RandomResizedCrop,
    "rotation": RandomRotation,
    "affine": RandomAffine,
    "translation": RandomTranslation,
    "brightness": RandomBrightness,
    "contrast": RandomContrast,
    "saturation": RandomSaturation,
    "noise": GaussianNoise,
    "blur": GaussianBlur,
    "cutout": Cutout,
    "mixup": MixUp,
    "diff_augment": DiffAugment,
}


def make_transform(name: str, **options: Any) -> Any:
    """Create a transform by its name in ``TRANSFORMS``; raises ConfigError for an unknown name or option."""
    if name not in TRANSFORMS:
        close = difflib.get_close_matches(name, TRANSFORMS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"no transform is called {name!r}{hint} (transforms: {', '.join(TRANSFORMS)})")
    return TRANSFORMS[name].from_dict(options)  # type: ignore[attr-defined]


# -------------------------------------------------------------------- checks
def check_transform(one: Any, taker: str) -> None:
    """Raise ConfigError unless ``one`` is a function of (images, generator); not a name, a class or ``mixup``."""
    if not _takes_two(one):
        hint = f"; make_transform({one!r}) creates one" if isinstance(one, str) and one in TRANSFORMS else ""
        raise ConfigError(f"{taker} functions of (images, generator), not {one!r}{hint}")


def _takes_two(one: Any) -> bool:
    if not callable(one) or isinstance(one, type):
        return False
    try:
        inspect.signature(one).bind(None, None)
    except TypeError:
        return False
    except ValueError:  # C functions may have no signature
        pass
    return True


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"option {name!r} must be in {low:g}..{high:g}, not {value}")


def _range(name: str, pair: tuple[float, ...], low: float, high: float) -> None:
    if len(pair) != 2 or not low <= pair[0] <= pair[1] <= high:
        raise ConfigError(f"option {name!r} must be two rising values in {low:g}..{high:g}, not {pair}")


_STEPS: Mapping[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "colour": shift_colour,
    "translation": lambda images, generator: translate(images, generator, 0.125, "constant", 0.0),
    "cutout": lambda images, generator: cut(images, generator, 0.5, 0.0),
}
