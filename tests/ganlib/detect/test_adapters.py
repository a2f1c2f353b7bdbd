"""as_detector, PyOD's signs, and the comparison of candidates."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from ganlib.detect import (
    Detector,
    GANomalyDetector,
    VAEDetector,
    as_detector,
    compare_detectors,
    contrast,
    permuted_columns,
    to_pyod,
)
from ganlib.errors import ConfigError, DataError
from ganlib.registry import entry

torch.set_num_threads(1)
QUICK = {"steps": 600, "hidden": (32,), "latent_dim": 2, "learning_rate": 0.01}
pytestmark = pytest.mark.filterwarnings("ignore:alpha=.* is not supported")


def test_as_detector_by_name_entry_and_class():
    for given in ("vae", entry("vae"), entry("vae").build):
        assert type(as_detector(given, alpha=0.05)) is VAEDetector
    detector = as_detector("ganomaly", score="latent", epochs=3)
    assert type(detector) is GANomalyDetector
    assert detector.options == {"score": "latent"} and detector.epochs == 3


def test_every_registered_detector_fits_and_scores(numbers):
    from ganlib.registry import entries

    names = [e.name for e in entries("detector") if "scorer" in e.exports and "table" in e.modalities]
    assert {"ganomaly", "vae", "reconstruction_vae"} <= set(names)
    for name in names:
        detector = Detector(name, steps=3).fit(numbers[:60])
        assert np.isfinite(detector.anomaly_score(numbers)).all(), name


def test_as_detector_refuses():
    with pytest.raises(ConfigError, match="no model is called 'vea'; did you mean vae"):
        as_detector("vea")
    with pytest.raises(ConfigError, match="did you mean least_squares_gan, loss_sensitive_gan"):
        as_detector("lsgan")
    with pytest.raises(ConfigError, match="has no option 'scoer'"):
        as_detector("ganomaly", scoer="latent")
    with pytest.raises(ConfigError, match="'score' must be one of"):
        as_detector("ganomaly", score="best")
    with pytest.raises(ConfigError, match="'gan' does not detect"):
        as_detector("gan")
    with pytest.raises(ConfigError, match="neither a model's name"):
        as_detector(dict)


@pytest.mark.trained
def test_pyod_signs(numbers):
    adapter = to_pyod(VAEDetector(**QUICK, alpha=0.1))
    with pytest.raises(AttributeError, match="is it fitted"):
        _ = adapter.threshold_
    labels = adapter.fit_predict(numbers)
    detector = adapter.detector
    assert np.array_equal(adapter.decision_function(numbers), detector.anomaly_score(numbers))
    assert np.array_equal(labels, (detector.predict(numbers) == -1).astype(int))
    assert np.array_equal(adapter.labels_, (adapter.decision_scores_ > adapter.threshold_).astype(int))
    assert np.allclose(adapter.predict_proba(numbers).sum(1), 1) and adapter.contamination == 0.1
    assert np.array_equal(detector.to_pyod().predict(numbers), labels)


def test_permuted_columns_break_a_third_of_each_row():
    frame = pd.DataFrame({f"c{i}": np.arange(50) * 100 + i for i in range(7)})
    frame["word"] = [f"w{i}" for i in range(50)]
    broken = permuted_columns(frame, random_state=0)
    assert ((broken != frame).sum(axis=1) == 3).all()
    assert list(broken.dtypes) == list(frame.dtypes)
    for name in frame:
        assert set(broken[name]) <= set(frame[name])
    limited = permuted_columns(frame, columns=["c1", "c2"])
    assert ((limited != frame).any() == frame.columns.isin(["c1", "c2"])).all()
    assert permuted_columns(frame, random_state=0).equals(broken)
    assert not permuted_columns(frame, random_state=1).equals(broken)
    with pytest.raises(DataError, match="two rows"):
        permuted_columns(frame[:1])


@pytest.mark.trained
def test_detectors_are_compared_by_known_anomalies_alone(numbers):
    train, held = numbers[:400], numbers[400:]
    good = VAEDetector(**QUICK).fit(train)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        poor = VAEDetector(steps=1, hidden=(4,), latent_dim=1).fit(np.random.default_rng(0).permuted(train, axis=0))
    assert contrast(good, held) > max(0.65, contrast(poor, held) + 0.1)
    with pytest.raises(ConfigError, match="nothing but known anomalies"):
        compare_detectors({"poor": poor, "good": good}, held, np.zeros(len(held)))
    y = np.repeat([0, 1], [200, 40])
    mixed = np.concatenate([held, held[:40] + np.array([0, 0, 2.0, 0, 0, 0])])
    seen = compare_detectors({"poor": poor, "good": good}, mixed, y)
    assert seen.best == "good" and seen.measure == "validation AUPRC"
    assert seen.values["good"] > 0.9
    with pytest.raises(DataError, match="no detectors"):
        compare_detectors({}, held, None)
