"""Tables: rows near a surface of few factors, for detectors, and rows of three classes, for generators."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ganlib.data.spec import DataSpec
from ganlib.metrics.detection import auroc, pca_scores
from ganlib.testing.problems import factor_table, labelled_table
from ganlib.testing.toy import Toy


def factor_test(seed: int) -> tuple[Tensor, Tensor]:
    """Held-out rows and rows with broken dependence, and a label for each."""
    x = torch.cat([factor_table(500, seed + 1000), factor_table(500, seed + 2000, shift=0.5)])
    return x, torch.cat([torch.zeros(500), torch.ones(500)])


@torch.no_grad()
def factor_auroc(algorithm: Any, seed: int) -> float:
    """AUROC of the scorer on ``factor_test``."""
    x, anomalous = factor_test(seed)
    return auroc(algorithm.scorer()(x), anomalous)


def pca_auroc(seed: int) -> float:
    """The same of PCA reconstruction."""
    x, anomalous = factor_test(seed)
    return auroc(pca_scores(factor_table(2000, seed), x), anomalous)


FACTOR = Toy(
    data=lambda seed: {"x": factor_table(2000, seed)},
    spec=DataSpec.vector(8),
    level=factor_auroc,
    at_least=0.93,
    measure="AUROC, rows with broken dependence",
    baseline=pca_auroc,
)


def class_generation_level(algorithm: Any, seed: int) -> float:
    """Train on generated rows, test on real ones (0 to 1): class accuracy × share of the dependence within classes.

    Accuracy is that of a logistic regression on 1,000 real rows, trained on 300 generated rows per class. Dependence is
    the R² within classes of predicting the fourth number of real rows from the other three by least squares on the
    generated rows, divided by that of a fit on real rows (clipped to [0, 1]).
    """
    sampler = algorithm.sampler()
    y = torch.arange(3).repeat_interleave(300)
    with torch.no_grad():
        x = sampler(torch.randn(900, sampler.latent_dim, generator=torch.Generator().manual_seed(seed)), y)
    return transfer_level(x, y, seed)


def transfer_level(x: Tensor, y: Tensor, seed: int) -> float:
    """The measure of ``class_generation_level`` for generated rows ``x`` of classes ``y`` of ``labelled_table``."""
    from sklearn.linear_model import LogisticRegression

    category = F.one_hot(x[:, 4:].argmax(1), 3).to(x.dtype)
    generated = torch.cat([x[:, :4], category], 1)
    real, real_y, _ = labelled_table(1000, seed + 1000)
    accuracy = LogisticRegression(max_iter=500).fit(generated.numpy(), y.numpy()).score(real.numpy(), real_y.numpy())
    reference, reference_y, _ = labelled_table(1000, seed + 2000)
    best = _within_r2(reference, reference_y, real, real_y)
    share = max(0.0, min(1.0, _within_r2(generated, y, real, real_y) / best))
    return float(accuracy) * share


def class_means_level(seed: int) -> float:
    """The same for rows sampled column by column from each class's marginal Gaussians and frequencies."""
    x, y, _ = labelled_table(2000, seed)
    generator = torch.Generator().manual_seed(seed)
    parts, labels = [], []
    for c in range(3):
        rows = x[y == c]
        numbers = rows[:, :4].mean(0) + rows[:, :4].std(0) * torch.randn(300, 4, generator=generator)
        sampled = torch.multinomial(rows[:, 4:].mean(0), 300, replacement=True, generator=generator)
        parts.append(torch.cat([numbers, F.one_hot(sampled, 3).float()], 1))
        labels.append(torch.full((300,), c))
    return transfer_level(torch.cat(parts), torch.cat(labels), seed)


def _within_r2(x: Tensor, y: Tensor, test: Tensor, test_y: Tensor) -> float:
    """R² within classes, on test rows, of the fourth number from the first three by least squares on ``x``."""

    def design(rows: Tensor, labels: Tensor) -> Tensor:
        return torch.cat([rows[:, :3], F.one_hot(labels, 3).to(rows.dtype)], 1)

    fit = torch.linalg.lstsq(design(x, y), x[:, 3:4]).solution
    residual = test[:, 3:4] - design(test, test_y) @ fit
    centred = torch.cat([test[test_y == c, 3] - test[test_y == c, 3].mean() for c in range(3)])
    return float(1 - residual.square().sum() / centred.square().sum())


LABELLED = Toy(
    data=lambda seed: dict(zip(("x", "y"), labelled_table(2000, seed)[:2], strict=True)),
    spec=labelled_table(3, 0)[2],
    level=class_generation_level,
    at_least=0.6,
    measure="train on generated, test on real: class accuracy × dependence kept within classes",
    baseline=class_means_level,
)
