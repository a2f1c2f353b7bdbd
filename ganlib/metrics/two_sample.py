"""Two-sample tests of equal distributions, and the checks of arrays that all metrics use."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from torch import Tensor

from ganlib.errors import ConfigError, DataError

MODELS = ("forest", "neural", "neighbours")
MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)


def as_array(name: str, data: np.ndarray | Tensor, least: int = 1) -> np.ndarray:
    """``data`` as a finite float64 array with at least ``least`` samples on its first axis, or a DataError."""
    raw = data.detach().cpu().numpy() if isinstance(data, Tensor) else data
    try:
        array = np.asarray(raw, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must be one array of numbers: encode text and fill gaps first") from error
    if array.ndim < 2:
        raise DataError(f"{name} has {array.ndim} axes: give samples on the first axis, their values on the others")
    if len(array) < least or not array.size:
        raise DataError(f"{name} has {len(array)} samples of {array[:1].size} values, {least} samples are needed")
    if not np.isfinite(array).all():
        raise DataError(f"{name} holds values that are not finite: drop or fill those samples")
    return array


def as_rows(name: str, data: np.ndarray | Tensor, least: int = 1) -> np.ndarray:
    """As ``as_array``, each sample flattened: ``(n, d)``."""
    array = as_array(name, data, least)
    return array.reshape(len(array), -1)


def as_pair(
    names: tuple[str, str], first: np.ndarray | Tensor, second: np.ndarray | Tensor, least: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Two samples as ``as_rows`` reads them; DataError unless their samples have one shape."""
    a, b = as_array(names[0], first, least), as_array(names[1], second, least)
    if a.shape[1:] != b.shape[1:]:
        shapes = f"{names[0]} has samples of shape {a.shape[1:]}, {names[1]} of {b.shape[1:]}"
        raise DataError(f"{shapes}: give both the same columns")
    return a.reshape(len(a), -1), b.reshape(len(b), -1)


def as_images(name: str, data: np.ndarray | Tensor, signed: bool = False) -> np.ndarray:
    """Images ``(n, c, h, w)`` as ``as_array`` reads them, or a DataError; ``signed`` wants values in [-1, 1]."""
    x = as_array(name, data)
    if x.ndim != 4:
        raise DataError(f"{name} has shape {x.shape}: give images (n, c, h, w), as ganlib.data.images.to_tensor does")
    # Sides are never so short; the last axis is that of channels, as in images that an augmenter returns.
    if x.shape[3] in (1, 3, 4) and x.shape[1] not in (1, 3):
        fix = "give (n, c, h, w), by x.transpose(0, 3, 1, 2) or ganlib.data.images.to_tensor"
        raise DataError(f"{name} has shape {x.shape}, channels last: {fix}")
    # Rounding may carry a value a little beyond its range.
    if signed and np.abs(x).max() > 1 + 1e-5:
        found = f"{x.min():.4g} to {x.max():.4g}"
        raise DataError(f"{name} holds values from {found}: bring images to [-1, 1] by ganlib.data.images.to_tensor")
    return x


def as_count(name: str, value: int) -> int:
    """A whole number above 0, or a ConfigError."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ConfigError(f"{name} must be a whole number, at least 1, not {value!r}")
    return int(value)


def as_labels(name: str, labels: np.ndarray | Tensor, samples: int) -> np.ndarray:
    """Class numbers ``(samples,)`` as int64, or a DataError."""
    raw = np.asarray(labels.detach().cpu() if isinstance(labels, Tensor) else labels)
    if raw.shape != (samples,):
        raise DataError(f"{name} has shape {raw.shape}: give one class number for each of the {samples} samples")
    if raw.dtype.kind not in "iub" and not (raw.dtype.kind == "f" and (raw == np.round(raw)).all()):
        raise DataError(f"{name} must hold whole class numbers: encode the classes first")
    return raw.astype(np.int64)


@dataclass(frozen=True)
class ClassifierTest:
    """Held-out ``accuracy`` of real against fake with its 95% interval ``low`` to ``high``.

    ``p_value`` is the probability of at least as many hits among the ``rows`` held out if the distributions are equal.
    """

    accuracy: float
    p_value: float
    low: float
    high: float
    rows: int


def classifier_two_sample(
    real: np.ndarray | Tensor, fake: np.ndarray | Tensor, random_state: int = 0, model: str = "forest"
) -> ClassifierTest:
    """Held-out accuracy of a classifier of real against fake: 0.5 is indistinguishable, 1 trivially fake.

    ``real`` and ``fake`` are ``(n, ...)``, flattened. The longer one is subsampled to the length of the shorter one, so
    that chance is 0.5. Half of each is used for training. ``model`` is "forest", "neural" (one hidden layer of 20) or
    "neighbours" (k = the square root of the training rows, rounded to an odd number). The p-value is the exact upper
    tail of the binomial, and the interval is Wilson's.

    Source: Lopez-Paz and Oquab, 1610.06545, section 3 (the binomial replaces its normal approximation). Raises
    DataError for fewer than 10 samples a side, mismatched or non-finite values; ConfigError for an unknown model.
    """
    from scipy.stats import binomtest

    a, b = _equal_parts(real, fake, random_state)
    size, half = len(a), len(a) // 2
    learner = _discriminator(model, 2 * half, random_state)
    with warnings.catch_warnings():
        # The method uses a fixed number of epochs, so not converging is not an error.
        warnings.simplefilter("ignore")
        learner.fit(np.concatenate([a[:half], b[:half]]), np.repeat([0, 1], half))
    held = np.concatenate([a[half:], b[half:]])
    hits = int((learner.predict(held) == np.repeat([0, 1], size - half)).sum())
    interval = binomtest(hits, len(held)).proportion_ci(0.95, "wilson")
    p_value = float(binomtest(hits, len(held), 0.5, "greater").pvalue)
    return ClassifierTest(hits / len(held), p_value, float(interval.low), float(interval.high), len(held))


def two_sample_auroc(
    real: np.ndarray | Tensor, fake: np.ndarray | Tensor, random_state: int = 0, model: str = "forest", folds: int = 5
) -> float:
    """Held-out AUROC of a classifier of real against fake: 0.5 is indistinguishable, 1 trivially fake.

    ``real`` and ``fake`` are as for ``classifier_two_sample``, and ``model`` too. The mean over the ``folds`` of a
    stratified cross-validation. Unlike accuracy, it does not depend on where the classifier draws its line.

    Source: the test of Lopez-Paz and Oquab, 1610.06545, with the area under the ROC curve as the statistic. Raises
    DataError for fewer than 10 samples a side, mismatched or non-finite values; ConfigError for an unknown model.
    """
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    parts = _equal_parts(real, fake, random_state)
    x, y = np.concatenate(parts), np.repeat([0, 1], len(parts[0]))
    folds = min(as_count("folds", folds), len(parts[0]))
    splits = StratifiedKFold(folds, shuffle=True, random_state=random_state).split(x, y)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not converging is no error, as above
        for fit, held in splits:
            learner = _discriminator(model, len(fit), random_state).fit(x[fit], y[fit])
            found.append(roc_auc_score(y[held], learner.predict_proba(x[held])[:, 1]))
    return float(np.mean(found))


def _equal_parts(
    real: np.ndarray | Tensor, fake: np.ndarray | Tensor, random_state: int
) -> tuple[np.ndarray, np.ndarray]:
    """As many rows of both, in random order, so that chance is 0.5."""
    a, b = as_pair(("real", "fake"), real, fake, least=10)
    rng = np.random.default_rng(random_state)
    size = min(len(a), len(b))
    return a[rng.permutation(len(a))[:size]], b[rng.permutation(len(b))[:size]]


def _discriminator(model: str, rows: int, random_state: int) -> Any:
    """An unfitted scikit-learn classifier for ``rows`` training rows."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if model == "forest":
        return RandomForestClassifier(100, min_samples_leaf=2, random_state=random_state)
    if model == "neural":
        return make_pipeline(StandardScaler(), MLPClassifier((20,), max_iter=100, random_state=random_state))
    if model == "neighbours":
        return make_pipeline(StandardScaler(), KNeighborsClassifier(int(rows**0.5) // 2 * 2 + 1))
    raise ConfigError(f"unknown model {model!r}: one of {', '.join(MODELS)}")


def _pooled_kernel(a: np.ndarray, b: np.ndarray, bandwidths: Sequence[float] | None) -> np.ndarray:
    """Mean of the RBF kernels over the pooled sample, its diagonal set to 0: ``(m + n, m + n)``."""
    from scipy.spatial.distance import pdist, squareform

    squares = pdist(np.concatenate([a, b]), "sqeuclidean")
    try:
        widths = _median_widths(squares) if bandwidths is None else np.asarray(list(bandwidths), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"bandwidths must be a sequence of numbers such as [1.0], not {bandwidths!r}") from error
    if widths.ndim != 1 or not widths.size or not (np.isfinite(widths) & (widths > 0)).all():
        raise ConfigError("bandwidths must be finite and above 0, at least one")
    # The unbiased statistic omits the diagonal; with zeros there, plain sums do.
    return squareform(sum(np.exp(squares * (-0.5 / w**2)) for w in widths) / widths.size)


def _median_widths(squares: np.ndarray) -> np.ndarray:
    """Multiples of the median distance; of the mean distance if most points coincide."""
    scale = float(np.sqrt(np.median(squares))) or float(np.sqrt(squares).mean()) or 1.0
    return scale * np.asarray(MULTIPLES)


def _mmd(kernel: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Unbiased MMD² of each split of the pooled sample; columns of ``first`` ``(m + n, splits)`` are 1 for x."""
    m = first[:, 0].sum()
    n = len(kernel) - m
    xx = (first * (kernel @ first)).sum(0)
    x_all = first.T @ kernel.sum(0)
    xy = x_all - xx
    yy = kernel.sum() - x_all - xy
    return xx / (m * (m - 1)) + yy / (n * (n - 1)) - 2 * xy / (m * n)


def kernel_mmd(x: np.ndarray | Tensor, y: np.ndarray | Tensor, bandwidths: Sequence[float] | None = None) -> float:
    """Unbiased squared maximum mean discrepancy of ``x`` ``(m, ...)`` and ``y`` ``(n, ...)``, flattened; at most 2.

    The kernel is the mean of exp(-|a - b|² / 2w²) over ``bandwidths`` w; by default a quarter to four times the median
    distance of the pooled sample. Its expectation for equal distributions is 0, so that values slightly below 0 occur.

    Source: Gretton et al., JMLR 13, 2012, equation 3; a mix of widths as in Li et al., GMMN, 1502.02761.
    Raises DataError for fewer than 2 samples a side, mismatched or non-finite values; ConfigError for bad bandwidths.
    """
    a, b = as_pair(("x", "y"), x, y, least=2)
    first = np.repeat([1.0, 0.0], [len(a), len(b)])[:, None]
    return float(_mmd(_pooled_kernel(a, b, bandwidths), first)[0])


@dataclass(frozen=True)
class PermutationTest:
    """An observed ``statistic`` and the ``p_value`` in (0, 1] of it among random splits of the pooled sample."""

    statistic: float
    p_value: float


def mmd_test(
    x: np.ndarray | Tensor,
    y: np.ndarray | Tensor,
    permutations: int = 200,
    random_state: int = 0,
    bandwidths: Sequence[float] | None = None,
) -> PermutationTest:
    """``kernel_mmd`` with a p-value: the share of random splits of the pooled sample with at least as large an MMD².

    The observed split is one of them, so that the test is exact at any size. The kernel matrix, ``(m + n)²``
    values, is computed once; the default widths depend only on the pooled sample, so they are the same for all splits.

    Source: Gretton et al., JMLR 13, 2012, section 5 (null distribution by permutation). Raises as ``kernel_mmd``,
    and ConfigError unless ``permutations`` is a whole number above 0.
    """
    a, b = as_pair(("x", "y"), x, y, least=2)
    permutations = as_count("permutations", permutations)
    kernel = _pooled_kernel(a, b, bandwidths)
    first = np.tile(np.repeat([1.0, 0.0], [len(a), len(b)]), (permutations + 1, 1))
    first[1:] = np.random.default_rng(random_state).permuted(first[1:], axis=1)
    values = _mmd(kernel, first.T)
    # Equal splits may differ in the last digits, but must count as equal.
    as_large = int((values[1:] >= values[0] - 1e-12).sum())
    return PermutationTest(float(values[0]), (1 + as_large) / (1 + permutations))


def energy_distance(x: np.ndarray | Tensor, y: np.ndarray | Tensor) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| of ``x`` ``(m, ...)`` and ``y`` ``(n, ...)``, flattened, in units of the data.

    Unbiased (pairs of different samples): its expectation for equal distributions is 0, and values slightly below 0
    occur. It has no width to choose.

    Source: Székely and Rizzo, J. Stat. Plan. Inference 143, 2013. Raises DataError for fewer than 2 samples a
    side, mismatched or non-finite values.
    """
    from scipy.spatial.distance import cdist, pdist

    a, b = as_pair(("x", "y"), x, y, least=2)
    return float(2 * cdist(a, b).mean() - pdist(a).mean() - pdist(b).mean())
