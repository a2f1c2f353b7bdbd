"""Metrics of conditional generation: class consistency, diversity within classes, and use as training data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from ganlib.errors import ConfigError, DataError
from ganlib.metrics.features import train_classifier
from ganlib.metrics.two_sample import as_array, as_count, as_images, as_labels

LEARNERS = ("logistic", "cnn")
TREATMENTS = ("none", "copies", "interpolation", "synthetic")


class Predictor(Protocol):
    """A classifier with ``predict``."""

    def predict(self, x: Any) -> np.ndarray:
        """Class numbers ``(n,)`` for ``x`` ``(n, ...)``."""
        ...


@dataclass(frozen=True)
class _Labelled:
    """Samples ``(n, ...)`` in float64 with their class numbers."""

    x: np.ndarray
    y: np.ndarray

    def fit(self, learner: str, random_state: int) -> _Judge:
        return _Judge(learner, self, random_state)


class _Judge:
    """A learner fitted to labelled samples."""

    def __init__(self, learner: str, data: _Labelled, random_state: int) -> None:
        if learner not in LEARNERS:
            raise ConfigError(f"unknown learner {learner!r}: one of {', '.join(LEARNERS)}")
        if learner == "cnn" and data.x.ndim != 4:
            raise ConfigError("the learner cnn needs images (n, c, h, w): use logistic for tables")
        if len(np.unique(data.y)) < 2:
            raise DataError("the training labels hold one class: a learner needs at least 2")
        self.flat = learner == "logistic"
        self.model = self._logistic(data) if self.flat else train_classifier(data.x, data.y, random_state)

    @staticmethod
    def _logistic(data: _Labelled) -> Predictor:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(max_iter=1000).fit(data.x.reshape(len(data.x), -1), data.y)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.model.predict(x.reshape(len(x), -1) if self.flat else x)

    def accuracy(self, data: _Labelled) -> float:
        return float((self.predict(data.x) == data.y).mean())


def _samples(name: str, x: np.ndarray | Tensor, learner: str) -> np.ndarray:
    """Read ``x`` with ``as_array``, or as images in [-1, 1] if the learner needs them."""
    rows = as_array(name, x)
    return as_images(name, rows, signed=True) if learner == "cnn" and rows.ndim == 4 else rows


def _labelled(
    name: str, x: np.ndarray | Tensor, y: np.ndarray | Tensor, like: _Labelled | None = None, learner: str = ""
) -> _Labelled:
    rows = _samples(name, x, learner)
    if like is not None and rows.shape[1:] != like.x.shape[1:]:
        raise DataError(f"{name} has samples of shape {rows.shape[1:]}, {like.x.shape[1:]} expected: use one layout")
    return _Labelled(rows, as_labels(f"{name}_y", y, len(rows)))


def class_consistency(classifier: Predictor, x: np.ndarray | Tensor, y: np.ndarray | Tensor) -> float:
    """Share of generated ``x`` ``(n, ...)`` that an independent classifier puts in the requested class ``y`` ``(n,)``.

    In [0, 1]; 1 / classes is chance. The classifier must be trained on real rows and not be part of the generator.

    Source: the accuracy of AC-GAN samples, Odena et al., 1610.09585. Raises DataError for no samples,
    mismatched labels or non-finite values; ConfigError for a classifier that does not ``predict`` class numbers.
    """
    labels = as_labels("y", y, len(as_array("x", x)))
    if not callable(getattr(classifier, "predict", None)):
        raise ConfigError(f"{classifier!r} has no predict: give an object whose predict(x) returns class numbers")
    try:
        predicted = as_labels("the classifier's prediction", classifier.predict(x), len(labels))
    except DataError as error:
        raise ConfigError(f"{error}; predict(x) must return class numbers (n,)") from error
    return float((predicted == labels).mean())


def class_diversity(
    real: np.ndarray | Tensor, real_y: np.ndarray | Tensor, fake: np.ndarray | Tensor, fake_y: np.ndarray | Tensor
) -> dict[int, float]:
    """Per class of the reals: mean pairwise distance of its fakes over that of its reals, in [0, ∞).

    1 is the same spread, 0 a class collapsed to one sample. ``real`` ``(m, ...)`` and ``fake`` ``(n, ...)`` are
    flattened; the distance is Euclidean, on raw values or on features.

    Source: within-class diversity as in Odena et al., 1610.09585, with this distance instead of
    MS-SSIM. Raises DataError for a class with fewer than 2 samples or with no spread among its reals, mismatched or
    non-finite values.
    """
    reals = _labelled("real", real, real_y)
    fakes = _labelled("fake", fake, fake_y, reals)
    ratios = {}
    for c in (int(c) for c in np.unique(reals.y)):
        reference = _spread("real", reals, c)
        if not reference > 0:
            raise DataError(f"class {c} of real has no spread: leave the class out")
        ratios[c] = _spread("fake", fakes, c) / reference
    return ratios


def _spread(name: str, data: _Labelled, c: int) -> float:
    """Mean Euclidean distance over the pairs of one class."""
    from scipy.spatial.distance import pdist

    rows = data.x[data.y == c]
    if len(rows) < 2:
        raise DataError(f"class {c} of {name} has {len(rows)} samples, 2 are needed: give more or leave the class out")
    return float(pdist(rows.reshape(len(rows), -1)).mean())


@dataclass(frozen=True)
class SyntheticReport:
    """Accuracies on real test rows after training on: synthetic rows (``tstr``), real rows (``trtr``) and baselines.

    The baselines: samples of one Gaussian per class, and only the class means. A generator with ``tstr`` below
    ``gaussians`` is no better than a covariance matrix.
    """

    tstr: float
    trtr: float
    gaussians: float
    means: float


def train_on_synthetic(
    fake: np.ndarray | Tensor,
    fake_y: np.ndarray | Tensor,
    real_train: np.ndarray | Tensor,
    real_train_y: np.ndarray | Tensor,
    real_test: np.ndarray | Tensor,
    real_test_y: np.ndarray | Tensor,
    random_state: int = 0,
    learner: str = "logistic",
) -> SyntheticReport:
    """Train on synthetic, test on real, beside real training rows and two baselines; all accuracies in [0, 1].

    Samples are ``(n, d)`` or ``(n, c, h, w)`` of one layout. ``learner`` is "logistic" (flattened values; scale the
    columns of a table first) or "cnn" (images in [-1, 1]). The Gaussian baseline samples as many rows per class as the
    fakes have, clipped to [-1, 1] for "cnn"; for a class without fakes, as many as the training rows have.

    Source: Esteban et al., 1706.02633 (TSTR). Raises DataError for a training set of one class, test rows of a class
    without training rows, mismatched or non-finite values, images beyond [-1, 1]; ConfigError on an unknown learner.
    """
    reals = _labelled("real_train", real_train, real_train_y, learner=learner)
    fakes = _labelled("fake", fake, fake_y, reals, learner)
    test = _labelled("real_test", real_test, real_test_y, reals, learner)
    if unseen := sorted(set(test.y.tolist()) - set(reals.y.tolist()) - set(fakes.y.tolist())):
        raise DataError(
            f"real_test_y holds classes {unseen} that no training row has: drop those rows or train on some"
        )
    classes = [int(c) for c in np.unique(reals.y)]
    counts = {c: int((fakes.y == c).sum()) or int((reals.y == c).sum()) for c in classes}
    rows, labels = class_gaussians(reals.x, reals.y, counts, random_state)
    # A Gaussian's tails exceed the range of images.
    control = _Labelled(rows.clip(-1, 1) if learner == "cnn" else rows, labels)
    means = _Labelled(np.stack([reals.x[reals.y == c].mean(0) for c in classes]), np.asarray(classes))
    tstr, trtr, gaussians, only_means = (
        data.fit(learner, random_state).accuracy(test) for data in (fakes, reals, control, means)
    )
    return SyntheticReport(tstr, trtr, gaussians, only_means)


def class_gaussians(
    x: np.ndarray | Tensor,
    y: np.ndarray | Tensor,
    counts: Mapping[int, int],
    random_state: int = 0,
    shrinkage: float = 0.01,
) -> tuple[np.ndarray, np.ndarray]:
    """Baseline generator: ``counts`` rows of each class from a Gaussian fitted to it, with their class numbers.

    Full covariance per class, shrunk by ``shrinkage`` towards the diagonal of the classes' mean variance, so that a
    class of few rows, even one, has a covariance. Rows are ``(sum of counts, ...)`` in the shape of ``x``. Raises
    DataError for a class without rows.
    """
    data = _labelled("x", x, y)
    rows, rng = data.x.reshape(len(data.x), -1), np.random.default_rng(random_state)
    pooled = np.mean([rows[data.y == c].var(0) for c in np.unique(data.y)], 0)
    parts = []
    for c, count in counts.items():
        members = rows[data.y == c]
        if not len(members):
            raise DataError(f"class {c} has no rows in x: leave it out of counts")
        centred = members - members.mean(0)
        covariance = (1 - shrinkage) * centred.T @ centred / max(1, len(members) - 1) + shrinkage * np.diag(pooled)
        values, vectors = np.linalg.eigh(covariance)
        factor = vectors * np.sqrt(values.clip(0))
        parts.append(members.mean(0) + rng.standard_normal((count, rows.shape[1])) @ factor.T)
    labels = np.repeat(np.fromiter(counts, dtype=np.int64), list(counts.values()))
    return np.concatenate(parts).reshape(-1, *data.x.shape[1:]), labels


@dataclass(frozen=True)
class RareClassReport:
    """Recall of the rare class, and accuracy over all classes, on real test rows: by treatment, a value per seed.

    Treatments are "none", "copies", "interpolation" and "synthetic". Accuracy is reported too, because many rows of the
    rare class can raise recall at the cost of errors in other classes.
    """

    recall: Mapping[str, tuple[float, ...]]
    accuracy: Mapping[str, tuple[float, ...]]

    @property
    def gain(self) -> float:
        """Mean recall with synthetic rows minus the best mean without; there is no gain if it is 0 or less."""
        means = {name: float(np.mean(values)) for name, values in self.recall.items()}
        return means.pop("synthetic") - max(means.values())


Synthesise = Callable[[np.ndarray, np.ndarray, int, int], "np.ndarray | Tensor"]


def rare_class_recall(
    train: np.ndarray | Tensor,
    train_y: np.ndarray | Tensor,
    test: np.ndarray | Tensor,
    test_y: np.ndarray | Tensor,
    synthesise: Synthesise,
    rare: int,
    keep: int = 10,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    learner: str = "logistic",
) -> RareClassReport:
    """Whether augmentation helps a class of only ``keep`` real rows: recall in [0, 1] on real ``test`` rows.

    Per seed, ``keep`` training rows of class ``rare`` are chosen at random. The class is then left unchanged, or filled
    up to the largest class by copies, by interpolation between neighbours, or by
    ``synthesise(cut, cut_y, count, seed)``: ``count`` new rows of the class from a generator of the cut rows.

    Source: Chawla et al., SMOTE, 1106.1813, section 4.2 (interpolation, up to 5 neighbours). Raises DataError for
    fewer than ``keep`` or 2 rows of the class, none of it among the test rows, generated rows of a wrong shape, or,
    for the learner "cnn", images beyond [-1, 1]; ConfigError on an unknown learner or a ``keep`` below 1.
    """
    keep = as_count("keep", keep)
    reals, seeds = _labelled("train", train, train_y, learner=learner), tuple(seeds)
    tests = _labelled("test", test, test_y, reals, learner)
    available = int((reals.y == rare).sum())
    if not 2 <= keep <= available:
        raise DataError(f"class {rare} has {available} training rows, keep is {keep}: keep must be from 2 to that")
    if not (tests.y == rare).any() or not seeds:
        raise DataError(f"test has no rows of class {rare}, or no seed was given: nothing to measure")
    chosen = _Labelled(tests.x[tests.y == rare], tests.y[tests.y == rare])
    recall: dict[str, list[float]] = {name: [] for name in TREATMENTS}
    accuracy: dict[str, list[float]] = {name: [] for name in TREATMENTS}
    for seed in seeds:
        for name, data in _treatments(reals, synthesise, rare, keep, seed, learner).items():
            judge = data.fit(learner, seed)
            recall[name].append(judge.accuracy(chosen))
            accuracy[name].append(judge.accuracy(tests))
    return RareClassReport({k: tuple(v) for k, v in recall.items()}, {k: tuple(v) for k, v in accuracy.items()})


def _treatments(
    reals: _Labelled, synthesise: Synthesise, rare: int, keep: int, seed: int, learner: str
) -> dict[str, _Labelled]:
    """The four training sets of one seed."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(np.flatnonzero(reals.y == rare), keep, replace=False)
    rows = np.concatenate([np.flatnonzero(reals.y != rare), chosen])
    cut = _Labelled(reals.x[rows], reals.y[rows])
    count = int(np.unique(cut.y, return_counts=True)[1].max()) - keep
    if count < 1:
        raise DataError(f"class {rare} is not the smaller one at keep {keep}; use a smaller keep")
    synthetic = _samples("synthesise(...)", synthesise(cut.x, cut.y, count, seed), learner)
    if synthetic.shape != (count, *cut.x.shape[1:]):
        raise DataError(f"synthesise returned shape {synthetic.shape}: it must return {(count, *cut.x.shape[1:])}")
    members = cut.x[cut.y == rare]
    filled = {
        "copies": members[rng.integers(keep, size=count)],
        "interpolation": _interpolated(cut, rare, keep, count, seed),
        "synthetic": synthetic,
    }
    return {"none": cut} | {name: _with(cut, extra, rare) for name, extra in filled.items()}


def _with(data: _Labelled, extra: np.ndarray, label: int) -> _Labelled:
    return _Labelled(np.concatenate([data.x, extra]), np.concatenate([data.y, np.full(len(extra), label)]))


def _interpolated(cut: _Labelled, rare: int, keep: int, count: int, seed: int) -> np.ndarray:
    """SMOTE rows of the rare class, in the shape of the data."""
    from imblearn.over_sampling import SMOTE

    smote = SMOTE(sampling_strategy={rare: keep + count}, k_neighbors=min(5, keep - 1), random_state=seed)
    filled, _ = smote.fit_resample(cut.x.reshape(len(cut.x), -1), cut.y)
    return filled[len(cut.x) :].reshape(-1, *cut.x.shape[1:])
