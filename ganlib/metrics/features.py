"""Distances and scores on features, and the small classifier that supplies them.

The classifier is a measuring instrument, not a model of the library: it is trained by a short loop, not registered and
never sealed. Figures computed with it are comparable within this project, but not with papers that use another network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganlib.errors import ConfigError, DataError
from ganlib.metrics.two_sample import as_array, as_count, as_images, as_labels, as_pair

BATCH = 64
LEAST_STEPS = 200


class SmallClassifier(nn.Module):
    """A classifier of images ``(n, c, h, w)`` in [-1, 1] (three convolutions) or of vectors ``(n, d)`` (an MLP).

    Vectors are standardised inside. Rows are scored independently of the rest of the batch.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, shape: tuple[int, ...], classes: np.ndarray, width: int = 64) -> None:
        super().__init__()
        self.shape, self.classes = shape, classes
        trunk = _convolutions(shape[0], width) if len(shape) == 3 else _dense(shape[0], width)
        self.trunk = nn.Sequential(*trunk)
        self.head = nn.Linear(width, len(classes))
        self.register_buffer("shift", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(n, classes)``."""
        return self.head(self._embed(x))

    def _embed(self, x: Tensor) -> Tensor:
        return self.trunk((x - self.shift) / self.scale)

    def _read(self, x: np.ndarray | Tensor) -> list[Tensor]:
        data = as_array("x", x)
        if data.shape[1:] != self.shape:
            raise DataError(f"x has samples of shape {data.shape[1:]}: the classifier was trained on {self.shape}")
        if data.ndim == 4:
            as_images("x", data, signed=True)
        return list(torch.as_tensor(data, dtype=torch.float32).split(512))

    @torch.no_grad()
    def probabilities(self, x: np.ndarray | Tensor) -> np.ndarray:
        """Class probabilities ``(n, classes)``, columns in the order of ``classes``.

        Raises DataError for samples of another shape and for images beyond [-1, 1].
        """
        return torch.cat([self(part).softmax(1) for part in self._read(x)]).numpy()

    @torch.no_grad()
    def features(self, x: np.ndarray | Tensor) -> np.ndarray:
        """Activations before the last layer ``(n, width)``; DataError as ``probabilities``."""
        return torch.cat([self._embed(part) for part in self._read(x)]).numpy()

    def predict(self, x: np.ndarray | Tensor) -> np.ndarray:
        """The number of the most probable class, ``(n,)``."""
        return self.classes[self.probabilities(x).argmax(1)]

    def accuracy(self, x: np.ndarray | Tensor, y: np.ndarray | Tensor) -> float:
        """Share of rows given their class ``y``, in [0, 1]."""
        return float((self.predict(x) == as_labels("y", y, len(x))).mean())


def _convolutions(channels: int, width: int) -> list[nn.Module]:
    """Images of any size of at least one pixel to ``width`` features."""
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((channels, 32, 2), (32, 64, 2), (64, 64, 1)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.ReLU()]
    return [*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(1024, width), nn.ReLU()]


def _dense(columns: int, width: int) -> list[nn.Module]:
    """Vectors to ``width`` features."""
    return [nn.Linear(columns, 2 * width), nn.ReLU(), nn.Linear(2 * width, width), nn.ReLU()]


def train_classifier(
    x: np.ndarray | Tensor, y: np.ndarray | Tensor, random_state: int = 0, epochs: int = 20
) -> SmallClassifier:
    """Train a ``SmallClassifier`` on vectors ``(n, d)`` or images ``(n, c, h, w)`` in [-1, 1], classes ``y`` ``(n,)``.

    Adam at 2e-3, batches of 64, cross-entropy; few rows get more passes than ``epochs``, at least 200 steps. The global
    random state is unchanged. Raises DataError for other shapes or ranges, non-finite values or one class.
    """
    data = as_array("x", x, 2)
    classes, target = np.unique(as_labels("y", y, len(data)), return_inverse=True)
    if data.ndim not in (2, 4):
        raise DataError(f"x has {data.ndim} axes: give vectors (n, d) or images (n, c, h, w)")
    if data.ndim == 4:
        as_images("x", data, signed=True)
    if len(classes) < 2:
        raise DataError("y holds one class: a classifier needs at least 2")
    rows, truths = torch.as_tensor(data, dtype=torch.float32), torch.as_tensor(target)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(random_state)
        model = SmallClassifier(tuple(data.shape[1:]), classes)
        if data.ndim == 2:
            spread = rows.std(0)
            model.shift.copy_(rows.mean(0))
            model.scale.copy_(torch.where(spread > 0, spread, torch.ones_like(spread)))
        _descend(model, rows, truths, max(epochs, math.ceil(LEAST_STEPS / math.ceil(len(rows) / BATCH))))
    return model.eval()


def _descend(model: SmallClassifier, rows: Tensor, truths: Tensor, epochs: int) -> None:
    optimiser = torch.optim.Adam(model.parameters(), 2e-3, weight_decay=1e-4)
    for _ in range(epochs):
        for part in torch.randperm(len(rows)).split(BATCH):
            optimiser.zero_grad()
            F.cross_entropy(model(rows[part]), truths[part]).backward()
            optimiser.step()


def frechet_distance(a: np.ndarray | Tensor, b: np.ndarray | Tensor) -> float:
    """Squared Fréchet distance between Gaussians fitted to features ``a`` ``(m, f)`` and ``b`` ``(n, f)``; 0 is best.

    |mean_a - mean_b|² + tr(A + B - 2 (A B)^½) with covariances A, B, in float64. The trace of the root is the sum of
    the roots of the eigenvalues of A^½ B A^½, which are real. With fewer samples than a few times f, the distance is
    biased upwards; compare only figures of equal sample sizes.

    Source: Heusel et al., 1706.08500, equation 6. Raises DataError for fewer than 2 samples a side, mismatched or
    non-finite values.
    """
    first, second = as_pair(("a", "b"), a, b, least=2)
    gap = first.mean(0) - second.mean(0)
    cov_a, cov_b = _covariance(first), _covariance(second)
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(0)).sum()
    return max(0.0, float(gap @ gap + np.trace(cov_a) + np.trace(cov_b) - 2 * cross))


def _covariance(rows: np.ndarray) -> np.ndarray:
    centred = rows - rows.mean(0)
    return centred.T @ centred / (len(rows) - 1)


def pca_frechet(real: np.ndarray | Tensor, fake: np.ndarray | Tensor, components: int = 32) -> float:
    """``frechet_distance`` on the real sample's leading principal components; needs no classifier; 0 is best.

    ``real`` ``(m, ...)`` and ``fake`` ``(n, ...)`` are flattened and projected, not whitened; directions in which
    only the fakes vary are ignored. Raises DataError as ``frechet_distance``, ConfigError on more components than
    the real sample has.

    Source: Heusel et al., 1706.08500, equation 6, with principal components instead of the network.
    """
    first, second = as_pair(("real", "fake"), real, fake, least=2)
    most = min(len(first) - 1, first.shape[1])
    if as_count("components", components) > most:
        raise ConfigError(f"components is {components}: the real sample allows 1 to {most}")
    mean = first.mean(0)
    basis = np.linalg.svd(first - mean, full_matrices=False)[2][:components].T
    return frechet_distance((first - mean) @ basis, (second - mean) @ basis)


@dataclass(frozen=True)
class ManifoldReport:
    """``precision``, ``recall`` and ``coverage`` in [0, 1]; ``density`` in [0, ∞), 1 for equal distributions."""

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall_density_coverage(
    real: np.ndarray | Tensor, fake: np.ndarray | Tensor, neighbours: int = 5
) -> ManifoldReport:
    """Precision, recall, density and coverage, by balls around each sample that reach its k-th neighbour.

    ``real`` ``(m, ...)`` and ``fake`` ``(n, ...)``: features, or raw rows, flattened. Precision: share of fakes in
    some real ball. Recall: share of reals in some fake ball. Density: real balls around a fake, over k, on average.
    Coverage: share of real balls that hold a fake; for equal distributions its expectation is not 1 but
    1 - Π_{i=1..k} (m - i) / (m + n - i), .97 for k = 5 and m = n. Memory is quadratic in the samples.

    Source: Kynkäänniemi et al., 1904.06991, equations 1 and 2 (precision, recall); Naeem et al., 2002.09797,
    section 3 (density, coverage and its expectation). Raises DataError for no more than k samples a side, mismatched
    or non-finite values; ConfigError unless ``neighbours`` is a whole number above 0.
    """
    from scipy.spatial.distance import cdist

    neighbours = as_count("neighbours", neighbours)
    a, b = as_pair(("real", "fake"), real, fake, least=neighbours + 1)
    # A sample is its nearest neighbour itself, so the k-th other is at index k.
    radius_a = np.partition(cdist(a, a), neighbours, axis=1)[:, neighbours]
    radius_b = np.partition(cdist(b, b), neighbours, axis=1)[:, neighbours]
    gaps = cdist(a, b)
    in_real = gaps <= radius_a[:, None]
    return ManifoldReport(
        precision=float(in_real.any(0).mean()),
        recall=float((gaps <= radius_b).any(1).mean()),
        density=float(in_real.sum(0).mean() / neighbours),
        coverage=float(in_real.any(1).mean()),
    )


def classifier_score(probabilities: np.ndarray | Tensor) -> float:
    """exp of the mean KL(p(y|x) || p(y)) over rows of class probabilities ``(n, k)``, in [1, k]; higher is better.

    High if each row has one certain class and the classes are balanced; collapse within a class has no effect. This is
    the inception score with ``SmallClassifier`` instead of the Inception network, on one split.

    Source: Salimans et al., 1606.03498, section 4. Raises DataError for fewer than 2 rows or rows that are
    not probabilities.
    """
    p = as_array("probabilities", probabilities, 2)
    if p.ndim != 2 or (p < 0).any() or (np.abs(p.sum(1) - 1) > 1e-3).any():
        raise DataError("probabilities must be (n, k), not negative, each row summing to 1: apply a softmax first")
    logs = np.log(np.where(p > 0, p, 1.0)) - np.log(np.where(p.mean(0) > 0, p.mean(0), 1.0))
    return float(np.exp((p * logs).sum(1).mean()))
