"""Toys shared by the models of this family: a ring of modes, real digits, twin blobs for what is far apart."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ganlib.data.spec import DataSpec
from ganlib.data.toy import blobs_agree, digits, modes_found, ring, twin_blobs
from ganlib.metrics.detection import auroc
from ganlib.metrics.features import precision_recall_density_coverage


def _mode_quality(points: Tensor) -> float:
    modes, share = modes_found(points, deviation=0.1)
    return modes / 8 * share


@torch.no_grad()
def ring_level(algorithm: Any, seed: int) -> float:
    """Share of the eight modes reached times the share of points within three deviations of one (0 to 1)."""
    sampler = algorithm.sampler()
    z = torch.randn(2000, sampler.latent_dim, generator=torch.Generator().manual_seed(seed))
    return _mode_quality(sampler(z))


def gaussian_level(seed: int) -> float:
    """The same for points of the single best Gaussian."""
    x, _ = ring(2000, seed)
    g = torch.Generator().manual_seed(seed)
    return _mode_quality(x.mean(0) + x.std(0) * torch.randn(2000, 2, generator=g))


RING_TOY: dict[str, Any] = {
    "data": lambda seed: {"x": ring(4096, seed, deviation=0.1)[0]},
    "spec": DataSpec.vector(2),
    "level": ring_level,
    "measure": "8-Gaussian ring: modes reached × points near one",
    "baseline": gaussian_level,
}


@torch.no_grad()
def sample_images(algorithm: Any, n: int, seed: int) -> Tensor:
    """Generated images, classes in turn where the model has them."""
    sampler = algorithm.sampler()
    z = torch.randn(n, sampler.latent_dim, generator=torch.Generator().manual_seed(seed))
    return sampler(z, torch.arange(n) % algorithm.spec.classes) if algorithm.by_class else sampler(z)


def digits_level(algorithm: Any, seed: int) -> float:
    """Coverage of held-out digits by as many generated ones."""
    real, _ = digits(seed, "test")
    return precision_recall_density_coverage(real, sample_images(algorithm, len(real), seed)).coverage


def pixels_level(seed: int) -> float:
    """The same for images whose pixels are drawn each on its own."""
    real = digits(seed, "test")[0]
    return precision_recall_density_coverage(real, _shuffled(digits(seed)[0], seed)[: len(real)]).coverage


def _shuffled(images: Tensor, seed: int) -> Tensor:
    """Every pixel from an image of its own."""
    rows = torch.randint(len(images), (len(images), 64), generator=torch.Generator().manual_seed(seed))
    return images.flatten(1).gather(0, rows).view(-1, 1, 8, 8)


DIGITS_TOY: dict[str, Any] = {
    "data": lambda seed: {"x": digits(seed)[0]},
    "spec": DataSpec((1, 8, 8)),
    "level": digits_level,
    "measure": "8x8 digits: held-out images covered",
    "baseline": pixels_level,
}


@torch.no_grad()
def energy_level(algorithm: Any, seed: int) -> float:
    """AUROC of the critic's energy: held-out digits against images whose pixels come each from another digit."""
    real = digits(seed, "test")[0]
    odd = _shuffled(real, seed)
    scores = algorithm.scorer()(torch.cat([real, odd]))
    return auroc(scores, torch.cat([torch.zeros(len(real)), torch.ones(len(odd))]))


ENERGY_TOY: dict[str, Any] = {
    **DIGITS_TOY,
    "level": energy_level,
    "measure": "8x8 digits: AUROC of the energy, images with shuffled pixels",
    "baseline": lambda seed: 0.5,
}


def blobs_level(algorithm: Any, seed: int) -> float:
    """How much oftener than by chance the two blobs agree."""
    return blobs_agree(sample_images(algorithm, 1000, seed))


BLOBS_TOY: dict[str, Any] = {
    "data": lambda seed: {"x": twin_blobs(2000, seed)},
    "spec": DataSpec((1, 16, 16)),
    "level": blobs_level,
    "measure": "16x16 twin blobs: orientations agree, Cohen's kappa",
    "baseline": lambda seed: 0.0,
}
