"""Augmentation of image batches ``(n, channels, height, width)`` in [-1, 1], with random numbers for each image.

A transform is a frozen configuration, called with (images, generator). Equal generators give equal output on any
device. All except ``mixup``, which also blends labels, can be chained with ``Compose``. All are differentiable in the
images (piecewise if values are clipped).
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ganlib.data.diff_augment import POLICY, DiffAugment, Policy, diff_augment, diff_augment_pair
from ganlib.data.transform_place import (
    RandomAffine,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomTranslation,
    RandomVerticalFlip,
)
from ganlib.data.transform_values import (
    Cutout,
    GaussianBlur,
    GaussianNoise,
    MixUp,
    RandomBrightness,
    RandomContrast,
    RandomSaturation,
)
from ganlib.errors import ConfigError

__all__ = [
    "POLICY", "TRANSFORMS", "Compose", "Cutout", "DiffAugment", "GaussianBlur", "GaussianNoise", "MixUp", "Policy",
    "RandomAffine", "RandomBrightness", "RandomContrast", "RandomCrop", "RandomHorizontalFlip", "RandomResizedCrop",
    "RandomRotation", "RandomSaturation", "RandomTranslation", "RandomVerticalFlip", "Transform", "check_transform",
    "diff_augment", "diff_augment_pair", "make_transform",
]  # fmt: skip


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
