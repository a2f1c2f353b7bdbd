"""Splits are complete, disjoint, deterministic, and keep together what belongs together."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganlib.data.content import row_hash
from ganlib.data.read import read_table
from ganlib.data.split import split_rows
from ganlib.errors import ConfigError, DataError
from tests.ganlib.data.kinds import KINDS, NO_PARQUET

PARTS = {"train": 0.6, "validation": 0.1, "calibration": 0.2, "test": 0.1}


def sides(frame, parts):
    side = np.empty(len(frame), dtype=object)
    for name, rows in parts.items():
        side[rows] = name
    return side


def test_all_rows_once_and_in_the_shares_asked_for(table):
    parts = split_rows(table, PARTS, seed=3)
    assert list(parts) == list(PARTS)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(table)))
    assert {k: len(v) for k, v in parts.items()} == {"train": 144, "validation": 24, "calibration": 48, "test": 24}
    assert all((np.diff(rows) > 0).all() for rows in parts.values())


def test_the_seed_decides(table):
    one, same, other = (split_rows(table, PARTS, seed=s) for s in (1, 1, 2))
    assert all(np.array_equal(one[k], same[k]) for k in PARTS)
    moved = (sides(table, one) != sides(table, other)).mean()
    assert moved == pytest.approx(1 - sum(s**2 for s in PARTS.values()), abs=0.15)


def test_copies_stay_together_and_order_does_not_matter(table):
    doubled = pd.concat([table, table.iloc[:90], table.iloc[:30]], ignore_index=True)
    side = sides(doubled, split_rows(doubled, PARTS))
    assert (side[240:330] == side[:90]).all() and (side[330:] == side[:30]).all()
    turned = np.random.default_rng(0).permutation(len(doubled))
    assert (sides(doubled, split_rows(doubled.iloc[turned], PARTS)) == side[turned]).all()


def test_the_same_rows_in_other_dtypes_fall_alike(table):
    frame = table[["count", "flag", "word", "colour", "grade", "day"]]
    other = frame.assign(
        count=frame["count"].astype("Int64"),
        flag=frame["flag"].astype("boolean"),
        word=frame["word"].astype("category"),
        colour=frame["colour"].astype(object),
        grade=frame["grade"].astype("float64"),
        day=frame["day"].astype("datetime64[s]"),
    )
    assert np.array_equal(row_hash(frame), row_hash(other))
    assert np.array_equal(row_hash(frame), row_hash(frame.convert_dtypes(dtype_backend="pyarrow")))


@pytest.mark.parametrize("kind", list(KINDS))
def test_files_of_one_table_fall_alike(tmp_path, kind):
    frame = pd.DataFrame({"c": KINDS[kind]})
    hashes = row_hash(frame)
    distinct = frame["c"].astype(str).nunique(dropna=False)
    assert len(np.unique(hashes)) == distinct, "each value counts"
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert np.array_equal(row_hash(read_table(tmp_path / "t.csv")), hashes)
    if kind not in NO_PARQUET:
        frame.to_parquet(tmp_path / "t.parquet")
        assert np.array_equal(row_hash(read_table(tmp_path / "t.parquet")), hashes)


def test_one_table_trains_one_detector_from_either_file(tmp_path):
    """Both halves of a training: the parts of the job, and the rows that the detector keeps back."""
    from ganlib import VAEDetector

    kinds = ("int", "float with gaps", "bool", "times", "words", "decimal commas", "category of int", "Decimal")
    frame = pd.DataFrame({kind: KINDS[kind] for kind in kinds})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    scores = []
    for file in ("t.csv", "t.parquet"):
        rows = read_table(tmp_path / file)
        parts = split_rows(rows, {"train": 0.7, "test": 0.3}, seed=2)
        fitted = VAEDetector(steps=20, random_state=0).fit(rows.iloc[parts["train"]])
        scores.append(fitted.score_samples(rows.iloc[parts["test"]]))
    assert len(scores[0]) == 36 and np.unique(scores[0]).size > 30
    np.testing.assert_array_equal(*scores)


def test_whole_numbers_beyond_floats_count_digit_by_digit(tmp_path):
    frame = pd.DataFrame({"id": [2**60, 2**60 + 1, 0, -(2**60)] * 5})
    frame.to_csv(tmp_path / "t.csv", index=False)
    hashes = row_hash(frame)
    assert len(np.unique(hashes)) == 4 and np.array_equal(row_hash(read_table(tmp_path / "t.csv")), hashes)


def test_words_for_missing_are_missing():
    words = pd.Series([1.5, None, None, np.nan, 2.0], dtype=object)
    hashes = row_hash(pd.DataFrame({"c": words}))
    assert np.array_equal(hashes, row_hash(pd.DataFrame({"c": ["1.5", "n/a", "", "NA", "2"]})))


def test_every_value_of_a_row_counts(table):
    hashes = row_hash(table)
    assert len(np.unique(hashes)) == len(table)
    frame = pd.DataFrame({"a": [0, 1, 0, 2**60, 2**60 + 1], "b": [1, 0, 0, 0, 0], "c": [[1], [1], [2], [2], [2]]})
    assert len(np.unique(row_hash(frame))) == 5
    assert len(np.unique(row_hash(frame[["c"]]))) == 2


def test_groups_stay_whole():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"patient": rng.integers(0, 60, 600).astype(float), "x": rng.normal(size=600)})
    frame.loc[::50, "patient"] = np.nan
    parts = split_rows(frame, {"train": 0.7, "test": 0.3}, by="group", column="patient")
    train, test = (set(frame["patient"].iloc[rows].fillna(-1)) for rows in parts.values())
    assert not train & test and len(train | test) == 61
    assert len(parts["train"]) == pytest.approx(420, abs=25)
    with pytest.raises(DataError, match="in more values of 'patient'"):
        split_rows(frame.assign(patient=1), {"train": 0.7, "test": 0.3}, by="group", column="patient")


@pytest.mark.parametrize(
    "make",
    [
        lambda t: t,
        lambda t: t.dt.tz_localize("UTC"),
        lambda t: t.dt.strftime("%Y-%m-%d %H:%M"),
        lambda t: t.astype("int64"),
        lambda t: t.astype("int64").astype("Int64"),
        lambda t: t.astype("timestamp[us][pyarrow]"),
        lambda t: t - t.min(),
    ],
)
def test_time_is_ordered_and_equal_times_stay_together(make):
    times = pd.Series(pd.date_range("2026-01-01", periods=40, freq="h").repeat(5))
    times = times.sample(frac=1, random_state=0).reset_index(drop=True)
    frame = pd.DataFrame({"when": make(times)})
    parts = split_rows(frame, {"train": 0.63, "calibration": 0.2, "test": 0.17}, by="time", column="when")
    train, calibration, test = (times.iloc[rows] for rows in parts.values())
    assert train.max() < calibration.min() and calibration.max() < test.min()
    assert sum(map(len, parts.values())) == 200 and len(train) == 130


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.integers(0, 20), min_size=30, max_size=200),
    shares=st.lists(st.floats(0.05, 1), min_size=1, max_size=4),
    seed=st.integers(0, 2**40),
)
def test_laws_of_any_split(values, shares, seed):
    total = sum(shares)
    fractions = {f"p{i}": s / total for i, s in enumerate(shares)}
    frame = pd.DataFrame({"v": values})
    parts = split_rows(frame, fractions, seed=seed, least=0)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(values)))
    assert len(pd.DataFrame({"v": values, "side": sides(frame, parts)}).drop_duplicates()) == len(set(values))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (
            {"fractions": {"train": 0.9, "test": 0.1}, "least": 2},
            DataError,
            "test part .* about 20 different",
        ),
        ({"fractions": {"train": 0.9, "test": 0.2}}, ConfigError, "sum to 1"),
        ({"fractions": {"train": 1.1, "test": -0.1}}, ConfigError, "positive"),
        ({"fractions": {"train": float("nan")}}, ConfigError, "positive"),
        ({"fractions": {}}, ConfigError, "positive"),
        ({"fractions": {"train": 1.0}, "by": "luck"}, ConfigError, "not by 'luck'"),
        ({"fractions": {"train": 1.0}, "by": "time"}, ConfigError, "needs a column; name one of 'when', 'x'"),
        ({"fractions": {"train": 1.0}, "by": "group", "column": "wehn"}, ConfigError, "did you mean 'when'"),
        ({"fractions": {"train": 1.0}, "by": "time", "column": "when"}, DataError, "'when', row 2: no time"),
    ],
)
def test_bad_splits_are_refused(options, error, words):
    frame = pd.DataFrame({"when": ["2026-01-01", "2026-01-02", None, "2026-01-04"], "x": [1, 2, 3, 4]})
    with pytest.raises(error, match=words):
        split_rows(frame, **options)
