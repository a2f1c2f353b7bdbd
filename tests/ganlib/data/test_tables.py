"""Schemas, encoders, their inverse and splits, over the types people bring."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganlib.data.codes import soft_clip, soft_unclip
from ganlib.data.encoder import TableEncoder
from ganlib.data.inference import infer_schema
from ganlib.data.schema import Schema
from ganlib.data.split import split_rows
from ganlib.errors import ConfigError, DataError


def mixed(rows=200, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "amount": rng.lognormal(size=rows),
            "count": rng.integers(0, 50, rows),
            "nullable": pd.array(rng.integers(0, 9, rows), dtype="Int64"),
            "flag": rng.random(rows) < 0.3,
            "maybe": pd.array(rng.random(rows) < 0.5, dtype="boolean"),
            "colour": pd.Categorical(rng.choice(["red", "green", "blue"], rows)),
            "kind": rng.choice(["a", "b", "c"], rows),
            "when": pd.date_range("2026-01-01", periods=rows, freq="7h", tz="Europe/Berlin"),
            "naive": pd.date_range("2025-03-01", periods=rows, freq="90min"),
        }
    )
    frame.loc[::7, "nullable"] = pd.NA
    frame.loc[::9, "maybe"] = pd.NA
    frame.loc[::11, "amount"] = np.nan
    frame.loc[::13, "kind"] = None
    return frame


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, 3] * 5, "integer"),
        ([1.5, 2.0, np.inf] * 5, "number"),
        ([1.0, 2.0, np.nan] * 5, "integer"),
        (pd.array([1, None, 3] * 5, dtype="Int64"), "integer"),
        (pd.array([True, None, False] * 5, dtype="boolean"), "boolean"),
        ([True, False, None] * 5, "boolean"),
        (["true", "false", "true"] * 5, "boolean"),
        (["a", "b", "c"] * 5, "category"),
        (["1.5", "2", ""] * 5, "number"),
        (["2026-01-01", "2026-02-03 10:00", None] * 5, "date"),
        (pd.Categorical([1, 2, 3] * 5), "category"),
        (pd.to_timedelta([1, 2, 3] * 5, unit="h"), "number"),
        (pd.array(["x", "y", None] * 5, dtype="string"), "category"),
        (pd.array([1.5, None, 3.0] * 5, dtype="Float64"), "number"),
        ([10**12, 2, 3] * 5, "integer"),
    ],
)
def test_kinds_are_inferred(values, kind):
    assert infer_schema(pd.DataFrame({"c": values})).column("c").kind == kind


def test_arrow_backed_types():
    frame = pd.DataFrame({"i": [1, 2, None] * 5, "s": ["a", "b", None] * 5}).convert_dtypes(dtype_backend="pyarrow")
    schema = infer_schema(frame)
    assert [c.kind for c in schema.columns] == ["integer", "category"]
    x = TableEncoder(schema).fit(frame).transform(frame)
    assert np.isfinite(x).all()


def test_free_text_becomes_features_and_identifiers_are_dropped():
    frame = pd.DataFrame(
        {
            "text": [f"the pump {i} failed after {i * i} hours" for i in range(150)],
            "id": [f"id{i:04d}" for i in range(150)],
            "empty": [None] * 150,
            "n": np.arange(150) % 40,
        }
    )
    schema = infer_schema(frame)
    assert schema.column("text").kind == "text"
    assert schema.column("id").role == "id" and schema.column("empty").role == "dropped"
    assert TableEncoder(schema).fit(frame).transform(frame).shape[1] == 6 + 32 + 1 + 1


def test_rare_values_are_not_stored():
    frame = pd.DataFrame({"c": ["common"] * 49 + ["secret-once"] + ["secret-thrice"] * 3, "n": range(53)})
    schema = infer_schema(frame)
    text = str(schema.to_dict()) + str(TableEncoder(schema).fit(frame).to_dict())
    assert "secret" not in text and schema.column("c").rare


def test_schema_round_trip_through_a_file_that_people_edit(tmp_path):
    schema = infer_schema(mixed(), label="kind")
    schema.save(tmp_path / "schema.yaml")
    assert Schema.load(tmp_path / "schema.yaml") == schema
    text = (tmp_path / "schema.yaml").read_text()
    (tmp_path / "broken.yaml").write_text(text.replace("kind: integer", "kind: whole", 1))
    with pytest.raises(ConfigError, match="whole"):
        Schema.load(tmp_path / "broken.yaml")
    (tmp_path / "newer.yaml").write_text(text.replace("version: 2", "version: 9", 1))
    with pytest.raises(ConfigError, match="version 9"):
        Schema.load(tmp_path / "newer.yaml")


@pytest.mark.parametrize("rows", [40, 400])
def test_inverse_restores_the_table(rows):
    frame = mixed(rows)
    encoder = TableEncoder(infer_schema(frame), for_generation=True).fit(frame)
    back = encoder.inverse(encoder.transform(frame))
    assert list(back.columns) == list(frame.columns)
    assert back.dtypes.astype(str).to_dict() == frame.dtypes.astype(str).to_dict()
    for name in ("count", "nullable", "flag", "maybe", "colour"):
        pd.testing.assert_series_equal(back[name], frame[name], check_names=False)
    assert back["kind"].isna().equals(frame["kind"].isna())
    assert np.allclose(back["amount"], frame["amount"], rtol=1e-3, equal_nan=True)
    assert (back["when"] - frame["when"]).abs().max() < pd.Timedelta("2min")


def test_generated_values_stay_within_the_schema():
    frame = mixed(300)
    encoder = TableEncoder(infer_schema(frame), for_generation=True).fit(frame)
    wild = 50 * np.random.default_rng(0).standard_normal((500, encoder.spec.dim)).astype(np.float32)
    back = encoder.inverse(wild)
    for name in ("amount", "count"):
        column = encoder.schema.column(name)
        assert back[name].min() >= column.minimum and back[name].max() <= column.maximum
    assert set(back["colour"].dropna()) <= {"red", "green", "blue"}


def test_encoding_is_row_by_row_and_ignores_column_order_and_extras():
    frame = mixed()
    encoder = TableEncoder(infer_schema(frame)).fit(frame)
    whole = encoder.transform(frame)
    shuffled = frame[frame.columns[::-1]].assign(extra=1)
    assert np.array_equal(encoder.transform(shuffled), whole)
    assert np.array_equal(encoder.transform(frame.iloc[5:6]), whole[5:6])


@settings(max_examples=60, deadline=None)
@given(
    number=st.floats(allow_nan=True, allow_infinity=True) | st.just(1e12),
    text=st.text(max_size=8),
    whole=st.integers(-(10**12), 10**12),
)
def test_any_value_encodes_to_something_finite(number, text, whole):
    encoder = test_any_value_encodes_to_something_finite.encoder
    row = pd.DataFrame({"n": [number], "c": pd.Series([text], dtype=object), "i": [whole]})
    x = encoder.transform(row)
    assert x.shape == (1, encoder.spec.dim) and np.isfinite(x).all()


_TRAIN = pd.DataFrame({"n": np.random.default_rng(0).permutation(20) / 19, "c": ["a", "b"] * 10, "i": range(20)})
test_any_value_encodes_to_something_finite.encoder = TableEncoder(infer_schema(_TRAIN)).fit(_TRAIN)


def test_a_missing_value_where_there_was_none_is_seen():
    encoder = TableEncoder(infer_schema(_TRAIN)).fit(_TRAIN)
    row = _TRAIN.iloc[[10]].assign(n=np.nan)
    assert encoder.transform(row)[0, -1] == 5.0 and encoder.transform(_TRAIN)[:, -1].max() == 0


def test_soft_clip_inverts_and_is_monotone():
    z = np.linspace(-1000, 1000, 4001)
    clipped = soft_clip(z)
    assert (np.diff(clipped) > 0).all() and np.allclose(soft_unclip(clipped), z, rtol=1e-9)


@pytest.mark.parametrize(
    ("frame", "error", "words"),
    [
        (pd.DataFrame({"a": []}), DataError, "0 rows"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), DataError, "twice: a"),
        (pd.DataFrame({"a": [None, None]}), DataError, "every value is missing"),
    ],
)
def test_unusable_frames_are_refused(frame, error, words):
    with pytest.raises(error, match=words):
        infer_schema(frame)


def test_data_against_the_schema_names_column_row_and_fix():
    encoder = TableEncoder(infer_schema(_TRAIN)).fit(_TRAIN)
    with pytest.raises(DataError, match="'n', row 1: 'abc' is not a number"):
        encoder.transform(pd.DataFrame({"n": ["1", "abc"], "c": ["a", "b"], "i": [1, 2]}))
    with pytest.raises(DataError, match=r"'count_'|missing"):
        encoder.transform(pd.DataFrame({"N": [1.0], "c": ["a"], "i": [1]}))
    with pytest.raises(DataError, match="no column 'lable'"):
        infer_schema(_TRAIN, label="lable")


def test_splits_are_disjoint_complete_and_deterministic():
    frame = pd.concat([mixed(150), mixed(150).iloc[:30]])
    parts = split_rows(frame, {"train": 0.7, "calibration": 0.3}, seed=1)
    again = split_rows(frame, {"train": 0.7, "calibration": 0.3}, seed=1)
    assert all(np.array_equal(parts[k], again[k]) for k in parts)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(180))
    texts = [set(frame.iloc[rows].map(str).agg("|".join, axis=1)) for rows in parts.values()]
    assert not texts[0] & texts[1], "equal rows land on one side"
    assert not np.array_equal(parts["train"], split_rows(frame, {"train": 0.7, "calibration": 0.3}, seed=2)["train"])


def test_splits_by_group_and_time():
    frame = mixed(100)
    parts = split_rows(frame, {"train": 0.6, "test": 0.4}, by="group", column="colour")
    assert not set(frame["colour"].iloc[parts["train"]]) & set(frame["colour"].iloc[parts["test"]])
    parts = split_rows(frame, {"train": 0.6, "test": 0.4}, by="time", column="when")
    assert frame["when"].iloc[parts["train"]].max() < frame["when"].iloc[parts["test"]].min()
    with pytest.raises(DataError, match="needed"):
        split_rows(frame.iloc[:4], {"train": 0.9, "test": 0.1}, least=2)
    with pytest.raises(ConfigError, match="needs a column"):
        split_rows(frame, {"train": 0.6, "test": 0.4}, by="time")
