import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.datasets import load_digits

from ganlib.errors import ConfigError, DataError
from ganlib.metrics.features import (
    classifier_score,
    frechet_distance,
    pca_frechet,
    precision_recall_density_coverage,
    train_classifier,
)


def sample_with(mean, covariance, n, seed):
    """A sample whose own mean and covariance are exactly these."""
    raw = np.random.default_rng(seed).standard_normal((n, len(mean)))
    raw = raw - raw.mean(0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T))).T
    return white @ np.linalg.cholesky(np.asarray(covariance)).T + mean


def test_frechet_of_known_gaussians():
    """Diagonal covariances: |gap|² + sum (s - t)²."""
    a = sample_with([0.0, 1.0, 2.0], np.diag([1.0, 4.0, 9.0]), 50, 0)
    b = sample_with([1.0, 1.0, 0.0], np.diag([4.0, 4.0, 1.0]), 60, 1)
    assert frechet_distance(a, b) == pytest.approx(5 + 1 + 0 + 4, abs=1e-9)
    assert frechet_distance(b, a) == pytest.approx(10, abs=1e-9)
    assert frechet_distance(a, a + 3) == pytest.approx(27, abs=1e-9)


def test_frechet_of_covariances_that_do_not_commute():
    c, d = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[5.0, -2.0], [-2.0, 1.0]])
    expected = 1 + np.trace(c + d - 2 * sqrtm(c @ d).real)
    value = frechet_distance(sample_with([0, 0], c, 40, 2), sample_with([0, 1], d, 40, 3))
    assert value == pytest.approx(expected, abs=1e-9)


def test_frechet_with_fewer_rows_than_columns_is_real_and_finite():
    rng = np.random.default_rng(4)
    a = rng.standard_normal((10, 64)).astype(np.float32)
    assert frechet_distance(torch.from_numpy(a), a) == pytest.approx(0.0, abs=1e-5)
    assert frechet_distance(a, a * 2) == pytest.approx((a.mean(0) ** 2).sum() + a.var(0, ddof=1).sum(), rel=1e-5)


def test_pca_frechet():
    rng = np.random.default_rng(5)
    scale = np.array([5.0, 3.0, 0.5, 0.1])
    real, fake = rng.standard_normal((300, 4)) * scale, rng.standard_normal((300, 4)) * scale + [0, 0, 0, 7]
    # All components: a rotation, which changes nothing.
    assert pca_frechet(real, fake, 4) == pytest.approx(frechet_distance(real, fake), rel=1e-9)
    assert 48 < pca_frechet(real, fake, 4) < 51
    assert 0 <= pca_frechet(real, fake, 2) < 0.5
    with pytest.raises(ConfigError, match="1 to 4"):
        pca_frechet(real, fake, 5)


def test_prdc_on_equal_laws():
    """Expected density 1 and coverage 1 - prod (n - i) / (2n - i) = .97, whatever the law."""
    rng = np.random.default_rng(6)
    n = 1000
    report = precision_recall_density_coverage(rng.standard_normal((n, 2)), rng.standard_normal((n, 2)))
    expected = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, 6))
    assert report.coverage == pytest.approx(expected, abs=0.02)
    assert report.density == pytest.approx(1.0, abs=0.05)
    assert report.precision == pytest.approx(0.98, abs=0.02)
    assert report.recall == pytest.approx(0.98, abs=0.02)


def test_prdc_by_hand():
    """Reals at 0, 1, 3 with k = 1 reach 1, 1, 2; fakes at -.5, 4, 9 reach 4.5, 4.5, 5."""
    report = precision_recall_density_coverage(np.array([[0.0], [1], [3]]), np.array([[-0.5], [4], [9]]), 1)
    assert report.precision == pytest.approx(2 / 3)
    assert report.recall == 1.0
    assert report.density == pytest.approx(2 / 3)
    assert report.coverage == pytest.approx(2 / 3)


def test_prdc_on_a_collapsed_and_on_a_foreign_sample():
    rng = np.random.default_rng(7)
    real = rng.standard_normal((500, 2))
    collapsed = precision_recall_density_coverage(real, 0.01 * rng.standard_normal((500, 2)))
    assert collapsed.precision == 1.0
    assert 0 <= collapsed.recall < 0.02
    assert 0 < collapsed.coverage < 0.1
    foreign = precision_recall_density_coverage(real, real + 50)
    assert (foreign.precision, foreign.recall, foreign.density, foreign.coverage) == (0, 0, 0, 0)


def test_classifier_score():
    assert classifier_score(np.eye(7)[np.arange(70) % 7]) == pytest.approx(7, abs=1e-9)
    assert classifier_score(torch.full((20, 5), 0.2)) == pytest.approx(1, abs=1e-6)
    # One certain class throughout: no diversity.
    assert classifier_score(np.eye(3)[np.zeros(10, int)]) == pytest.approx(1, abs=1e-9)
    entropy = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert classifier_score(np.array([[0.9, 0.1], [0.1, 0.9]])) == pytest.approx(2 * math.exp(-entropy), abs=1e-9)
    with pytest.raises(DataError, match="softmax"):
        classifier_score(np.full((4, 3), 0.5))


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return (x[order] / 8 - 1).astype(np.float32), y[order]


@pytest.mark.parametrize("image", [False, True])
@pytest.mark.trained
def test_small_classifier_learns_digits(digits, image):
    x, y = digits
    x = x.reshape(-1, 1, 8, 8) if image else x
    model = train_classifier(x[:1000], torch.from_numpy(y[:1000]), epochs=12)
    assert 0.94 <= model.accuracy(x[1000:], y[1000:]) <= 1.0
    p = model.probabilities(x[1000:])
    assert p.shape == (797, 10)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    np.testing.assert_array_equal(p.argmax(1), model.predict(x[1000:]))
    assert 7 < classifier_score(p) <= 10
    features = model.features(torch.from_numpy(x[1000:]))
    assert features.shape == (797, 64) and features.std() > 0.1
    np.testing.assert_allclose(model.features(x[1000:1003]), features[:3], atol=1e-5)  # no row sees its batch


@pytest.mark.trained
def test_small_classifier_keeps_labels_scales_columns_and_leaves_the_random_state():
    rng = np.random.default_rng(8)
    y = np.array([-3, 40])[np.arange(200) % 2]
    x = np.stack([1e6 + 1e5 * (y > 0) + 1e4 * rng.standard_normal(200), np.full(200, 7.0)], 1)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    model = train_classifier(x, y, random_state=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert set(model.predict(x)) == {-3, 40}
    assert model.accuracy(x, y) == 1.0
    assert model.accuracy(x, -y) == 0.0
    again, other = train_classifier(x, y, random_state=1), train_classifier(x, y, random_state=2)
    np.testing.assert_array_equal(again.probabilities(x), model.probabilities(x))
    assert not np.array_equal(other.probabilities(x), model.probabilities(x))


@pytest.mark.trained
def test_refusals():
    x = np.random.default_rng(9).standard_normal((20, 3))
    y = np.arange(20) % 2
    with pytest.raises(DataError, match="one class"):
        train_classifier(x, np.zeros(20, int))
    with pytest.raises(DataError, match="3 axes"):
        train_classifier(np.zeros((20, 4, 4)), y)
    with pytest.raises(DataError, match="y has shape"):
        train_classifier(x, y[:5])
    with pytest.raises(DataError, match="whole class numbers"):
        train_classifier(x, y + 0.5)
    with pytest.raises(DataError, match="trained on"):
        train_classifier(x, y).predict(np.zeros((4, 5)))
    with pytest.raises(DataError, match="b has 1 samples"):
        frechet_distance(x, x[:1])
    with pytest.raises(DataError, match="fake has 5 samples"):
        precision_recall_density_coverage(x, x[:5])
    for count in (0, 1.5, None):
        with pytest.raises(ConfigError, match="neighbours"):
            precision_recall_density_coverage(x, x, count)
        with pytest.raises(ConfigError, match="components"):
            pca_frechet(x, x, count)
    images = np.random.default_rng(0).random((20, 3, 8, 8))
    with pytest.raises(DataError, match="channels last"):
        train_classifier(images.transpose(0, 2, 3, 1), y)
    with pytest.raises(DataError, match=r"values from 0 to 255: .*to_tensor"):
        train_classifier(np.repeat([[[[0, 255]]]], 20, 0).astype(np.uint8), y)
    with pytest.raises(DataError, match="to_tensor"):
        train_classifier(images, y, epochs=1).predict(255 * images)
