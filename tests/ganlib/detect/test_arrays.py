"""Detectors of images and series: calibrated like those of tables, on arrays of the kind they were fitted on."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

from ganlib.detect import as_detector
from ganlib.detect.selection import compare_detectors, contrast
from ganlib.errors import ConfigError, DataError
from ganlib.testing.problems import digits


def blobs(n, seed, side=8):
    """A bright square at one of four places."""
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 30, (n, side, side))
    for image, corner in zip(X, rng.integers(0, 4, n), strict=True):
        row, column = divmod(int(corner), 2)
        image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 200
    return X.astype(np.uint8)


def odd(n, seed):
    """As bright, anywhere."""
    X = blobs(n, seed)
    return np.random.default_rng(seed).permuted(X.reshape(n, -1), axis=1).reshape(X.shape)


def auroc(low, high):
    return float((high[:, None] > low).mean())


@pytest.fixture(scope="module")
def fitted():
    return as_detector("reconstruction_vae", steps=400, latent_dim=4, hidden=(32,), alpha=0.05).fit(blobs(600, 0))


@pytest.mark.trained
def test_odd_images_stand_out_and_alarms_are_calibrated(fitted):
    usual, strange = blobs(400, 1), odd(200, 2)
    assert auroc(fitted.anomaly_score(usual), fitted.anomaly_score(strange)) > 0.95
    assert (fitted.predict(usual) == -1).mean() < 0.12 and (fitted.predict(strange) == -1).mean() > 0.8
    p = fitted.p_value(usual)
    assert np.array_equal(p <= fitted.alpha_, fitted.predict(usual) == -1)


@pytest.mark.trained
def test_scores_do_not_depend_on_the_order_of_rows_or_their_batch(fitted):
    X = blobs(600, 0)
    again = as_detector("reconstruction_vae", steps=400, latent_dim=4, hidden=(32,), alpha=0.05).fit(X[::-1])
    some = blobs(9, 3)
    assert np.array_equal(fitted.anomaly_score(some), again.anomaly_score(some))
    assert np.array_equal(fitted.anomaly_score(some[:1]), fitted.anomaly_score(some)[:1])


@pytest.mark.parametrize("low", [0.0, -1.0])
@pytest.mark.trained
def test_float_images_are_read_in_either_range(low):
    X = blobs(300, 0) / 255 * (1 - low) + low
    detector = as_detector("reconstruction_vae", steps=300, latent_dim=4, hidden=(32,)).fit(X)
    strange = odd(60, 2) / 255 * (1 - low) + low
    assert auroc(detector.anomaly_score(X[:60]), detector.anomaly_score(strange)) > 0.9


@pytest.mark.trained
def test_series_keep_to_the_scale_of_training():
    rng = np.random.default_rng(0)
    waves = 300 + 20 * np.sin(np.linspace(0, 9, 32) + rng.uniform(0, 6, (400, 1, 1)))
    detector = as_detector("reconstruction_vae", steps=400, latent_dim=3, hidden=(32,)).fit(waves)
    broken = waves[:100].copy()
    broken[:, :, 16:] = waves[100:200, :, :16]
    assert auroc(detector.anomaly_score(waves[:100]), detector.anomaly_score(broken)) > 0.9


@pytest.mark.trained
def test_energies_of_images():
    x, _ = digits(0)
    X = (x.numpy()[:, 0] + 1) / 2
    detector = as_detector("began", steps=150, width=8, latent_dim=8, learning_rate=1e-3).fit(X[:400])
    noise = np.random.default_rng(0).permuted(X[400:500].reshape(100, -1), axis=1).reshape(100, 8, 8)
    assert auroc(detector.anomaly_score(X[400:500]), detector.anomaly_score(noise)) > 0.8


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda d: as_detector("vae").fit(blobs(40, 0)), ConfigError, "does not read images"),
        (lambda d: as_detector("began", group="a").fit(blobs(40, 0)), ConfigError, "groups are for tables"),
        (lambda d: as_detector("began").fit(blobs(9, 0)), DataError, "at least 10"),
        (lambda d: as_detector("began").fit([*blobs(40, 0), np.ones((9, 9))]), DataError, "differ in size"),
        (lambda d: as_detector("began", objective="mmd", steps=1).fit(blobs(40, 0)), ConfigError, "does not detect"),
        (lambda d: as_detector("began", objective="hinge", steps=1).fit(blobs(40, 0)), ConfigError, "does not detect"),
        (lambda d: as_detector("began").p_value(blobs(40, 0)), NotFittedError, "not fitted"),
        (lambda d: as_detector("began", epochs=0).fit(blobs(40, 0)), InvalidParameterError, "parameter 'epochs' must"),
        (lambda d: as_detector("began", alpha="a").fit(blobs(40, 0)), InvalidParameterError, "parameter 'alpha' must"),
        (lambda d: as_detector("began", learning_rate=1.0, options={"learning_rate": 2.0}), ConfigError, "given twice"),
        (lambda d: d.anomaly_score(blobs(9, 0, side=12)), DataError, r"fitted on uint8 of shape \(n, 8, 8\)"),
        (lambda d: d.anomaly_score(blobs(9, 0) / 255), DataError, "got float64"),
        (lambda d: d.explain(blobs(9, 0)), ConfigError, "images and series have none"),
        (lambda d: contrast(d, blobs(20, 0)), ConfigError, "columns are permuted of tables"),
        (lambda d: compare_detectors({"a": d}, blobs(20, 0), None), ConfigError, "give a y that marks some"),
    ],
)
def test_refusals(fitted, call, error, words):
    with pytest.raises(error, match=words):
        call(fitted)


def test_a_refused_refit_leaves_what_was_fitted_as_it_was():
    table = np.random.default_rng(0).normal(size=(60, 3))
    detector = as_detector("vae", steps=5).fit(table)
    before = detector.anomaly_score(table)
    with pytest.raises(ConfigError, match="does not read images"):
        detector.fit(blobs(40, 0))
    with pytest.raises(ConfigError, match="no option"):
        detector.set_params(options={"nope": 1}).fit(1000 * table)
    assert np.array_equal(detector.anomaly_score(table), before)


@pytest.mark.trained
@pytest.mark.parametrize("model", ["principal_mixture", "reconstruction_vae", "centroid_kernels"])
def test_an_injected_fault_is_the_highest_place_of_a_series(model):
    """By occlusion: a spike in one channel, beside the chance of one in 48."""
    rng = np.random.default_rng(0)

    def waves(n):
        time = np.arange(64) / 10 + rng.uniform(0, 6, (n, 1))
        return np.stack([np.sin(time), np.cos(time), np.sin(2 * time)], 1) + rng.normal(0, 0.1, (n, 3, 64))

    detector = as_detector(model, modality="series", alpha=0.02).fit(waves(400))
    odd, channels, steps = waves(60), rng.integers(0, 3, 60), rng.integers(0, 61, 60)
    for series, channel, step in zip(odd, channels, steps, strict=True):
        series[channel, step : step + 3] += 4.0
    found = detector.anomaly_map(odd)
    assert found.shape == (60, 3, 64) and found.min() >= 0
    at = found.reshape(60, -1).argmax(1)
    near = (at // 64 == channels) & (np.abs(at % 64 - steps) <= 6)
    assert near.mean() >= 0.8, near.mean()
