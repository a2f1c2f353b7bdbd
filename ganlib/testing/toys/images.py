"""Images: 8x8 digits, and pairs of blobs far apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ganlib.data.spec import DataSpec
from ganlib.metrics.detection import auroc
from ganlib.metrics.features import precision_recall_density_coverage
from ganlib.testing.problems import blobs_agree, digits, twin_blobs
from ganlib.testing.toy import Toy


@torch.no_grad()
def sample_images(algorithm: Any, n: int, seed: int) -> Tensor:
    """Generated images, of each class in turn if the model has classes."""
    sampler = algorithm.sampler()
    z = torch.randn(n, sampler.latent_dim, generator=torch.Generator().manual_seed(seed))
    return sampler(z, torch.arange(n) % algorithm.spec.classes) if algorithm.by_class else sampler(z)


def digits_level(algorithm: Any, seed: int) -> float:
    """Coverage of held-out digits by the same number of generated ones."""
    real, _ = digits(seed, "test")
    return precision_recall_density_coverage(real, sample_images(algorithm, len(real), seed)).coverage


def pixels_level(seed: int) -> float:
    """The same for images of independently sampled pixels."""
    real = digits(seed, "test")[0]
    return precision_recall_density_coverage(real, _shuffled(digits(seed)[0], seed)[: len(real)]).coverage


def _shuffled(images: Tensor, seed: int) -> Tensor:
    """Images in which every pixel is from another image."""
    rows = torch.randint(len(images), (len(images), 64), generator=torch.Generator().manual_seed(seed))
    return images.flatten(1).gather(0, rows).view(-1, 1, 8, 8)


DIGITS = Toy(
    data=lambda seed: {"x": digits(seed)[0]},
    spec=DataSpec.image(1, 8, 8),
    level=digits_level,
    at_least=0.3,
    measure="8x8 digits: held-out images covered",
    baseline=pixels_level,
    trainer={"steps": 1500, "batch_size": 64, "ema": 0.99},
)


@torch.no_grad()
def energy_level(algorithm: Any, seed: int) -> float:
    """AUROC of the critic's energy for held-out digits against images of shuffled pixels."""
    real = digits(seed, "test")[0]
    shuffled = _shuffled(real, seed)
    scores = algorithm.scorer()(torch.cat([real, shuffled]))
    return auroc(scores, torch.cat([torch.zeros(len(real)), torch.ones(len(shuffled))]))


ENERGY = replace(
    DIGITS,
    level=energy_level,
    at_least=0.8,
    measure="8x8 digits: AUROC of the energy, images with shuffled pixels",
    baseline=lambda seed: 0.5,
)


def blobs_level(algorithm: Any, seed: int) -> float:
    """Agreement of the two blobs beyond chance."""
    return blobs_agree(sample_images(algorithm, 1000, seed))


BLOBS = Toy(
    data=lambda seed: {"x": twin_blobs(2000, seed)},
    spec=DataSpec.image(1, 16, 16),
    level=blobs_level,
    at_least=0.4,
    measure="16x16 twin blobs: orientations agree, Cohen's kappa",
    baseline=lambda seed: 0.0,
    trainer={"steps": 1000, "batch_size": 64, "ema": 0.99},
)
