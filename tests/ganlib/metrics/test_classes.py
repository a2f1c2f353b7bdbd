import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from ganlib.errors import ConfigError, DataError
from ganlib.metrics.classes import (
    class_consistency,
    class_diversity,
    class_gaussians,
    rare_class_recall,
    train_on_synthetic,
)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """A linear algebra library loaded before conftest takes two: on a busy machine each small product then waits."""
    with threadpool_limits(1):
        yield


class Sign:
    def predict(self, x):
        return (np.asarray(x)[:, 0] > 0).astype(int)


@pytest.fixture(scope="module")
def digits():
    """Training rows, their classes, test rows, their classes: the 60/40 split of the printed baselines."""
    x, y = load_digits(return_X_y=True)
    a, b, ya, yb = train_test_split(x / 16, y, test_size=0.4, random_state=0, stratify=y)
    return a.astype(np.float32), ya, b.astype(np.float32), yb


def test_class_consistency():
    x = torch.tensor([[1.0], [2.0], [-1.0], [-3.0]])
    assert class_consistency(Sign(), x, np.array([1, 1, 0, 1])) == 0.75
    with pytest.raises(DataError, match="y has shape"):
        class_consistency(Sign(), x, np.array([1, 1]))
    with pytest.raises(ConfigError, match="has no predict"):
        class_consistency(lambda x: x[:, 0] > 0, x, np.ones(4))
    for unfit in (None, np.ones((4, 2)), np.full(4, 0.3), ["a"] * 4):
        judge = Sign()
        judge.predict = lambda x, unfit=unfit: unfit
        with pytest.raises(ConfigError, match="prediction .*class numbers"):
            class_consistency(judge, x, np.ones(4))


def test_class_diversity():
    """Class 0 the same, class 7 at half the scale, class 9 collapsed."""
    rng = np.random.default_rng(0)
    real, y = rng.standard_normal((30, 2, 3)), np.repeat([0, 7, 9], 10)
    fake = real.copy()
    fake[10:20] = 0.5 * real[10:20] + 3
    fake[20:] = 1.0
    ratios = class_diversity(real, y, torch.from_numpy(fake), torch.from_numpy(y))
    assert ratios == pytest.approx({0: 1.0, 7: 0.5, 9: 0.0}, abs=1e-12)
    by_hand = class_diversity(np.array([[0.0], [1], [3]]), np.zeros(3), np.array([[0.0], [5]]), np.zeros(2))
    assert by_hand == pytest.approx({0: 5 / 2}, abs=1e-12)


def test_class_gaussians_follow_each_class():
    rng = np.random.default_rng(1)
    covariance = np.array([[2.0, 1.2], [1.2, 1.0]])
    x = np.concatenate([rng.multivariate_normal([0, 5], covariance, 4000), rng.standard_normal((4000, 2))])
    rows, labels = class_gaussians(x, np.repeat([3, 1], 4000), {3: 20000, 1: 50})
    assert rows.shape == (20050, 2) and (labels == 3).sum() == 20000
    own = rows[labels == 3]
    np.testing.assert_allclose(own.mean(0), [0, 5], atol=0.08)
    # 1% of the way to the diagonal of the classes' mean variance.
    np.testing.assert_allclose(np.cov(own.T), 0.99 * covariance + 0.01 * np.diag([1.5, 1.0]), atol=0.1)
    half, _ = class_gaussians(x, np.repeat([3, 1], 4000), {3: 20000}, shrinkage=0.5)
    np.testing.assert_allclose(np.cov(half.T), 0.5 * covariance + 0.5 * np.diag([1.5, 1.0]), atol=0.1)
    images, _ = class_gaussians(x.reshape(-1, 1, 1, 2), np.repeat([3, 1], 4000), {1: 5})
    assert images.shape == (5, 1, 1, 2)
    one_row, _ = class_gaussians(np.array([[0.0], [1.0], [2.0]]), np.array([0, 0, 1]), {1: 500})
    assert one_row.mean() == pytest.approx(2.0, abs=0.01)
    assert one_row.std() == pytest.approx(math.sqrt(0.01 * 0.125), rel=0.15)


def test_digits_print_near_the_known_baselines(digits):
    a, ya, b, yb = digits
    report = train_on_synthetic(torch.from_numpy(a), ya, a, ya, b, yb)
    assert report.trtr == pytest.approx(0.972, abs=0.02)
    assert report.gaussians == pytest.approx(0.958, abs=0.02)
    assert report.means == pytest.approx(0.887, abs=0.02)
    assert report.tstr == report.trtr  # the "fakes" are the training rows


def test_worthless_synthetic_rows_teach_chance(digits):
    a, ya, b, yb = digits
    shuffled = np.random.default_rng(2).permutation(ya)
    report = train_on_synthetic(a, shuffled, a, ya, b, yb)
    assert report.tstr == pytest.approx(0.1, abs=0.07)
    wrong = train_on_synthetic(a, (ya + 1) % 10, a, ya, b, yb)
    assert 0 <= wrong.tstr < 0.02


@pytest.mark.trained
def test_cnn_on_images(digits):
    a, ya, b, yb = (v.reshape(-1, 1, 8, 8) * 2 - 1 if v.ndim == 2 else v for v in digits)
    keep = np.arange(500)
    report = train_on_synthetic(a[keep] * 0.9, ya[keep], a[keep], ya[keep], b, yb, learner="cnn")
    assert 0.92 <= report.trtr <= 1.0
    assert report.tstr == pytest.approx(report.trtr, abs=0.04)
    assert report.gaussians == pytest.approx(0.95, abs=0.04)
    assert 0.6 < report.means < 0.93


def test_rare_class_recall_of_two_gaussians():
    """N(0, 1) against a rare N(2, 1) cut to 20 of 2020 rows: the threshold is 1 + log(100) / 2, balanced it is 1."""
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.standard_normal(2000), 2 + rng.standard_normal(500)])[:, None]
    y = np.repeat([0, 1], [2000, 500])
    test = np.concatenate([rng.standard_normal(2000), 2 + rng.standard_normal(2000)])[:, None]
    truths = np.repeat([0, 1], 2000)
    seen = []

    def law(cut, cut_y, count, seed):
        seen.append(((cut_y == 1).sum(), (cut_y == 0).sum(), count))
        return 2 + np.random.default_rng(seed).standard_normal((count, 1))

    report = rare_class_recall(x, y, test, truths, law, rare=1, keep=20)
    assert seen == [(20, 2000, 1980)] * 5
    assert set(report.recall) == set(report.accuracy) == {"none", "copies", "interpolation", "synthetic"}
    mean = {name: np.mean(values) for name, values in report.recall.items()}

    def phi(z):
        return 0.5 * (1 + math.erf(z / math.sqrt(2)))

    assert mean["none"] == pytest.approx(phi(2 - (1 + math.log(100) / 2)), abs=0.06)
    assert mean["synthetic"] == pytest.approx(phi(1), abs=0.02)
    assert np.ptp(report.recall["synthetic"]) < 0.03  # the same law at each seed, whatever rows were kept
    assert mean["copies"] == pytest.approx(phi(1), abs=0.09)
    assert mean["interpolation"] == pytest.approx(phi(1), abs=0.09)
    assert np.mean(report.accuracy["synthetic"]) == pytest.approx(phi(1), abs=0.02)
    best = max(mean[name] for name in ("none", "copies", "interpolation"))
    assert report.gain == pytest.approx(mean["synthetic"] - best, abs=1e-12)


def test_rare_class_gain_is_negative_for_worthless_rows():
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((600, 2)), np.repeat([5, 9], 300)
    x[y == 9] += 3
    report = rare_class_recall(x, y, x, y, lambda cut, cut_y, n, seed: np.full((n, 2), -5.0), 9, seeds=(0, 1))
    assert all(len(values) == 2 for values in report.recall.values())
    assert -1 <= report.gain < -0.5


def test_refusals(digits):
    a, ya, b, yb = digits
    with pytest.raises(ConfigError, match="logistic, cnn"):
        train_on_synthetic(a, ya, a, ya, b, yb, learner="forest")
    with pytest.raises(ConfigError, match="images"):
        train_on_synthetic(a, ya, a, ya, b, yb, learner="cnn")
    images, unit = a.reshape(-1, 1, 8, 8), b.reshape(-1, 1, 8, 8)
    with pytest.raises(DataError, match="fake holds values from 0 to 255: .*to_tensor"):
        train_on_synthetic((255 * images).astype(np.uint8), ya, images, ya, unit, yb, learner="cnn")
    with pytest.raises(DataError, match="real_train has shape .*channels last"):
        last = [v.transpose(0, 2, 3, 1) for v in (images, images, unit)]
        train_on_synthetic(last[0], ya, last[1], ya, last[2], yb, learner="cnn")
    with pytest.raises(DataError, match=r"synthesise\(\.\.\.\) holds values"):
        rare_class_recall(images, ya, unit, yb, lambda x, y, n, s: np.full((n, 1, 8, 8), 9), 3, learner="cnn")
    with pytest.raises(DataError, match=r"classes \[4, 7\] that no training row has"):
        known = ~np.isin(ya, (4, 7))
        train_on_synthetic(a[known], ya[known], a[known], ya[known], b, yb)
    with pytest.raises(ConfigError, match="keep must be a whole number"):
        rare_class_recall(a, ya, b, yb, lambda *_: a, 3, keep=2.5)
    with pytest.raises(DataError, match="one class"):
        train_on_synthetic(a, 0 * ya, a, ya, b, yb)
    with pytest.raises(DataError, match=r"fake has samples of shape \(63,\)"):
        train_on_synthetic(a[:, 1:], ya, a, ya, b, yb)
    with pytest.raises(DataError, match="class 4 of fake has 0 samples"):
        class_diversity(a, ya, a[ya != 4], ya[ya != 4])
    with pytest.raises(DataError, match="no spread"):
        class_diversity(np.ones((4, 2)), np.zeros(4), a[:4, :2], np.zeros(4))
    with pytest.raises(DataError, match="class 12 has no rows"):
        class_gaussians(a, ya, {12: 3})
    with pytest.raises(DataError, match="class 12 has 0 training rows"):
        rare_class_recall(a, ya, b, yb, lambda *_: a, 12)
    with pytest.raises(DataError, match="no rows of class 3"):
        rare_class_recall(a, ya, b[yb != 3], yb[yb != 3], lambda *_: a, 3)
    with pytest.raises(DataError, match="synthesise returned shape"):
        rare_class_recall(a, ya, b, yb, lambda *_: a[:3], 3)
