"""Checks on 2-D mixtures: modes found, slopes of critics, tangents of charts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.models import mixtures
from benchmarks.models.checks.check import Check, Figures, draw, fit
from ganlib.data.spec import DataSpec
from ganlib.data.toy import ring
from ganlib.metrics.mixtures import mode_report, ring_centres


def _modes(name: str, seed: int, steps: int = 5000, **options: Any) -> int:
    options = {"latent_dim": 2, "hidden": (128, 128, 128), "learning_rate": 1e-3, **options}
    data = {"x": ring(20_000, seed, deviation=0.04)[0]}
    model, _ = fit(name, DataSpec.vector(2), data, seed, steps, 256, **options)
    return mode_report(draw(model, 5000, seed), ring_centres(8, 2.0), 0.04).found


def _ring(name: str, **options: Any) -> Callable[[int], Figures]:
    """Modes of 8, beside the best single Gaussian's."""

    def run(seed: int) -> Figures:
        x = ring(20_000, seed, deviation=0.04)[0]
        noise = torch.randn(5000, 2, generator=torch.Generator().manual_seed(seed))
        gaussian = mode_report(x.mean(0) + noise * x.std(0), ring_centres(8, 2.0), 0.04).found
        return _modes(name, seed, **options), gaussian

    return run


def _steepness(seed: int) -> Figures:
    """Largest critic slope on a grid: without a penalty over with the difference quotient, beside the same for GP."""

    def steepest(penalty: str) -> float:
        options = {
            "latent_dim": 2,
            "objective": "wgan_gp",
            "penalty": penalty,
            "learning_rate": 1e-3,
            "penalty_weight": 0.1,
        }
        model, _ = fit("gan", DataSpec.vector(2), {"x": ring(8000, seed)[0]}, seed, 3000, **options)
        side = torch.linspace(-3, 3, 60)
        grid = torch.cartesian_prod(side, side).requires_grad_(True)
        (slope,) = torch.autograd.grad(model.critic(grid, None).sum(), grid)
        return float(slope.norm(dim=1).max())

    free, quotient, gradient = (steepest(name) for name in ("none", "difference_quotient", "two_sided"))
    return free / quotient, free / gradient


def _tangents(seed: int) -> Figures:
    """Smallest over largest singular value of the chart's tangents; baseline: without the orthonormality term."""
    values = []
    x = ring(2000, seed, deviation=0.1)[0]
    for weight in (10.0, 0.0):
        options = {"latent_dim": 2, "learning_rate": 1e-3, "orthonormality": weight}
        model, _ = fit("localized_gan", DataSpec.vector(2), {"x": x}, seed, 600, 128, 0.0, **options)
        singular = torch.linalg.svdvals(model.tangents(x[:500]).detach())
        values.append(float((singular[:, -1] / singular[:, 0].clamp(min=1e-9)).mean()))
    return values[0], values[1]


def _grid(objective: str) -> Callable[[int], Figures]:
    """Modes of 25, and the share of points within three deviations of one."""

    def run(seed: int) -> Figures:
        row = mixtures.run("25 modes", objective, seed, 6000)
        return row["modes"], row["quality"]

    return run


def _shapes(seed: int) -> Figures:
    """Of eight random pairs of MLPs, how many reach 7 of 8 modes under the gradient penalty; baseline: under GAN."""
    generator = torch.Generator().manual_seed(seed)
    reached = {"wgan_gp": 0, "gan": 0}
    for index in range(8):
        depth = int(torch.randint(2, 6, (1,), generator=generator))
        hidden = tuple(int(32 * 2 ** torch.randint(0, 4, (1,), generator=generator)) for _ in range(depth))
        for objective in reached:
            found = _modes("gan", 100 * seed + index, hidden=hidden, objective=objective, steps=2000)
            reached[objective] += found >= 7
    return reached["wgan_gp"], reached["gan"]


ROWS = (
    *(
        Check(row, model, "8-Gaussian ring: modes of 8", "best single Gaussian", 7.0, _ring(model, **options))
        for row, model, options in (
            ("B1", "gan", {}),
            ("C1 modes", "wgan", {"learning_rate": 5e-4, "clip": 0.05}),
            ("C4 modes", "wgan_difference_quotient", {}),
            ("C5", "least_squares_gan", {}),
            ("C6", "loss_sensitive_gan", {}),
            ("C11", "mode_regularised_gan", {}),
            ("C12 EBGAN", "ebgan", {}),
            ("C12 DRAGAN", "dragan", {}),
        )
    ),
    *(
        Check(row, "wgan_gp", f"25 Gaussians, {name} penalty: modes of 25", "share of good points", need, _grid(option))
        for row, name, option, need in (
            ("C2", "two-sided", "wgan_gp", 24.0),
            ("C3", "one-sided", "wgan_gp_one_sided", 22.0),
        )
    ),
    Check("C2 shapes", "wgan_gp", "of 8 random MLPs, those that find 7 of 8 modes", "under GAN", 7.0, _shapes),
    Check(
        "C4",
        "wgan_difference_quotient",
        "steepest slope without a penalty over with",
        "the same for the gradient penalty",
        5.0,
        _steepness,
    ),
    Check("C9", "localized_gan", "smallest over largest singular value", "without orthonormality", 0.5, _tangents),
)
