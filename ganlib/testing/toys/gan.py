"""Toys of the GANs, and of every objective that is a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ganlib.data.spec import DataSpec
from ganlib.losses.adversarial import OBJECTIVES
from ganlib.losses.objective import Objective
from ganlib.testing.problems import digits, ring
from ganlib.testing.toy import Toy
from ganlib.testing.toys.images import BLOBS, DIGITS, ENERGY
from ganlib.testing.toys.points import RING
from ganlib.testing.toys.tables import LABELLED

_GAN = replace(RING, config={"learning_rate": 1e-3})
_CONDITIONAL = replace(
    LABELLED,
    config={"latent_dim": 8, "hidden": (64, 64), "learning_rate": 1e-3},
    trainer={"steps": 2500, "batch_size": 128, "ema": 0.995},
)


@torch.no_grad()
def _chart_level(algorithm: Any, seed: int) -> float:
    """Smallest over largest singular value of J, times the share of neighbours (at 0.2) in their example's mode."""
    x, mode = ring(500, seed + 1000, deviation=0.1)
    values = torch.linalg.svdvals(algorithm.tangents(x))
    z = 0.2 * torch.randn(500, algorithm.config.latent_dim, generator=torch.Generator().manual_seed(seed))
    near = algorithm.neighbours(x, z)
    angle = 2 * torch.pi * torch.arange(8) / 8
    stayed = torch.cdist(near, 2 * torch.stack([angle.cos(), angle.sin()], 1)).argmin(1) == mode
    return float((values[:, -1] / values[:, 0]).mean() * stayed.float().mean())


def _described_data(seed: int) -> dict[str, Tensor]:
    """The ring, each point described by the direction of its mode."""
    x, mode = ring(4096, seed, deviation=0.1)
    angle = 2 * torch.pi * mode / 8
    return {"x": x, "c": torch.stack([angle.cos(), angle.sin()], 1)}


@torch.no_grad()
def _described_level(algorithm: Any, seed: int) -> float:
    """Share of points near the requested mode."""
    c = _described_data(seed + 1000)["c"][:1000]
    z = torch.randn(len(c), algorithm.config.latent_dim, generator=torch.Generator().manual_seed(seed))
    points = algorithm.generate(z, c)
    return float(((points - 2 * c).norm(dim=1) < 0.3).float().mean())


def _few_labels(seed: int) -> Mapping[str, Tensor]:
    from ganlib.models.gan.semi_supervised import with_labels

    x, y = digits(seed)
    first = torch.cat([torch.where(y == c)[0][:5] for c in range(10)])
    return with_labels(x.flatten(1), x.flatten(1)[first], y[first], seed)


@torch.no_grad()
def _accuracy(algorithm: Any, seed: int) -> float:
    x, y = digits(seed, "test")
    return float((algorithm.classify(x.flatten(1)) == y).float().mean())


def _logistic_regression(seed: int) -> float:
    """A logistic regression on the same labels."""
    from sklearn.linear_model import LogisticRegression

    data = _few_labels(seed)
    x, y = digits(seed, "test")
    fitted = LogisticRegression(max_iter=500).fit(data["labelled_x"][:50].numpy(), data["labelled_y"][:50].numpy())
    return float(fitted.score(x.flatten(1).numpy(), y.numpy()))


def _of(row: Objective) -> Toy:
    """The toy of ``gan`` with the objective's changes; ``images`` uses digits, and measures the critic's energy."""
    changes: dict[str, Any] = {"config": {"learning_rate": 1e-3}, **row.toy}
    return replace(ENERGY if changes.pop("images", False) else _GAN, **changes)


TOYS = {
    "gan": _GAN,
    **{row.model: _of(row) for row in OBJECTIVES.values() if row.model},
    "dcgan": replace(DIGITS, config={"latent_dim": 16, "width": 32}),
    "sagan": replace(BLOBS, config={"latent_dim": 16, "width": 8, "learning_rate": 1e-3, "critic_learning_rate": 1e-3}),
    "cgan": _CONDITIONAL,
    "acgan": replace(
        _CONDITIONAL,
        at_least=0.4,
        config={
            **_CONDITIONAL.config,
            "betas": (0.0, 0.99),
            "instance_noise": 0.3,
            "auxiliary_generator": 0.3,
        },
    ),
    "infogan": replace(RING, config={"latent_dim": 8, "categories": 8, "continuous": 0, "critic_learning_rate": 1e-3}),
    "mode_regularised_gan": _GAN,
    "localized_gan": replace(
        RING,
        level=_chart_level,
        at_least=0.5,
        measure="orthonormality of tangents × neighbours that stay in their mode",
        # A chart that ignores x has one in eight neighbours in the right mode.
        baseline=lambda seed: 0.125,
        config={"latent_dim": 2, "learning_rate": 1e-3},
        trainer={"steps": 600, "batch_size": 128},
    ),
    "semi_supervised_gan": Toy(
        data=_few_labels,
        spec=DataSpec.vector(64, 10),
        level=_accuracy,
        at_least=0.9,
        measure="8x8 digits: accuracy from 5 labels a class",
        baseline=_logistic_regression,
        config={"latent_dim": 32, "hidden": (256, 128, 64), "generator_hidden": (128, 128), "learning_rate": 1e-3},
        trainer={"steps": 1500, "batch_size": 100, "ema": 0.99},
    ),
    "stackgan": replace(
        DIGITS,
        data=lambda seed: dict(zip(("x", "y"), digits(seed), strict=True)),
        spec=DataSpec.image(1, 8, 8, classes=10),
        at_least=0.2,
        config={"latent_dim": 16, "augmented": 16, "width": 32, "learning_rate": 1e-3},
        trainer={"steps": 2000, "batch_size": 64, "ema": 0.99},
    ),
    "gan_int_cls": Toy(
        data=_described_data,
        spec=DataSpec.vector(2, attributes=2),
        level=_described_level,
        at_least=0.6,
        measure="8-Gaussian ring: points within three deviations of the mode described",
        baseline=lambda seed: 0.125,
        config={"latent_dim": 8, "text_dim": 16, "learning_rate": 1e-3},
        trainer={"steps": 2000, "batch_size": 128, "ema": 0.995},
    ),
}
