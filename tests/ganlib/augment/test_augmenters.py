"""Augmenters on a mixed table: counts, dtypes, unchanged originals, tiny classes, refusals, purity."""

import copy
import datetime as dt
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from sklearn.base import clone

from ganlib.augment import (
    MARK,
    CGANAugmenter,
    CVAEAugmenter,
    CVAEGANAugmenter,
    VAEAugmenter,
    as_augmenter,
)
from ganlib.data.inference import infer_schema
from ganlib.detect import VAEDetector
from ganlib.errors import ConfigError, DataError

torch.set_num_threads(1)
QUICK = {"steps": 20, "hidden": (16,), "latent_dim": 3}
KINDS = (CVAEAugmenter, CVAEGANAugmenter, CGANAugmenter, VAEAugmenter)
pytestmark = pytest.mark.filterwarnings("ignore:one row only")


def mixed(rows=120, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "amount": np.exp(rng.normal(size=rows)),
            "count": rng.integers(0, 9, rows) * (rng.random(rows) > 0.5),
            "colour": rng.choice(["red", "green", "blue"], rows),
            "grade": pd.Series(rng.choice([1, 2, None], rows)).astype("Int64"),
            "flag": rng.random(rows) > 0.5,
            "seen": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 9000, rows), unit="h"),
            "kind": pd.Categorical(rng.choice(["p", "q"], rows)),
            "note": [f"free text of row {i} {rng.random()}" for i in range(rows)],
        }
    )
    label = pd.Series(["no"] * (rows - 15) + ["yes"] * 10 + ["rare"] * 4 + ["one"], name="label")
    return frame, label


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.__name__)
def fitted(request):
    return request.param(**QUICK).fit(*mixed())


def test_fit_resample_keeps_originals_first_and_balances():
    frame, label = mixed()
    X, y = CVAEAugmenter(**QUICK).fit_resample(frame, label)
    assert y.value_counts().to_dict() == dict.fromkeys(["no", "yes", "rare", "one"], 105)
    pd.testing.assert_frame_equal(X.iloc[:120], frame)
    assert X.dtypes.equals(frame.dtypes)
    assert (y.iloc[:120] == label).all()


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("minority", {"a": 60, "b": 60, "c": 20}),
        ("not majority", {"a": 60, "b": 60, "c": 60}),
        ({"b": 17, "c": 33}, {"a": 60, "b": 17, "c": 33}),
    ],
)
def test_sampling_strategies(strategy, expected):
    X = np.random.default_rng(0).normal(size=(90, 3))
    y = np.repeat(["a", "b", "c"], [60, 10, 20])
    _, labels = CVAEAugmenter(sampling_strategy=strategy, curation=0.0, **QUICK).fit_resample(X, y)
    assert dict(zip(*np.unique(labels, return_counts=True), strict=True)) == expected


def test_float_strategy_is_the_ratio_of_minority_to_majority():
    X = np.random.default_rng(0).normal(size=(70, 3))
    y = np.repeat([0, 1], [60, 10])
    _, labels = CVAEAugmenter(sampling_strategy=0.5, curation=0.0, **QUICK).fit_resample(X, y)
    assert np.bincount(labels).tolist() == [60, 30]


def test_samples_have_exact_counts_and_lie_within_the_schema(fitted):
    from ganlib.augment.filters import schema_breaches

    made = fitted.sample(conditions={"yes": 7, "no": 0, "rare": 3, "one": 2})
    assert made["label"].value_counts().to_dict() == {"yes": 7, "rare": 3, "one": 2}
    generated = made.drop(columns=["label", "note"])
    assert not schema_breaches(fitted.schema_, generated).any()
    assert made["note"].isna().all()
    assert set(made["colour"]) <= {"red", "green", "blue"}
    assert made["count"].dtype == np.dtype("int64") and str(made["grade"].dtype) == "Int64"
    assert made["flag"].dtype == np.dtype(bool) and str(made["kind"].dtype) == "category"


def test_conditions_per_row_keep_their_order(fitted):
    asked = ["one", "no", "yes", "no", "rare", "rare", "no"]
    assert fitted.sample(7, asked)["label"].tolist() == asked


def test_class_shares_by_default(fitted):
    counts = fitted.sample(240)["label"].value_counts().to_dict()
    assert counts == {"no": 210, "yes": 20, "rare": 8, "one": 2}


def test_sampling_repeats_for_a_seed_and_differs_for_another(fitted):
    first, again, other = fitted.sample(9), fitted.sample(9), fitted.sample(9, random_state=5)
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


def test_it_survives_pickle_and_copy_in_memory(fitted):
    for twin in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted)):
        pd.testing.assert_frame_equal(fitted.sample(5), twin.sample(5))


def test_the_sampler_is_pure_and_what_generate_returns(fitted):
    sampler = fitted.algorithm_.sampler()
    z = np.random.default_rng(0).standard_normal((11, sampler.latent_dim), dtype=np.float32)
    y = torch.arange(11) % 4
    with torch.no_grad():
        whole = sampler(torch.from_numpy(z), y)
        parts = torch.cat([sampler(torch.from_numpy(z[:3]), y[:3]), sampler(torch.from_numpy(z[3:]), y[3:])])
    assert torch.allclose(whole, parts, atol=1e-4, rtol=1e-4)
    pd.testing.assert_frame_equal(fitted.generate(z, y.numpy()), fitted.encoder_.inverse(whole.numpy()))


def test_augment_marks_generated_rows_and_leaves_real_ones_alone():
    frame, label = mixed()
    table = frame.assign(label=label)
    out = CVAEAugmenter(**QUICK).augment(table, "label", rows=30, condition="yes")
    assert out[MARK].dtype == np.dtype(bool)
    assert out[MARK].tolist() == [False] * 120 + [True] * 30
    pd.testing.assert_frame_equal(out.iloc[:120].drop(columns=MARK), table)
    assert (out.loc[out[MARK], "label"] == "yes").all()
    only = CVAEAugmenter(**QUICK).augment(table, "label", rows=4, only_synthetic=True)
    assert len(only) == 4 and only[MARK].all()


def test_rows_are_shared_as_classes_lack_them():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(90, 2)), columns=["a", "b"])
    X["y"] = np.repeat([0, 1, 2], [60, 10, 20])
    made = CVAEAugmenter(**QUICK).augment(X, "y", rows=45, only_synthetic=True)
    assert made["y"].value_counts().to_dict() == {1: 25, 2: 20}


def test_unlabelled_rows_are_kept_but_not_learned_from():
    frame, label = mixed()
    table = frame.assign(label=label.where(np.arange(120) != 3, None))
    out = CVAEAugmenter(**QUICK).augment(table, "label", rows=2)
    assert len(out) == 122 and pd.isna(out.loc[3, "label"])
    assert out.loc[out[MARK], "label"].notna().all()


def test_without_labels_the_whole_table_is_learned():
    frame, _ = mixed()
    for kind in (CVAEAugmenter, VAEAugmenter):
        augmenter = kind(**QUICK)
        assert len(augmenter.fit(frame).sample(6)) == 6
        assert augmenter.conditions_ == []
        assert augmenter.augment(frame, rows=5)[MARK].sum() == 5


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_ten_rows_with_classes_of_five_two_and_three(kind):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=10), "b": rng.integers(0, 3, 10)})
    Xr, yr = kind(**QUICK).fit_resample(X, pd.Series([0] * 5 + [1] * 2 + [2] * 3))
    assert yr.value_counts().to_dict() == {0: 5, 1: 5, 2: 5}
    assert Xr.notna().all().all()
    assert Xr["a"].between(X["a"].min() - 0.01, X["a"].max() + 0.01).all()


@pytest.mark.trained
def test_one_row_classes_are_spread_and_warned_of():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": np.r_[rng.normal(size=60), 2.0], "b": np.r_[rng.normal(size=60), -1.0]})
    with pytest.warns(UserWarning, match="one row only in class 1"):
        augmenter = CVAEAugmenter(steps=200).fit(X, pd.Series([0] * 60 + [1]))
    made = augmenter.sample(50, 1)
    assert made["a"].std() > 0.05
    assert made["a"].mean() > augmenter.sample(50, 0)["a"].mean()


@pytest.mark.trained
def test_missing_values_come_back_as_often():
    rng = np.random.default_rng(0)
    a = pd.Series(rng.normal(size=400)).where(rng.random(400) > 0.4)
    X = pd.DataFrame({"a": a, "b": rng.normal(size=400)})
    made = CVAEAugmenter(steps=600, curation=0.0).fit(X, np.repeat([0, 1], 200)).sample(1000)
    assert abs(made["a"].isna().mean() - a.isna().mean()) < 0.08


def test_clone_and_parameters():
    augmenter = CVAEGANAugmenter(latent_dim=5, options={"critic_match": 0.1}, random_state=3)
    twin = clone(augmenter)
    assert twin.get_params() == augmenter.get_params()
    assert twin.set_params(steps=9).steps == 9


def test_as_augmenter_takes_models_options_and_refuses_unknown_ones():
    augmenter = as_augmenter("cvae_gan", critic_match=0.1, steps=5)
    assert isinstance(augmenter, CVAEGANAugmenter) and augmenter.options == {"critic_match": 0.1}
    with pytest.raises(ConfigError, match="no option 'colour'"):
        as_augmenter("cvae", colour=1)
    with pytest.raises(ConfigError, match="no model is called"):
        as_augmenter("cvea")
    X = np.random.default_rng(0).normal(size=(40, 3))
    made, labels = as_augmenter("wgan_gp", steps=5).fit(X, np.repeat([0, 1], 20)).sample(4, [1, 0, 0, 1])
    assert made.shape == (4, 3) and labels.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a, X, y: a.fit(X, np.zeros(len(X))), DataError, "one class"),
        (lambda a, X, y: a.fit(X, y[:5]), DataError, "rows and y"),
        (lambda a, X, y: a.fit(X.iloc[:1]), DataError, "at least 2 examples"),
        (
            lambda a, X, y: a.set_params(schema=infer_schema(X)).fit(X.drop(columns="b"), y),
            DataError,
            "column is missing: 'b'",
        ),
        (lambda a, X, y: a.fit(X * 0 + 1, y), DataError, "every column holds a single value"),
        (lambda a, X, y: a.augment(X.assign(y=y), "z"), DataError, "no column 'z'"),
        (lambda a, X, y: a.augment(X.assign(y=y, _synthetic=False), "y"), DataError, "_synthetic"),
        (lambda a, X, y: a.augment(X), ConfigError, "number of rows to generate"),
        (lambda a, X, y: a.augment(X, rows=3, counts={0: 2}), ConfigError, "name the label column"),
        (lambda a, X, y: a.augment(X.assign(y=y), "y", 3, counts={0: 2}), ConfigError, "leave out rows"),
        (lambda a, X, y: a.augment(X.assign(y=y), "y", -3), ConfigError, "rows must be a whole number"),
        (lambda a, X, y: a.augment(X.assign(y=y), "y", counts={5: 2}), ConfigError, "no class 5; the classes are 0, 1"),
        (lambda a, X, y: a.fit(X.set_axis(["a", "a"], axis=1), y), DataError, "must be unique"),
        (lambda a, X, y: a.fit(X, X["a"]), DataError, "continuous.*qcut"),
        (lambda a, X, y: a.fit({"x": X, "y": y}), DataError, "fit\\(data\\['x'\\]"),
        (
            lambda a, X, y: a.fit_resample(X.assign(id=range(30)), [0] * 20 + [1] * 10),
            DataError,
            "'id' is not generated .*identifier.*int64 cannot hold missing",
        ),
        (lambda a, X, y: a.fit(X, y).sample(3, "maybe"), ConfigError, "no class 'maybe'"),
        (lambda a, X, y: a.fit(X, y).sample(3, {0: 2}), ConfigError, "add up to 2"),
        (lambda a, X, y: a.fit(X, y).sample(-1), ConfigError, "whole number"),
        (lambda a, X, y: a.set_params(balance=2).fit(X, y), ValueError, "balance"),
        (lambda a, X, y: as_augmenter("ganomaly"), ConfigError, "does not generate"),
    ],
)
def test_refusals_name_the_thing_and_the_fix(call, error, message):
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 2)), columns=["a", "b"])
    y = pd.Series(np.repeat([0, 1], 15))
    with pytest.raises(error, match=message):
        call(CVAEAugmenter(**{**QUICK, "steps": 2}), X, y)


def test_columns_keep_names_that_are_no_strings():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 2))).assign(label=["a", "b"] * 20)
    made = CVAEAugmenter(**QUICK).augment(frame, "label", rows=6)
    assert list(made.columns) == [0, 1, "label", MARK] and made.notna().all().all()
    made = CVAEAugmenter(**QUICK).augment(frame.set_axis([0, 1, 2], axis=1), 2, rows=6)
    assert list(made.columns) == [0, 1, 2, MARK] and made.notna().all().all()


def test_what_would_surprise_is_warned_of():
    rng = np.random.default_rng(0)
    X, y = pd.DataFrame(rng.normal(size=(40, 2)), columns=["a", "b"]), pd.Series([0, 1] * 20, name="y")
    augmenter = CVAEAugmenter(**QUICK)
    with pytest.warns(UserWarning, match="missing in generated rows: 'id' .*identifier"):
        assert augmenter.fit(X.assign(id=range(40)), y).sample(3)["id"].isna().all()
    with pytest.warns(UserWarning, match="'y', is also a column of X"):
        augmenter.fit(X.assign(y=y), y)


@pytest.mark.trained
def test_same_seed_same_rows():
    X = np.random.default_rng(0).normal(size=(60, 3))
    y = np.repeat([0, 1], [50, 10])
    first, second = (CVAEGANAugmenter(**QUICK, random_state=7).fit_resample(X, y)[0] for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, CVAEGANAugmenter(**QUICK, random_state=8).fit_resample(X, y)[0])


@pytest.mark.parametrize("column", [True, False])
def test_labels_of_another_library_come_back_as_they_were(column):
    """Arrow stands for every library that narwhals opens."""
    rng = np.random.default_rng(0)
    frame = pa.table({"v": rng.normal(size=60), "w": pa.array(rng.choice(["a", "b"], 60), pa.string_view())})
    y = pa.chunked_array([pa.array([1] * 40, pa.int16()), pa.array([2] * 20, pa.int16())])
    given = pa.table({"label": y}) if column else y
    made, labels = CVAEAugmenter(steps=10, random_state=0).fit_resample(frame, given)
    assert type(made) is pa.Table and made.num_rows == 80
    assert type(labels) is type(given) and len(labels) == 80
    values = labels["label"] if column else labels
    assert values.type == pa.int16() and values.to_pylist().count(2) == 40


def test_polars_frames_are_read_and_come_back_as_polars():
    rng = np.random.default_rng(0)
    when = pl.datetime_range(dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 3, 11), "1h", eager=True)
    frame = pl.DataFrame({"v": rng.normal(size=60), "w": rng.choice(["a", "b"], 60), "when": when})
    made, labels = CVAEAugmenter(steps=10, random_state=0).fit_resample(frame, pl.Series("label", [1] * 40 + [2] * 20))
    assert type(made) is pl.DataFrame and made.schema == frame.schema and made.head(60).equals(frame)
    assert type(labels) is pl.Series and labels.dtype == pl.Int64 and labels.to_list().count(2) == 40
    detector = VAEDetector(steps=10, random_state=0).fit(frame)
    assert np.array_equal(detector.score_samples(frame), detector.score_samples(frame.to_pandas()))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
@pytest.mark.parametrize("coded", [False, True])
def test_every_text_of_arrow_is_the_same_text(kind, coded):
    from serving.table.arrow import flat

    texts = ["a", None, "b", "a"]
    plain = pa.array(texts, pa.string()).cast(kind)
    if coded:
        plain = pa.DictionaryArray.from_arrays(pa.array([0, None, 1, 0], pa.uint32()), pa.array(["a", "b"]).cast(kind))
    for values in (plain, pa.chunked_array([plain, plain[:2]])):
        assert flat(values).to_pylist()[:4] == texts
        assert pa.types.is_string(flat(values).type) or pa.types.is_large_string(flat(values).type)
