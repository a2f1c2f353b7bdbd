"""Differentiable augmentation of the images that a discriminator reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ganlib.config import Config
from ganlib.data.pixels import cut, shape_of, shift_colour, translate
from ganlib.errors import ConfigError, DataError

Policy = Literal["colour", "translation", "cutout"]
POLICY: tuple[Policy, ...] = ("colour", "translation", "cutout")


_STEPS: Mapping[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "colour": shift_colour,
    "translation": lambda images, generator: translate(images, generator, 0.125, "constant", 0.0),
    "cutout": lambda images, generator: cut(images, generator, 0.5, 0.0),
}


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
    """``diff_augment`` of both, with the same random numbers for the i-th real and the i-th generated image.

    Raises DataError if the shapes differ.
    """
    if real.shape != fake.shape:
        raise DataError(f"real and generated images differ in shape: {tuple(real.shape)} and {tuple(fake.shape)}")
    start = generator.get_state()
    first = diff_augment(real, generator, policy)
    generator.set_state(start)
    return first, diff_augment(fake, generator, policy)
