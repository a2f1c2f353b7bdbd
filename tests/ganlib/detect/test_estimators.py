"""Detectors as scikit-learn estimators, and as ours: labels, alarms, frames, small data."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import betabinom
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from ganlib.data.inference import infer_schema
from ganlib.data.schema import Schema
from ganlib.detect import Detector, GANomalyDetector, ReconstructionVAEDetector, VAEDetector
from ganlib.errors import ConfigError, DataError

torch.set_num_threads(1)
QUICK = {"steps": 60, "hidden": (16,), "latent_dim": 2}
LEARNS = {"steps": 600, "hidden": (32,), "latent_dim": 2, "learning_rate": 0.01}
ALL = [GANomalyDetector, VAEDetector, ReconstructionVAEDetector]


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "alpha=.* is not supported")
        yield


@pytest.fixture(scope="module")
def fitted(numbers):
    return VAEDetector(**LEARNS, alpha=0.1).fit(numbers)


@parametrize_with_checks([*(cls(epochs=2) for cls in ALL), Detector("vae", epochs=2)])
def test_scikit_learns_checks(estimator, check):
    """No check is expected to fail."""
    check(estimator)


# -------------------------------------------------------------------- alarms
@pytest.mark.parametrize("alpha", [0.001, 0.01, 0.0999, 0.1, 0.3])
@pytest.mark.parametrize("cls", ALL)
@pytest.mark.trained
def test_signs_and_alarms_agree_row_by_row(cls, numbers, alpha):
    detector = cls(**QUICK, alpha=alpha).fit(numbers)
    x = np.concatenate([numbers, 3 * numbers[:50]])  # the calibration rows themselves sit on the steps
    score, p = detector.anomaly_score(x), detector.p_value(x)
    alarm = p <= np.float32(detector.alpha_)
    assert alarm.any() and not alarm.all()
    assert np.array_equal(detector.predict(x) == -1, alarm)
    assert np.array_equal(detector.decision_function(x) < 0, alarm)
    assert np.array_equal(detector.score_samples(x), -score.astype(np.float64))
    assert np.array_equal(detector.decision_function(x), detector.score_samples(x) - detector.offset_)
    assert score.dtype == p.dtype == np.float32
    # offset_ is one float32 step from the smallest alarming score
    smallest = np.nextafter(np.float32(-detector.offset_), np.float32(np.inf))
    assert detector.calibration_.p_value(np.array([smallest]))[0] <= np.float32(detector.alpha_)
    assert detector.calibration_.p_value(np.float32([-detector.offset_]))[0] > np.float32(detector.alpha_)


@pytest.mark.trained
def test_groups_have_thresholds_of_their_own():
    rng = np.random.default_rng(3)
    site = np.repeat(["calm", "wild"], 1500)
    frame = pd.DataFrame(rng.normal(size=(3000, 3)) * np.where(site == "calm", 0.2, 2.0)[:, None], columns=list("abc"))
    frame["site"] = site
    detector = VAEDetector(**QUICK, group="site", alpha=0.05).fit(frame)
    assert set(detector.calibration_.groups) == {"calm", "wild"}
    alarm = detector.p_value(frame) <= np.float32(detector.alpha_)
    assert np.array_equal(detector.predict(frame) == -1, alarm)
    assert np.array_equal(detector.decision_function(frame) < 0, alarm)
    for value in ("calm", "wild"):
        assert 0.02 < alarm[site == value].mean() < 0.09
    unseen = frame.assign(site="elsewhere")
    pooled = detector.calibration_.pooled.p_value(detector.anomaly_score(unseen))
    assert np.array_equal(detector.p_value(unseen), pooled)


@pytest.mark.trained
def test_false_alarms_keep_the_budget():
    rng = np.random.default_rng(4)
    detector = VAEDetector(**QUICK, alpha=0.1).fit(rng.normal(size=(2000, 4)))
    n, fresh = detector.calibration_.n, 3000
    k = int(0.1 * (n + 1))
    alarms = int((detector.predict(rng.normal(size=(fresh, 4))) == -1).sum())
    low, high = betabinom(fresh, k, n + 1 - k).ppf([0.0005, 0.9995])
    assert low <= alarms <= high


@pytest.mark.trained
def test_unsupported_alpha_warns_and_uses_the_smallest(numbers):
    with pytest.warns(UserWarning, match=r"alpha=0.001 is not supported: 20 calibration rows.*999 calibration rows"):
        detector = VAEDetector(**QUICK, alpha=0.001).fit(numbers[:100])
    assert detector.alpha_ == detector.calibration_.alpha_min == pytest.approx(1 / 21)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        VAEDetector(**QUICK, alpha=0.05).fit(numbers[:100])


# -------------------------------------------------------------------- labels
@pytest.mark.parametrize(
    "spell",
    [
        lambda bad: bad.astype(int),
        lambda bad: bad,
        lambda bad: np.where(bad, "fraud", "normal"),
        lambda bad: pd.Series(np.where(bad, 1.0, np.nan), index=np.arange(len(bad))[::-1]),
        lambda bad: pd.Series(np.where(bad, "1", "0"), dtype="category"),
    ],
)
@pytest.mark.trained
def test_known_anomalies_are_left_out(numbers, spell):
    bad = np.zeros(len(numbers), dtype=bool)
    bad[::7] = True
    x = np.where(bad[:, None], numbers * 5, numbers)
    labelled = VAEDetector(**QUICK).fit(x, spell(bad))
    clean = VAEDetector(**QUICK).fit(x[~bad])
    assert np.array_equal(labelled.anomaly_score(x), clean.anomaly_score(x))
    assert not np.array_equal(labelled.anomaly_score(x), VAEDetector(**QUICK).fit(x).anomaly_score(x))


def test_bad_labels(numbers):
    with pytest.raises(DataError, match="marks none of the 600 rows as normal"):
        VAEDetector(**QUICK).fit(numbers, np.ones(600))
    with pytest.raises(DataError, match="3 labels for 600 rows"):
        VAEDetector(**QUICK).fit(numbers, [0, 0, 1])
    with pytest.warns(UserWarning, match="y was ignored: it holds 3, 2, 1, 0, but"):
        VAEDetector(**QUICK).fit(numbers, np.arange(600)[::-1] % 4)


def test_label_column_of_a_schema(mixed, tmp_path):
    frame = mixed.drop(columns=["site"]).assign(state=np.where(np.arange(400) % 5 == 0, "attack", "normal"))
    infer_schema(frame, label="state").save(tmp_path / "schema.yaml")
    detector = VAEDetector(**QUICK, schema=str(tmp_path / "schema.yaml")).fit(frame)
    assert detector.calibration_.n == round(0.2 * 320)
    assert list(detector.feature_names_in_) == ["amount", "count", "paid", "colour", "when", "note"]
    # neither the label nor a dropped column is needed to score
    scores = detector.anomaly_score(frame.drop(columns=["state", "key"]))
    assert np.array_equal(scores, detector.anomaly_score(frame))


# -------------------------------------------------------------------- frames and arrays
@pytest.mark.trained
def test_mixed_frames(mixed):
    detector = GANomalyDetector(**QUICK, group="site").fit(mixed)
    names = [c.name for c in detector.schema_.features]
    assert names == ["amount", "count", "paid", "colour", "when", "note"]
    odd = mixed.copy()
    odd.loc[0, ["amount", "count"]] = [np.inf, np.nan]
    odd.loc[1, "colour"] = "never seen"
    odd.loc[2, "when"] = pd.NaT
    scores = detector.anomaly_score(odd)
    assert np.isfinite(scores).all()
    # a category never seen, and a value missing where training never lacked one, look worse than before
    assert (scores[:3] > detector.anomaly_score(mixed)[:3]).all()
    assert detector.explain(odd[:5]).shape == (5, len(names))


@pytest.mark.trained
def test_scores_depend_neither_on_the_batch_nor_on_the_order(mixed, numbers):
    detector = VAEDetector(**QUICK).fit(numbers)
    whole = detector.anomaly_score(numbers)
    assert np.allclose(whole, np.concatenate([detector.anomaly_score(row[None]) for row in numbers]), rtol=1.2e-7)
    order = np.random.default_rng(0).permutation(len(mixed))
    first = VAEDetector(**QUICK).fit(mixed)
    second = VAEDetector(**QUICK).fit(mixed.iloc[order])
    assert np.array_equal(first.anomaly_score(mixed), second.anomaly_score(mixed))
    assert first.offset_ == second.offset_


def test_arrays_take_a_short_way_to_the_same_feeds(numbers):
    x = numbers.copy()
    x[:30, 1] = np.nan
    detector = VAEDetector(**QUICK).fit(x)
    odd = np.concatenate([x, np.full((1, 6), np.inf), np.full((1, 6), 1e12)])
    feeds, slow = detector._feeds(odd), detector.encoder_.feeds(odd)
    assert detector.reader_._all_numbers() and feeds.keys() == slow.keys()
    for name in slow:
        assert np.array_equal(slow[name], feeds[name], equal_nan=True)
    assert np.array_equal(detector.encoder_.encode(feeds), detector.encoder_.encode(slow))
    assert np.isfinite(detector.anomaly_score(odd)).all()
    assert np.allclose(detector.anomaly_score(x.astype(np.float32)), detector.anomaly_score(x), rtol=1e-3)


def test_an_array_with_an_empty_column(numbers):
    x = numbers.copy()
    x[:, 2] = np.nan
    detector = VAEDetector(**QUICK).fit(x)
    assert detector.n_features_in_ == 6
    assert np.isfinite(detector.anomaly_score(numbers)).all()


def test_arrow_and_nullable_frames(mixed):
    pyarrow = pytest.importorskip("pyarrow")
    frame = mixed.drop(columns=["key", "note"])
    detector = VAEDetector(**QUICK).fit(frame)
    expected = detector.anomaly_score(frame)
    assert np.array_equal(detector.anomaly_score(pyarrow.Table.from_pandas(frame)), expected)
    nullable = frame.assign(count=frame["count"].astype("Int64"))
    assert np.array_equal(detector.anomaly_score(nullable), expected)


def test_bad_frames(mixed):
    detector = VAEDetector(**QUICK).fit(mixed)
    with pytest.raises(ValueError, match="missing:\n- amount"):
        detector.predict(mixed.drop(columns="amount"))
    with pytest.raises(ValueError, match="same order"):
        detector.predict(mixed[mixed.columns[::-1]])
    with pytest.raises(DataError, match="come twice: amount"):
        VAEDetector().fit(pd.concat([mixed, mixed[["amount"]]], axis=1))
    with pytest.raises(DataError, match="0 rows"):
        VAEDetector().fit(mixed.iloc[:0])
    with pytest.raises(DataError, match="is not a number"):
        detector.predict(mixed.assign(amount="many"))
    with pytest.raises(NotFittedError):
        VAEDetector().predict(mixed)


# -------------------------------------------------------------------- small data and parameters
@pytest.mark.parametrize("cls", ALL)
def test_ten_rows_are_enough_and_nine_are_not(cls, numbers):
    detector = cls(steps=20).fit(numbers[:10])
    assert np.isfinite(detector.anomaly_score(numbers)).all()
    assert set(detector.predict(numbers[:10])) <= {-1, 1}
    with pytest.raises(DataError, match="at least 10 normal rows.*n_samples=9"):
        cls(steps=20).fit(numbers[:9])


def test_constant_and_single_columns():
    one = VAEDetector(steps=30).fit(np.arange(40.0)[:, None])
    assert np.isfinite(one.anomaly_score([[1e9], [np.nan]])).all()
    same = VAEDetector(steps=30).fit(np.ones((40, 3)))
    scores = same.anomaly_score([[1.0, 1.0, 1.0], [1.0, 1.0, 2.0]])
    assert scores[1] > scores[0]


def test_bad_parameters(numbers):
    for parameters, message in [
        ({"alpha": 0.0}, "parameter 'alpha' must be above 0 and below 1, not 0.0"),
        ({"calibration_fraction": 0.0}, "calibration_fraction"),
        ({"calibration_fraction": 0.6, "validation_fraction": 0.5}, "nothing to train on"),
        ({"options": {"betta": 1.0}}, "did you mean 'beta'"),
        ({"device": "abacus"}, "device 'abacus'"),
        ({"schema": "/nowhere/schema.yaml"}, "schema file"),
    ]:
        with pytest.raises(ConfigError, match=message):
            VAEDetector(**{**QUICK, **parameters}).fit(numbers)
    with pytest.raises(ConfigError, match="does not detect"):
        Detector("gan").fit(numbers)


def test_no_validation_rows_means_no_early_stop(numbers):
    detector = VAEDetector(**QUICK, validation_fraction=0).fit(numbers)
    assert "validation" not in detector.history_.curves and detector.history_.steps == 60


@pytest.mark.trained
def test_early_stopping_ends_training(numbers):
    detector = VAEDetector(hidden=(8,), latent_dim=1, epochs=20_000, patience=1, learning_rate=0.05).fit(numbers[:60])
    assert detector.history_.stopped == "patience" and detector.history_.epochs < 20_000


@pytest.mark.trained
def test_random_state(numbers):
    first, second = (VAEDetector(**QUICK, random_state=s).fit(numbers).anomaly_score(numbers) for s in (5, 5))
    assert np.array_equal(first, second)
    other = VAEDetector(**QUICK, random_state=np.random.RandomState(0)).fit(numbers)
    assert not np.array_equal(first, other.anomaly_score(numbers))
    assert VAEDetector(**QUICK, random_state=None).fit(numbers).offset_ < 0


def test_the_world_is_left_as_it_was(numbers):
    before = torch.get_num_threads(), torch.get_rng_state(), np.random.get_state()[1].copy(), numbers.copy()
    VAEDetector(**QUICK).fit(numbers).predict(numbers)
    assert torch.get_num_threads() == before[0] and torch.equal(torch.get_rng_state(), before[1])
    assert np.array_equal(np.random.get_state()[1], before[2]) and np.array_equal(numbers, before[3])


def test_clones_and_copies_in_memory(fitted, numbers):
    copy = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(copy.p_value(numbers), fitted.p_value(numbers))
    assert clone(fitted).get_params() == fitted.get_params()
    schema = infer_schema(pd.DataFrame(numbers).rename(columns=lambda i: f"x{i}"))
    assert isinstance(clone(VAEDetector(schema=schema)).schema, Schema)


@pytest.mark.trained
def test_broken_dependence_is_found_and_explained(fitted, numbers):
    rows = numbers[:100].copy()
    rows[:, 3] += 2.0
    assert np.median(fitted.p_value(rows)) < 0.02 < np.median(fitted.p_value(numbers[:100]))
    contributions = fitted.explain(rows)
    assert contributions.shape == (100, 6) and contributions.dtype == np.float32
    assert (contributions.argmax(1) == 3).mean() > 0.5


@pytest.mark.parametrize("cls", ALL)
@pytest.mark.trained
def test_wide_tables_are_explained_by_residual_shares(cls):
    x = np.random.default_rng(6).normal(size=(60, 400))
    detector = cls(**QUICK).fit(x)
    rows = x[:4].copy()
    rows[:, 77] = 9.0
    contributions = detector.explain(rows)
    assert contributions.shape == (4, 400) and (contributions.argmax(1) == 77).all()


@pytest.mark.trained
def test_a_missing_value_that_never_was_is_explained(numbers):
    detector = VAEDetector(**QUICK).fit(numbers)
    rows = numbers[:5].copy()
    rows[:, 4] = np.nan
    assert (detector.explain(rows).argmax(1) == 4).all()
