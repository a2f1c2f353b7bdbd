"""Checks on 2-D mixtures: modes found, slopes of critics, tangents of charts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.models import mixtures
from benchmarks.models.checks.check import Check, Figures, draw, fit
from ganlib.data.spec import DataSpec
from ganlib.losses.penalties import slopes
from ganlib.metrics.mixtures import mode_report, ring_centres
from ganlib.registry import create
from ganlib.testing.problems import ring
from ganlib.training import Batch


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
    """Largest critic slope on a grid: without a penalty over with the difference quotient, beside the same for GP;
    ratios as common logarithms, since without a penalty slopes differ by orders between seeds."""

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
    return math.log10(free / quotient), math.log10(free / gradient)


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


def _grid_beside(seed: int) -> Figures:
    """Modes of 25 with importance weights, and of the plain game."""
    found = [mixtures.run("25 modes", objective, seed, 6000)["modes"] for objective in ("importance_weighted", "gan")]
    return found[0], found[1]


def _grid_gain(seed: int) -> Figures:
    """Modes of 25 with mode regularisation, and of the plain game."""
    options = {"latent_dim": 2, "hidden": (128, 128, 128), "learning_rate": 1e-3}
    found = []
    for name in ("mode_regularised_gan", "gan"):
        data = {"x": mixtures.draw("25 modes", 20_000, seed)}
        model, _ = fit(name, DataSpec.vector(2), data, seed, 6000, 256, 0.999, **options)
        found.append(mixtures.judge("25 modes", draw(model, 5000, seed))[0])
    return found[0], found[1]


def _critic_slopes(seed: int) -> Figures:
    """How near 1 the mean slope of the critic is at interpolates (1 less the distance), the paper's weight of 10;
    baseline: without a penalty."""
    values = []
    for penalty in ("two_sided", "none"):
        options = {"latent_dim": 2, "learning_rate": 1e-3, "penalty": penalty, "penalty_weight": 10.0}
        x = ring(8000, seed)[0]
        model, _ = fit("wgan_gp", DataSpec.vector(2), {"x": x}, seed, 1500, 128, 0.0, **options)
        made, mix = draw(model, 2000, seed), torch.rand(2000, 1, generator=torch.Generator().manual_seed(seed))
        at = mix * x[:2000] + (1 - mix) * made
        values.append(1 - abs(1 - float(slopes(lambda v, net=model.critic: net(v, None), at).mean().detach())))
    return values[0], values[1]


def _estimate_falls(seed: int) -> Figures:
    """Share by which the critic's estimate of the distance falls from its start, while the points within three
    deviations of a mode become more; baseline: their share."""
    options = {"latent_dim": 2, "hidden": (128, 128, 128), "learning_rate": 1e-3}
    model, history = fit("wgan_gp", DataSpec.vector(2), {"x": ring(8000, seed)[0]}, seed, 2000, **options)
    curve = [-value for value in history.curves["critic"]]
    fall = 1 - sum(curve[-5:]) / 5 / max(curve[:5])
    return fall, mode_report(draw(model, 5000, seed), ring_centres(8, 2.0), 0.02).high_quality


def _pace(seed: int) -> Figures:
    """CPU of a critic's update under the gradient penalty over that under the difference quotient, least of five turns
    each; baseline: without a penalty over the difference quotient."""
    x = torch.randn(256, 64, generator=torch.Generator().manual_seed(seed))
    least = dict.fromkeys(("two_sided", "difference_quotient", "none"), float("inf"))
    for _ in range(5):
        for penalty in least:
            torch.manual_seed(seed)
            model = create("gan", DataSpec.vector(64), objective="wgan_gp", penalty=penalty, hidden=(256, 256, 256))
            batch = Batch({"x": x}, torch.Generator().manual_seed(seed))
            began = time.process_time()
            for _ in range(20):
                model.critic_loss(batch).total.backward(inputs=model.parameters_of("critic"))
                batch.forget(["critic"])
            least[penalty] = min(least[penalty], time.process_time() - began)
    return least["two_sided"] / least["difference_quotient"], least["none"] / least["difference_quotient"]


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


# Attempts at seeds 0 to 2: the source's numbers 7 6 4 modes; the repelling term tenfold 5 3 7; noise with it 8 8 7.
_REPELLED = {"objective_options": {"repelling": 1.0}, "instance_noise": 0.3, "noise_steps": 5000}

ROWS = (
    *(
        Check(row, model, f"8-Gaussian ring{setting}: modes of 8", "best single Gaussian", 7.0, _ring(model, **options))
        for row, model, setting, options in (
            ("B1", "gan", "", {}),
            ("C1 modes", "wgan", ", learning rate 5e-4, clip .05", {"learning_rate": 5e-4, "clip": 0.05}),
            ("C4 modes", "wgan_difference_quotient", "", {}),
            ("C5", "least_squares_gan", "", {}),
            ("C6", "loss_sensitive_gan", "", {}),
            ("C11", "mode_regularised_gan", "", {}),
            ("C12 EBGAN", "ebgan", ", repelling 1, instance noise .3", _REPELLED),
            ("C12 DRAGAN", "dragan", ", penalty weight .1", {"penalty_weight": 0.1}),
        )
    ),
    *(
        Check(row, "wgan_gp", f"25 Gaussians, {name} penalty: modes of 25", "share of good points", need, _grid(option))
        for row, name, option, need in (
            ("C2", "two-sided", "wgan_gp", 24.0),
            ("C3", "one-sided", "wgan_gp_one_sided", 22.0),
        )
    ),
    Check(
        "C11 grid", "mode_regularised_gan", "25 Gaussians: modes of 25", "without", 0.0, _grid_gain, gain=True, seeds=5
    ),
    # Its paper reports scores of images alone: whether weights find more modes is to be reported. The paired test is
    # needed, because seeds differ by 9 modes: docs/mixtures.json, of another processor, has 20 19 19 and 20 20 21.
    Check(
        "F6 IWGAN",
        "importance_weighted_gan",
        "25 Gaussians: modes of 25",
        "gan",
        0.0,
        _grid_beside,
        gain=True,
        finding=True,
        level=0.05,
    ),
    Check("C2 slopes", "wgan_gp", "ring: 1 less the slope's distance from 1", "no penalty", 0.9, _critic_slopes),
    Check(
        "C2 estimate", "wgan_gp", "ring: fall of the distance estimated", "share of good points", 0.5, _estimate_falls
    ),
    Check("C4 pace", "wgan_difference_quotient", "CPU of GP over its own", "no penalty over its own", 1.0, _pace),
    Check("C2 shapes", "wgan_gp", "of 8 random MLPs, those that find 7 of 8 modes", "under GAN", 7.0, _shapes),
    Check(
        "C4",
        "wgan_difference_quotient",
        "steepest slope without a penalty over with, log10",
        "the same for the gradient penalty",
        math.log10(5),
        _steepness,
    ),
    Check("C9", "localized_gan", "smallest over largest singular value", "without orthonormality", 0.5, _tangents),
)
