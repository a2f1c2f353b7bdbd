"""The catalogue's checks: each model's or objective's own test, over seeds, with its baseline beside it.

    python -m benchmarks.models.checks [NAME ...] [--seeds 0 1 2] [--write]

Needs no data but what scikit-learn ships. ``--write`` stores the figures in docs/checks.json, from which
``ganlib models --markdown`` makes the table in docs/models.md. A check passes when the mean over seeds reaches its
bound (the worst seed where it says so); bounds are the catalogue's, and a figure that falls short is stored as it is.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ganlib.data.spec import DataSpec
from ganlib.data.toy import blobs_agree, digits, ring, twin_blobs
from ganlib.losses.adversarial import divergence_bound
from ganlib.metrics.classes import class_consistency, class_diversity, train_on_synthetic
from ganlib.metrics.mixtures import mode_report, ring_centres
from ganlib.registry import create
from ganlib.training import Trainer, TrainerConfig

FILE = Path(__file__).resolve().parents[2] / "docs" / "checks.json"
Figures = tuple[float, float]


@dataclass(frozen=True)
class Check:
    """``run(seed)`` gives the figure and its baseline; ``need`` is a lower bound on the figure, or on the figure less
    its baseline where ``gain``; ``worst`` judges the worst seed instead of the mean."""

    name: str
    model: str
    measure: str
    baseline: str
    need: float
    run: Callable[[int], Figures]
    gain: bool = False
    worst: bool = False

    def value(self, figures: list[Figures]) -> float:
        """What is held against ``need``."""
        values = [f - b if self.gain else f for f, b in figures]
        # Rounded, so that a tie is a tie.
        return round(min(values) if self.worst else statistics.mean(values), 6)


def fit(
    name: str,
    spec: DataSpec,
    data: dict[str, Tensor],
    seed: int,
    steps: int,
    batch: int = 128,
    ema: float = 0.995,
    **options: Any,
) -> Any:
    """A trained model, and its history."""
    torch.manual_seed(seed)
    model = create(name, spec, **options)
    config = TrainerConfig(steps=steps, batch_size=batch, random_state=seed, ema=ema)
    return model, Trainer(config).fit(model, data)


@torch.no_grad()
def draw(model: Any, n: int, seed: int) -> Tensor:
    """Generated examples."""
    sampler = model.sampler()
    return sampler(torch.randn(n, sampler.latent_dim, generator=torch.Generator().manual_seed(seed + 1)))


# ---------------------------------------------------------------- mixtures
def _modes(name: str, seed: int, **options: Any) -> int:
    options = {"latent_dim": 2, "hidden": (128, 128, 128), "learning_rate": 1e-3, **options}
    data = {"x": ring(20_000, seed, deviation=0.04)[0]}
    model, _ = fit(name, DataSpec.vector(2), data, seed, 3000, 256, **options)
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
        model, _ = fit("gan", DataSpec.vector(2), {"x": ring(8000, seed)[0]}, seed, 600, **options)
        side = torch.linspace(-3, 3, 60)
        grid = torch.cartesian_prod(side, side).requires_grad_(True)
        (slope,) = torch.autograd.grad(model.critic(grid, None).sum(), grid)
        return float(slope.norm(dim=1).max())

    free, quotient, gradient = (steepest(name) for name in ("none", "difference_quotient", "two_sided"))
    return free / quotient, free / gradient


# ---------------------------------------------------------------- estimates
def _critic(
    loss: Callable[[Tensor, Tensor], Tensor], p: Tensor, q: Tensor, seed: int, steps: int, clip: float = 0.0
) -> nn.Module:
    """A small critic trained to optimality between two samples."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(1, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimiser = torch.optim.RMSprop(net.parameters(), 1e-3) if clip else torch.optim.Adam(net.parameters(), 1e-3)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(p), (512,), generator=generator)
        value = loss(net(p[rows]), net(q[rows]))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        if clip:
            with torch.no_grad():
                for parameter in net.parameters():
                    parameter.clamp_(-clip, clip)
    return net


def _point_masses(seed: int) -> Figures:
    """Rank correlation of an estimate with the distance of two point masses: Wasserstein's, beside Jensen-Shannon's.

    JS estimates that differ by less than 1 % are ties.
    """
    wasserstein, shannon = [], []
    for distance in (0.1, 1.0, 5.0):
        p, q = torch.zeros(512, 1), torch.full((512, 1), distance)
        net = _critic(lambda real, fake: fake.mean() - real.mean(), p, q, seed, 300, clip=0.1)
        wasserstein.append(float((net(p) - net(q)).mean().detach()))
        net = _critic(lambda real, fake: -divergence_bound("jensen_shannon", real, fake), p, q, seed, 1500)
        shannon.append(round(float(divergence_bound("jensen_shannon", net(p), net(q)).detach()), 2))
    return float(wasserstein == sorted(wasserstein) and len(set(wasserstein)) == 3), float(len(set(shannon)) > 1)


CLOSED = {
    "kl": lambda m, s: math.log(s) + (1 + m * m) / (2 * s * s) - 0.5,
    "reverse_kl": lambda m, s: -math.log(s) + (s * s + m * m) / 2 - 0.5,
    "squared_hellinger": lambda m, s: 2 - 2 * math.sqrt(2 * s / (1 + s * s)) * math.exp(-m * m / (4 * (1 + s * s))),
    "pearson": lambda m, s: s * s / math.sqrt(2 * s * s - 1) * math.exp(m * m / (2 * s * s - 1)) - 1,
    "jensen_shannon": lambda m, s: _shannon(m, s),
}


def _shannon(m: float, s: float) -> float:
    x = torch.linspace(-12, 14, 200_001, dtype=torch.float64)
    p = torch.exp(-0.5 * x.square()) / math.sqrt(2 * math.pi)
    q = torch.exp(-0.5 * ((x - m) / s).square()) / (s * math.sqrt(2 * math.pi))
    mean = (p + q) / 2
    part = 0.5 * (p * (p / mean).clamp(min=1e-300).log() + q * (q / mean).clamp(min=1e-300).log())
    return float(part.sum() * (x[1] - x[0]))


def _bounds(seed: int) -> Figures:
    """The smallest share of a closed form that a trained bound reaches, of five; baseline: the largest share."""
    m, s = 1.0, 1.3
    generator = torch.Generator().manual_seed(seed)
    p, q = torch.randn(40_000, 1, generator=generator), m + s * torch.randn(40_000, 1, generator=generator)
    fresh = torch.randn(400_000, 1, generator=generator), m + s * torch.randn(400_000, 1, generator=generator)
    shares = []
    for name, closed in CLOSED.items():
        net = _critic(lambda real, fake, name=name: -divergence_bound(name, real, fake), p, q, seed, 3000)
        with torch.no_grad():
            shares.append(float(divergence_bound(name, net(fresh[0]), net(fresh[1]))) / closed(m, s))
    return min(shares), max(shares)


# ---------------------------------------------------------------- images of digits
def _began(seed: int) -> Figures:
    """Fall of the convergence measure M over training; baseline: distance of the energy ratio from gamma (< 0.1)."""
    options = {"latent_dim": 8, "learning_rate": 3e-4, "generator_norm": "none", "width": 16}
    _, history = fit("began", DataSpec((1, 8, 8)), {"x": digits(seed)[0]}, seed, 2500, 64, 0.0, **options)
    measure, ratio = history.curves["measure"], history.curves["energy_ratio"]
    return 1 - measure[-1] / measure[0], abs(ratio[-1] - 0.5)


def _information(seed: int) -> Figures:
    """Nats of the 10-way code that Q reads back from generated digits; baseline: lambda 0."""
    values = []
    for weight in (1.0, 0.0):
        options = {"latent_dim": 16, "continuous": 0, "width": 16, "critic_learning_rate": 1e-3, "weight": weight}
        _, history = fit("infogan", DataSpec((1, 8, 8)), {"x": digits(seed)[0]}, seed, 1500, 64, **options)
        values.append(statistics.mean(history.curves["information"][-5:]))
    return values[0], values[1]


def _few_labels(seed: int) -> Figures:
    """Accuracy from 50 labels; baseline: logistic regression on them alone."""
    from sklearn.linear_model import LogisticRegression

    from ganlib.models.gan.semi_supervised import with_labels

    x, y = (v.flatten(1) if v.ndim > 1 else v for v in digits(seed))
    test, test_y = digits(seed, "test")
    rows = torch.cat([torch.where(y == c)[0][:5] for c in range(10)])
    options = {"latent_dim": 32, "hidden": (256, 128, 64), "generator_hidden": (128, 128), "learning_rate": 1e-3}
    data = with_labels(x, x[rows], y[rows], seed)
    model, _ = fit("semi_supervised_gan", DataSpec.vector(64, 10), data, seed, 2000, 100, 0.99, **options)
    with torch.no_grad():
        figure = float((model.classify(test.flatten(1)) == test_y).float().mean())
    plain = LogisticRegression(max_iter=500).fit(x[rows].numpy(), y[rows].numpy())
    return figure, float(plain.score(test.flatten(1).numpy(), test_y.numpy()))


def _attention(seed: int) -> Figures:
    """Share of images whose far-apart blobs agree; baseline: the same networks without attention (chance 0.5)."""
    values = []
    for networks in ("attention", "dcgan"):
        options = {
            "latent_dim": 16,
            "width": 8,
            "learning_rate": 1e-3,
            "critic_learning_rate": 1e-3,
            "networks": networks,
        }
        model, _ = fit("sagan", DataSpec((1, 16, 16)), {"x": twin_blobs(2000, seed)}, seed, 800, 64, 0.99, **options)
        values.append(blobs_agree(draw(model, 1000, seed)))
    return values[0], values[1]


def _probe(seed: int) -> Figures:
    """Accuracy of a linear probe on the critic's features with 100 labels; baseline: on raw pixels."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    x, y = digits(seed)
    test, test_y = digits(seed, "test")
    model, _ = fit(
        "dcgan", DataSpec((1, 8, 8)), {"x": x}, seed, 1500, 64, 0.0, latent_dim=16, width=32, learning_rate=5e-4
    )
    rows = torch.cat([torch.where(y == c)[0][:10] for c in range(10)])
    scores = []
    with torch.no_grad():
        for see in (lambda v: model.critic.features(v, None), lambda v: v.flatten(1)):
            train, held = see(x[rows]).numpy(), see(test).numpy()
            scaler = StandardScaler().fit(train)
            probe = LogisticRegression(max_iter=2000).fit(scaler.transform(train), y[rows].numpy())
            scores.append(float(probe.score(scaler.transform(held), test_y.numpy())))
    return scores[0], scores[1]


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


# ---------------------------------------------------------------- classes of digits
_FAMILY: dict[str, dict[str, Any]] = {
    "cvae": {"latent_dim": 8, "hidden": (256, 128)},
    "cvae_gan": {"latent_dim": 8, "hidden": (256, 128), "kl": 1.0, "reconstruction": "likelihood", "features": "mean"},
    "cgan": {"latent_dim": 16, "hidden": (256, 128), "instance_noise": 0.1},
    "acgan": {"latent_dim": 16, "hidden": (256, 128), "learning_rate": 5e-4, "betas": (0.0, 0.99)},
}


def _by_class(name: str, seed: int) -> tuple[Any, Tensor, Tensor]:
    """A model of 8x8 digits as vectors, 150 generated a class, and their classes."""
    x, y = digits(seed)
    data = {"x": x.flatten(1), "y": y}
    model, _ = fit(name, DataSpec.vector(64, 10), data, seed, 4000, 64, **_FAMILY[name])
    if hasattr(model, "fit_prior"):
        model.fit_prior(data["x"], y)
    sampler, labels = model.sampler(), torch.arange(10).repeat(150)
    z = torch.randn(len(labels), sampler.latent_dim, generator=torch.Generator().manual_seed(seed + 1))
    with torch.no_grad():
        return model, sampler(z, labels), labels


def _judge(seed: int) -> Any:
    """A classifier of real digits, the outside judge of classes."""
    from sklearn.linear_model import LogisticRegression

    x, y = digits(seed)
    return LogisticRegression(max_iter=2000).fit(x.flatten(1).numpy(), y.numpy())


def _transfer(name: str, seed: int) -> Any:
    x, y = digits(seed)
    test, test_y = digits(seed, "test")
    _, made, labels = _by_class(name, seed)
    return train_on_synthetic(made, labels, x.flatten(1), y, test.flatten(1), test_y, random_state=seed)


def _teaches(seed: int) -> Figures:
    report = _transfer("cvae", seed)
    return report.tstr, report.gaussians


def _teaches_best(seed: int) -> Figures:
    tstr = {name: _transfer(name, seed).tstr for name in ("cvae_gan", "cvae", "cgan")}
    return tstr.pop("cvae_gan"), max(tstr.values())


def _consistent(name: str) -> Callable[[int], Figures]:
    def run(seed: int) -> Figures:
        _, made, labels = _by_class(name, seed)
        x, y = digits(seed)
        spread = class_diversity(x.flatten(1), y, made, labels)
        return class_consistency(_judge(seed), made, labels), statistics.mean(spread.values())

    return run


def _swaps(seed: int) -> Figures:
    """Real digits decoded under another class with their own latents: share that the judge puts in that class."""
    model, _, _ = _by_class("cvae_gan", seed)
    test, test_y = digits(seed, "test")
    other = (test_y + 1 + torch.arange(len(test_y)) % 9) % 10
    with torch.no_grad():
        mean, _ = model.posterior(test.flatten(1), test_y)
        swapped = model.generator(mean, other)
        kept = model.generator(mean, test_y)
    judge = _judge(seed)
    return class_consistency(judge, swapped, other), class_consistency(judge, kept, other)


CHECKS: dict[str, Check] = {
    check.name: check
    for check in (
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
        Check(
            "C1",
            "wgan",
            "point masses at .1, 1, 5: the estimate grows with distance (1 yes)",
            "Jensen-Shannon's does (0: flat)",
            1.0,
            _point_masses,
            worst=True,
        ),
        Check(
            "C4",
            "wgan_difference_quotient",
            "steepest slope without a penalty over with",
            "the same for the gradient penalty",
            5.0,
            _steepness,
        ),
        Check(
            "C7",
            "f_gan_kl",
            "smallest share reached of five closed divergences",
            "largest share (1 but for noise at most)",
            0.9,
            _bounds,
            worst=True,
        ),
        Check("B2", "cgan", "8x8 digits: class consistency", "diversity within classes", 0.9, _consistent("cgan")),
        Check("B4", "cvae", "8x8 digits: train synthetic, test real", "class Gaussians", 0.94, _teaches),
        Check(
            "B5",
            "cvae_gan",
            "8x8 digits: train synthetic, test real",
            "better of CVAE and CGAN",
            0.0,
            _teaches_best,
            gain=True,
        ),
        Check("B5 swap", "cvae_gan", "8x8 digits: class swapped, latent kept", "not swapped", 0.9, _swaps),
        Check("B8", "acgan", "8x8 digits: class consistency", "diversity within classes", 0.9, _consistent("acgan")),
        Check("C8", "began", "8x8 digits: fall of M", "distance of the energy ratio from gamma", 0.5, _began),
        Check("C9", "localized_gan", "smallest over largest singular value", "without orthonormality", 0.5, _tangents),
        Check("B6", "dcgan", "8x8 digits, 100 labels: probe on D's features", "on pixels", 0.0, _probe, gain=True),
        Check("B7", "infogan", "8x8 digits: information in nats, of 2.303", "lambda 0", 1.5, _information),
        Check("B9", "sagan", "twin blobs that agree", "without attention", 0.0, _attention, gain=True, worst=True),
        Check("B12", "semi_supervised_gan", "8x8 digits, 50 labels", "supervised only", 0.02, _few_labels, gain=True),
    )
}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="checks, all where none is named")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.names or CHECKS:
        check, began = CHECKS[name], time.process_time()
        figures = [check.run(seed) for seed in given.seeds]
        value = check.value(figures)
        passed = value >= check.need
        row = {
            "model": check.model, "measure": check.measure, "baseline": check.baseline, "need": check.need,
            "gain": check.gain, "worst": check.worst, "seeds": given.seeds,
            "figures": [round(f, 4) for f, _ in figures], "baselines": [round(b, 4) for _, b in figures],
            "passed": passed,
        }  # fmt: skip
        print(f"{name:12s}{check.model:28s}{'pass' if passed else 'MISS':6s}{value:8.3f} (needs {check.need})  "
              f"figures {row['figures']} baseline {row['baselines']}  {check.measure}; "
              f"{time.process_time() - began:.0f} s", flush=True)  # fmt: skip
        if given.write:
            stored = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
            FILE.write_text(json.dumps({**stored, name: row}, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
