"""Checks on images without labels."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.models.checks.check import Check, Figures, digits_held_out, draw, fit
from ganlib.data.spec import Block, DataSpec
from ganlib.metrics.detection import auroc
from ganlib.metrics.two_sample import classifier_two_sample, mmd_test
from ganlib.models.gan.localized import LocalizedGAN, LocalizedGANConfig
from ganlib.models.gan.semi_supervised import SemiSupervisedGAN, SemiSupervisedGANConfig, with_labels
from ganlib.testing.problems import blobs_agree, digits, twin_blobs
from ganlib.training import Batch, Losses, Trainer, TrainerConfig


def _began(seed: int) -> Figures:
    """Fall of the convergence measure M over training; baseline: distance of the energy ratio from gamma (< 0.1)."""
    options = {"latent_dim": 8, "learning_rate": 3e-4, "generator_norm": "none", "width": 16}
    _, history = fit("began", DataSpec.image(1, 8, 8), {"x": digits(seed)[0]}, seed, 2500, 64, 0.0, **options)
    measure, ratio = history.curves["measure"], history.curves["energy_ratio"]
    return 1 - measure[-1] / measure[0], abs(ratio[-1] - 0.5)


def _information(seed: int) -> Figures:
    """Nats of the 10-way code that Q reads back from generated digits; baseline: lambda 0."""
    values = []
    for weight in (1.0, 0.0):
        options = {"latent_dim": 16, "continuous": 0, "width": 16, "critic_learning_rate": 1e-3, "weight": weight}
        _, history = fit("infogan", DataSpec.image(1, 8, 8), {"x": digits(seed)[0]}, seed, 1500, 64, **options)
        values.append(statistics.mean(history.curves["information"][-5:]))
    return values[0], values[1]


def _attention(seed: int) -> Figures:
    """Cohen's kappa of two far-apart blobs' orientations; baseline: the same networks without attention.

    Not the share that agrees: without attention a blob that never changes agrees with another by itself.
    """
    values = []
    for networks in ("attention", "dcgan"):
        options = {
            "latent_dim": 16,
            "width": 8,
            "learning_rate": 1e-3,
            "critic_learning_rate": 1e-3,
            "networks": networks,
        }
        model, _ = fit(
            "sagan", DataSpec.image(1, 16, 16), {"x": twin_blobs(2000, seed)}, seed, 800, 64, 0.99, **options
        )
        values.append(blobs_agree(draw(model, 1000, seed)))
    return values[0], values[1]


def _probe(seed: int) -> Figures:
    """Accuracy of a linear probe on the critic's features with 100 labels; baseline: on raw pixels."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    x, y = digits(seed)
    test, test_y = digits(seed, "test")
    model, _ = fit(
        "dcgan", DataSpec.image(1, 8, 8), {"x": x}, seed, 1500, 64, 0.0, latent_dim=16, width=32, learning_rate=5e-4
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


def _indistinguishable(seed: int) -> Figures:
    """Share of generated and held-out digits that a classifier assigns to the wrong kind; baseline: real ones (0.5).

    Both are rounded to the data's 17 levels of grey, because values near zero would separate them.
    """
    x, test = digits(seed)[0], digits(seed, "test")[0]
    model, _ = fit(
        "dcgan", DataSpec.image(1, 8, 8), {"x": x}, seed, 3000, 64, 0.995, latent_dim=16, width=32, learning_rate=5e-4
    )
    made = ((draw(model, len(test), seed) + 1) * 8).round() / 8 - 1
    return tuple(1 - classifier_two_sample(test, other, seed).accuracy for other in (made, x))  # type: ignore[return-value]


def _odd_digits(name: str, steps: int, **options: Any) -> Callable[[int], Figures]:
    """AUROC of a critic's score, one digit held back as the anomaly, four fifths of the others for training, mean over
    the digits; baseline: an isolation forest."""

    def run(seed: int) -> Figures:
        from sklearn.ensemble import IsolationForest

        found = []
        for normal, test, odd in digits_held_out(seed, range(10)):
            model, _ = fit(name, DataSpec.image(1, 8, 8), {"x": normal}, seed, steps, 64, 0.99, **options)
            with torch.no_grad():
                scores = model.scorer()(test)
            forest = IsolationForest(random_state=seed).fit(normal.flatten(1).numpy())
            found.append((auroc(scores, odd), auroc(-forest.score_samples(test.flatten(1).numpy()), odd)))
        return statistics.mean(f for f, _ in found), statistics.mean(b for _, b in found)

    return run


def _measure_follows(seed: int) -> Figures:
    """Rank correlation over training of -M with how hard generated digits are to separate from real ones; baseline:
    that of the step number."""
    from scipy.stats import spearmanr

    x = digits(seed)[0]
    options = {"latent_dim": 8, "learning_rate": 3e-4, "generator_norm": "none", "width": 16}
    measures, closeness, budgets = [], [], (50, 100, 200, 400, 800, 1600)
    for steps in budgets:
        model, history = fit("began", DataSpec.image(1, 8, 8), {"x": x}, seed, steps, 64, 0.0, **options)
        measures.append(-history.curves["measure"][-1])
        closeness.append(-mmd_test(x[:500].flatten(1), draw(model, 500, seed).flatten(1), 1, seed).statistic)
    return float(spearmanr(measures, closeness).statistic), float(spearmanr(budgets, closeness).statistic)


def _charts(seed: int) -> Figures:
    """Share of neighbours, five times as far as those of training, whose nearest real digit has their example's class;
    baseline: of Gaussian noise of the same length."""
    x, y = digits(seed)
    options = {"latent_dim": 4, "learning_rate": 1e-3, "networks": "mlp"}
    model, _ = fit("localized_gan", DataSpec.image(1, 8, 8), {"x": x}, seed, 600, 64, 0.0, **options)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        near = model.neighbours(x, 5 * model.config.reach * torch.randn(len(x), 4, generator=generator))
    noise = torch.randn(x.shape, generator=generator)
    length = (near - x).flatten(1).norm(dim=1) / noise.flatten(1).norm(dim=1)

    def kept(points: Tensor) -> float:
        distance = torch.cdist(points.flatten(1), x.flatten(1)).fill_diagonal_(torch.inf)
        return float((y[distance.argmin(1)] == y).float().mean())

    return kept(near), kept(x + length.view(-1, 1, 1, 1) * noise)


@dataclass(frozen=True, kw_only=True)
class _AlongChartsConfig(LocalizedGANConfig, SemiSupervisedGANConfig):
    roughness: float = 1.0


class _AlongCharts(LocalizedGAN, SemiSupervisedGAN):
    """The paper's classifier: of k classes and "generated", neighbours for the generated, smooth along their charts.

    Of options that both know the defaults are LocalizedGAN's: the game itself, not feature matching, which neighbours
    of the batch's own examples would meet at once.
    """

    config: _AlongChartsConfig

    def critic_loss(self, batch: Batch) -> Losses:
        losses = super().critic_loss(batch)
        if not self.config.roughness:
            return losses
        rough = self.roughness(lambda v: self.class_logits(v).softmax(1), batch.x)
        return losses | Losses(weights={"roughness": self.config.roughness}, roughness=rough)


# Two attempts with a plain classifier and charts trained before it came to .848, without charts .853. The options of
# this one were chosen on seeds 10 to 12: .883 .904 .905, without the term .835 .868 .843.
def _along_charts(seed: int) -> Figures:
    """Accuracy from 50 labels of a classifier that must not change along the charts; baseline: without that term."""
    x, y = digits(seed)
    test, test_y = digits(seed, "test")
    rows = torch.cat([torch.where(y == c)[0][:5] for c in range(10)])
    data = with_labels(x.flatten(1), x.flatten(1)[rows], y[rows], seed)
    options = {
        "latent_dim": 8, "hidden": (256, 128, 64), "generator_hidden": (128, 128), "generator_norm": "none",
        "learning_rate": 1e-3, "reach": 0.5,
    }  # fmt: skip
    scores = []
    for weight in (1.0, 0.0):
        torch.manual_seed(seed)
        model = _AlongCharts(DataSpec.vector(64, 10), _AlongChartsConfig(**options, roughness=weight))
        Trainer(TrainerConfig(steps=600, batch_size=100, ema=0.99, random_state=seed)).fit(model, data)
        with torch.no_grad():
            scores.append(float((model.eval().classify(test.flatten(1)) == test_y).float().mean()))
    return scores[0], scores[1]


# On seeds 10 to 14, gain in nats, and seeds that gain: all rows, 2,000 steps -.08, 1; a tenth, 500 steps -.04, 2; 1,000
# -.02, 2; 3,000 .67, 4; a hundredth, 100 steps .39, 5 (the VAE at its best); 200 .06, 3; 400 1.34, 4; 1,000 4.81, 5.
def _few_rows(part: int, steps: int) -> Callable[[int], Figures]:
    """Bound on held-out black and white digits from one ``part``-th of the training rows, nats; baseline: the VAE's."""

    def run(seed: int) -> Figures:
        train, test = ((digits(seed, half)[0].flatten(1) > 0).float() for half in ("train", "test"))
        rows = train[: len(train) // part]
        spec = DataSpec.table(tuple(Block(f"x{i}", "binary", i) for i in range(64)))
        bounds = []
        for name in ("aa_vae", "vae"):
            options = {"latent_dim": 8, "hidden": (128, 64), "score_samples": 64}
            model, _ = fit(name, spec, {"x": rows}, seed, steps, min(50, len(rows)), 0.99, **options)
            with torch.no_grad():
                bounds.append(-float(model.scorer()(test).mean()))
        return bounds[0], bounds[1]

    return run


ROWS = (
    *(
        Check(
            name,
            "aa_vae",
            f"digits, {rows} rows: bound on held-out ones, nats",
            "the VAE's",
            0.0,
            run,
            gain=True,
            seeds=5,
        )
        for name, rows, run in (
            ("F7", 10, _few_rows(100, 100)),
            ("F7 tenth", 107, _few_rows(10, 1000)),
        )
    ),
    Check("C8", "began", "8x8 digits: fall of M", "distance of the energy ratio from gamma", 0.5, _began),
    Check("B6 two samples", "dcgan", "8x8 digits: taken for the other kind", "real ones", 0.05, _indistinguishable),
    Check(
        "C8 score",
        "began",
        "8x8 digits, one odd: AUROC of the energy",
        "isolation forest",
        0.743,
        _odd_digits("began", 600, latent_dim=8, width=16, learning_rate=1e-3, generator_norm="none"),
    ),
    Check("C8 tells", "began", "8x8 digits: rank correlation of -M, closeness", "of the step", 0.5, _measure_follows),
    Check("C9 labels", "localized_gan", "8x8 digits, 50 labels: accuracy", "without its term", 0.857, _along_charts),
    Check("C9 charts", "localized_gan", "8x8 digits: neighbours of their class", "noise as long", 0.95, _charts),
    Check("B6", "dcgan", "8x8 digits, 100 labels: probe on D's features", "on pixels", 0.0, _probe, gain=True),
    Check("B7", "infogan", "8x8 digits: information in nats, of 2.303", "lambda 0", 1.5, _information),
    Check(
        "B9", "sagan", "twin blobs agree: Cohen's kappa", "without attention", 0.0, _attention, gain=True, worst=True
    ),
)
