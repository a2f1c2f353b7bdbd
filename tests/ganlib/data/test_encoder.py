"""The encoding law: positions, missing values, purity, finiteness, refusals."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganlib.data.codes import LIMIT, ColumnCode, soft_clip, soft_unclip
from ganlib.data.encoder import UNEXPECTED_WEIGHT, TableEncoder
from ganlib.data.feeds import make_feeds
from ganlib.data.inference import infer_schema
from ganlib.data.values import NO_DATE, as_microseconds, text_features
from ganlib.errors import ConfigError, DataError

_ROWS = 40
_SHUFFLED = np.random.default_rng(0).permutation(_ROWS)  # numbers that grow with the rows are no features
_TRAIN = pd.DataFrame(
    {
        "n": np.linspace(-1, 1, _ROWS)[_SHUFFLED],
        "gap": np.where(np.arange(_ROWS) % 4 == 0, np.nan, np.linspace(0, 9, _ROWS)[_SHUFFLED]),
        "c": ["a", "b"] * (_ROWS // 2),
        "i": np.arange(_ROWS) % 7,
        "d": pd.date_range("2026-01-01", periods=_ROWS, freq="5h"),
        "b": [True, False, True, True] * (_ROWS // 4),
        "t": [f"the pump {i} failed after {i * i} hours" for i in range(_ROWS)],
    }
)
_ENCODER = TableEncoder(infer_schema(_TRAIN)).fit(_TRAIN)
_CODE = {c.column: c for c in _ENCODER.codes}


def one(**values):
    row = {"n": 0.0, "gap": 1.0, "c": "a", "i": 1, "d": pd.Timestamp("2026-01-02"), "b": True, "t": "the pump"}
    return pd.DataFrame({k: pd.Series([v]) for k, v in {**row, **values}.items()})


def position(column, frame):
    code = _CODE[column]
    return _ENCODER.transform(frame)[0, code.start : code.start + code.width]


def test_numbers_are_scaled_and_softly_clipped():
    deviation = _TRAIN["n"].std(ddof=0)
    assert position("n", one(n=0.5)) == pytest.approx(0.5 / deviation, rel=1e-6)
    far = 1e12 / deviation
    assert position("n", one(n=1e12)) == pytest.approx(LIMIT + LIMIT * np.log(far / LIMIT), rel=1e-6)
    assert position("n", one(n=-1e12)) == pytest.approx(-position("n", one(n=1e12)))


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("for_generation", [False, True])
def test_figures_of_few_values_are_rounded(rows, for_generation):
    values = np.random.default_rng(rows).normal(50, 3, rows)
    frame = pd.DataFrame({"n": [*values, *[None] * (30 - rows)], "other": np.arange(30) % 7})
    code = TableEncoder(infer_schema(frame, for_generation=True), for_generation).fit(frame).codes[0]
    middle = code.median * code.scale + code.center
    for value in (code.center, code.center - code.scale, code.center + code.scale, middle):
        assert np.abs(value - values).min() > 1e-9, "no value of a single row"
    assert code.center == pytest.approx(values.mean(), abs=0.1) and middle == pytest.approx(np.median(values), abs=4)


def test_missing_numbers_take_the_median_and_raise_their_flag():
    present = _TRAIN["gap"].dropna()
    middle = np.sort(present)[len(present) // 2 - 2 : len(present) // 2 + 3].mean()
    expected = (middle - present.mean()) / present.std(ddof=0)
    for value in (np.nan, np.inf, -np.inf, None):
        assert position("gap", one(gap=value)) == pytest.approx([expected, 1.0], abs=1e-6)
    assert position("gap", one(gap=2.0))[1] == 0


def test_categories_have_places_for_rare_and_missing():
    for value, expected in (("a", [1, 0, 0, 0]), ("b", [0, 1, 0, 0]), ("zebra", [0, 0, 1, 0]), ("", [0, 0, 0, 1])):
        assert position("c", one(c=value)).tolist() == expected
    assert position("c", one(c=None)).tolist() == [0, 0, 0, 1]


def dated(**changes):
    schema = infer_schema(_TRAIN).with_column("d", **changes)
    encoder = TableEncoder(schema).fit(_TRAIN)
    code = next(c for c in encoder.codes if c.column == "d")
    return lambda when: encoder.transform(one(d=when))[0, code.start : code.start + code.width]


_MOMENT = pd.Timestamp("2026-01-01 12:00")  # a Thursday, as was 1970-01-01
_SECOND = int(np.datetime64(_MOMENT, "s").astype(np.int64))
_WAVES = {
    "day": [0, -1],
    "week": [np.sin(np.pi / 7), np.cos(np.pi / 7)],
    "year": [wave(2 * np.pi * (_SECOND % 31_556_952) / 31_556_952) for wave in (np.sin, np.cos)],
}


@pytest.mark.parametrize("clock", ["recurring", "absolute"])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("cycles", [("day",), ("week",), ("year", "day"), ("day", "week", "year")])
def test_dates_are_read_by_the_cycles_of_the_schema(clock, missing, cycles):
    encoded = dated(clock=clock, cycles=cycles, missing=missing)
    head = (clock == "absolute") + missing
    assert encoded(_MOMENT)[head:] == pytest.approx(sum((_WAVES[c] for c in cycles), []), abs=1e-6)
    assert encoded(pd.NaT)[head:].tolist() == [0] * 2 * len(cycles)
    later = encoded(_MOMENT + pd.Timedelta("5000D"))
    assert (abs(later[0]) > 10) == (clock == "absolute") and len(later) == head + 2 * len(cycles)
    if missing:
        assert (encoded(_MOMENT)[head - 1], encoded(pd.NaT)[head - 1]) == (0, 1)


def test_a_schema_from_before_clocks_reads_position_day_and_week():
    encoded = dated(clock=None, cycles=())(_MOMENT)
    assert encoded[1:] == pytest.approx(_WAVES["day"] + _WAVES["week"], abs=1e-6)
    assert len(dated(clock="absolute", cycles=())(_MOMENT)) == 1


@pytest.mark.parametrize("gone", [{"n": np.nan}, {"c": ""}, {"d": pd.NaT}, {"b": None}])
def test_a_missing_value_where_there_was_none_is_seen(gone):
    assert _ENCODER.transform(one(**gone))[0, -1] == UNEXPECTED_WEIGHT
    assert _ENCODER.transform(one(n=np.inf, c="", b=None))[0, -1] == 3 * UNEXPECTED_WEIGHT
    assert _ENCODER.transform(_TRAIN)[:, -1].max() == 0


def test_only_training_rows_are_looked_at():
    half = TableEncoder(infer_schema(_TRAIN)).fit(_TRAIN.iloc[:20])
    code = next(c for c in half.codes if c.column == "n")
    assert code.center == pytest.approx(_TRAIN["n"].iloc[:20].mean())


def test_spec_and_reference_cover_the_row():
    spec = _ENCODER.spec
    covered = sorted(p for b in spec.blocks for p in range(b.start, b.stop))
    assert covered == list(range(_ENCODER.width)) and spec.blocks[-1].column == ""
    kinds = {b.kind for b in spec.blocks if b.column == "gap"}
    assert kinds == {"number", "binary"}
    for code in _ENCODER.codes:
        assert len(code.reference) == code.width
        assert _ENCODER.reference[code.start : code.start + code.width] == pytest.approx(code.reference)


def test_an_encoder_survives_json():
    back = TableEncoder.from_dict(json.loads(json.dumps(_ENCODER.to_dict())))
    assert back.codes == _ENCODER.codes and back.spec == _ENCODER.spec
    assert np.array_equal(back.transform(_TRAIN), _ENCODER.transform(_TRAIN))
    with pytest.raises(ConfigError, match="unknown keys: centre"):
        ColumnCode.from_dict({"centre": 1})
    old = {"column": "d", "input": "d", "kind": "date", "start": 2, "width": 5}
    assert ColumnCode.from_dict(old | {"cyclic": True}).cycles == ("day", "week")
    assert ColumnCode.from_dict(old | {"cyclic": False}).cycles == ()


def test_encoding_is_row_by_row(table):
    encoder = TableEncoder(infer_schema(table)).fit(table)
    whole = encoder.transform(table)
    shuffled = np.random.default_rng(0).permutation(len(table))
    assert np.array_equal(encoder.transform(table.iloc[shuffled]), whole[shuffled])
    assert np.array_equal(encoder.transform(table[table.columns[::-1]].assign(extra=1)), whole)
    assert np.array_equal(encoder.transform(table.iloc[5:6]), whole[5:6])


_values = {
    "n": st.floats() | st.integers(-(10**300), 10**300).map(float),
    "gap": st.floats() | st.none(),
    "c": st.text(max_size=6) | st.none(),
    "i": st.integers(-(10**12), 10**12),
    "d": st.datetimes() | st.just(pd.NaT),
    "b": st.booleans() | st.none(),
    "t": st.text(max_size=30) | st.none(),
}


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.fixed_dictionaries(_values), min_size=1, max_size=4))
def test_any_row_is_finite_and_does_not_depend_on_the_others(rows):
    frame = pd.DataFrame({k: pd.Series([r[k] for r in rows], dtype=object) for k in _values})
    x = _ENCODER.transform(frame)
    assert x.dtype == np.float32 and x.shape == (len(rows), _ENCODER.width) and np.isfinite(x).all()
    last = pd.DataFrame({k: pd.Series([rows[-1][k]], dtype=object) for k in _values})
    assert np.array_equal(_ENCODER.transform(last)[0], x[-1])


@settings(max_examples=40, deadline=None)
@given(z=st.floats(-1000, 1000))
def test_soft_clip_inverts(z):
    z = np.array([z])
    assert soft_unclip(soft_clip(z)) == pytest.approx(z, rel=1e-9) and abs(soft_clip(z)[0]) <= abs(z[0])


def test_numbers_whose_squares_overflow():
    frame = pd.DataFrame({"v": np.random.default_rng(0).normal(size=200) * 1e300, "w": [1.0, 2.0] * 100})
    for generation in (False, True):
        x = TableEncoder(infer_schema(frame), generation).fit(frame).transform(frame)
        assert np.isfinite(x).all() and 0.5 < x[:, 0].std() < 1.5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.drop(columns=["n"]), "1 column is missing: 'n'"),
        (lambda f: f.rename(columns={"gap": "Gaps"}), "'gap': did you mean 'Gaps'"),
        (lambda f: f.assign(n=["x" if i == 3 else 1 for i in range(40)]), "'n', row 3: 'x' is not a number"),
        (lambda f: f.assign(n=f["d"]), "'n', row 0: .* is a date, not a number"),
        (lambda f: f.assign(n=[[1]] * 40), r"'n', row 0: \[1\] is no single value"),
        (lambda f: f.assign(c=[[1]] * 40), r"'c', row 0: \[1\] is no single value"),
        (lambda f: f.assign(d=20260101), "'d', row 0: 20260101 is a number, not a date"),
        (lambda f: f.assign(d=["2026-01-01"] * 39 + ["soon"]), "'d', row 39: 'soon' is not an ISO date"),
        (lambda f: f.assign(b=[True] * 9 + [2] * 31), r"'b', row 9: '2' is neither true nor false \(31 such"),
        (lambda f: pd.concat([f, f[["n"]]], axis=1), "come twice: n"),
        (lambda f: f.iloc[:0], "no rows"),
    ],
)
def test_data_against_the_schema_is_refused(change, words):
    with pytest.raises(DataError, match=words) as caught:
        _ENCODER.transform(change(_TRAIN))
    assert caught.value.exit_code == 4


def test_arrays_get_names():
    x = np.random.default_rng(0).normal(size=(30, 3))
    encoder = TableEncoder(infer_schema(x)).fit(x)
    assert [c.input for c in encoder.codes] == ["x0", "x1", "x2"]
    with pytest.raises(DataError, match="two dimensions"):
        encoder.transform(x[0])


# ------------------------------------------------------------------------------------------------ raw values
_ZONE = "Europe/Berlin"


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-07-01", "2026-06-30T22:00"),
        ("2026-07-01 10:00", "2026-07-01T08:00"),
        ("2026-07-01T10:00:00Z", "2026-07-01T10:00"),
        ("2026-07-01T10:00:00.25+05:30", "2026-07-01T04:30:00.25"),
        ("2026-10-25T02:30:00", "2026-10-25T00:30"),  # comes twice: the earlier
        ("0001-01-02", "0001-01-01T23:06:32"),
        ("9999-12-31T00:00:00", "9999-12-30T23:00"),
    ],
)
def test_times_are_read_in_their_zone(text, utc):
    expected = int(np.datetime64(utc, "us").astype(np.int64))
    assert as_microseconds(pd.Series([text, None, ""]), _ZONE).tolist() == [expected, NO_DATE, NO_DATE]


def test_many_dates_are_read_as_few_are():
    texts = pd.Series(pd.date_range("2026-01-01 00:30", periods=3000, freq="3h").strftime("%Y-%m-%dT%H:%M:%S"))
    texts[7], texts[8], texts[9] = "2026-03-29T02:30:00", "2026-05-05T05:05:05Z", ""
    few = np.concatenate([as_microseconds(texts.iloc[i : i + 500], _ZONE) for i in range(0, 3000, 500)])
    assert np.array_equal(as_microseconds(texts, _ZONE), few)


def test_text_features_by_hand():
    row = text_features(pd.Series(["Ab 1", None, ""]), 4)
    assert row[0, :6] == pytest.approx([np.log(5), 0.5, 0.25, 0.25, 0.25, 0.0])
    assert row[0, 6:].sum() == pytest.approx(1.0) and (row[1:] == 0).all()


def test_feeds_have_the_types_of_the_format():
    feeds = make_feeds(_ENCODER.schema, _TRAIN)
    types = {k: v.dtype for k, v in feeds.items()}
    assert types == {"n": float, "gap": float, "c": object, "i": float, "d": np.int64, "b": float, "t": np.float32}
