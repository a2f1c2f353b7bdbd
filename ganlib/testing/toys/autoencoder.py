"""Toys of the auto-encoders."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ganlib.data.spec import Block, DataSpec, Vector
from ganlib.models.gan.semi_supervised import with_labels
from ganlib.testing.problems import ring, rule_bits, rule_property
from ganlib.testing.toy import Toy
from ganlib.testing.toys.images import ENERGY
from ganlib.testing.toys.points import RING
from ganlib.testing.toys.tables import FACTOR

_DETECTOR = replace(FACTOR, config={"latent_dim": 3}, trainer={"epochs": 80, "batch_size": 64})


@torch.no_grad()
def _purity(algorithm: Any, seed: int) -> float:
    """Share of points in the most common mode of their cluster."""
    x, mode = ring(2000, seed + 1000, deviation=0.1)
    cluster = algorithm.classify(x)
    counts = torch.stack([torch.bincount(mode[cluster == c], minlength=8) for c in range(algorithm.classes)])
    return float(counts.max(1).values.sum()) / len(x)


def _few_named(seed: int) -> dict[str, torch.Tensor]:
    """The ring, and five points of each mode with the class: whether its number is odd."""
    x, mode = ring(4096, seed, deviation=0.1)
    first = torch.cat([torch.where(mode == c)[0][:5] for c in range(8)])
    return with_labels(x, x[first], mode[first] % 2, seed)


@torch.no_grad()
def _named(algorithm: Any, seed: int) -> float:
    x, mode = ring(2000, seed + 1000, deviation=0.1)
    return float((algorithm.classify(x) == mode % 2).float().mean())


BITS = DataSpec({"x": Vector(64, tuple(Block(f"b{i}", "binary", i) for i in range(64))), "c": Vector(1)})


@torch.no_grad()
def _steered(algorithm: Any, seed: int) -> float:
    """Correlation of the requested property with that of generated rows."""
    wanted, sampler = rule_bits(1000, seed + 1000)[1], algorithm.sampler()
    z = torch.randn(1000, sampler.latent_dim, generator=torch.Generator().manual_seed(seed))
    found = rule_property(sampler(z, wanted))
    return float(torch.corrcoef(torch.cat([wanted, found], 1).T)[0, 1])


TOYS = {
    "autoencoder": _DETECTOR,
    "denoising_autoencoder": _DETECTOR,
    "adversarial_autoencoder": _DETECTOR,
    "semi_supervised_aae": replace(
        RING,
        data=_few_named,
        spec=DataSpec.vector(2, 2),
        level=_named,
        at_least=0.85,
        measure="8-Gaussian ring, neighbours of different classes, 40 labels: accuracy",
        baseline=lambda seed: 0.5,
        config={"latent_dim": 2, "hidden": (64, 64), "critic_hidden": (64, 64)},
        trainer={"steps": 800, "batch_size": 128},
    ),
    "clustering_aae": replace(
        RING,
        level=_purity,
        measure="8-Gaussian ring: points in the most common mode of their cluster",
        baseline=lambda seed: 0.15,
        config={"latent_dim": 1, "clusters": 8, "hidden": (64, 64), "critic_hidden": (64, 64)},
        trainer={"steps": 1200, "batch_size": 128},
    ),
    "property_aae": Toy(
        data=lambda seed: dict(zip(("x", "c"), rule_bits(2000, seed), strict=True)),
        spec=BITS,
        level=_steered,
        at_least=0.6,
        measure="64 flags under 16 rules: correlation of requested and generated property",
        baseline=lambda seed: 0.0,
        trainer={"steps": 600, "batch_size": 64, "ema": 0.99},
    ),
    "vq_vae": replace(
        ENERGY,
        measure="8x8 digits: AUROC of the score, images with shuffled pixels",
        config={"width": 16, "codes": 32},
        trainer={"steps": 400, "batch_size": 64},
    ),
}
