"""From encoded rows back to the table: every dtype, bounds, whole numbers, categories, missing values."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganlib.data.codes import LIMIT
from ganlib.data.encoder import TableEncoder
from ganlib.data.inference import infer_schema
from ganlib.data.inverse import decode_feeds, to_series
from ganlib.data.schema import Column
from ganlib.errors import ConfigError, DataError

ROWS = 120
_RNG = np.random.default_rng(3)
_WHOLE = _RNG.integers(0, 40, ROWS)
_WORDS = [f"v{b % 4}" for b in _WHOLE]
_STAMPS = pd.Series(pd.date_range("2026-01-01", periods=ROWS, freq="7h"))


def arrow(values, kind):
    return pd.Series(pd.array(pa.array(values, type=kind), dtype=pd.ArrowDtype(kind)))


def gaps(series):
    out = series.copy()
    out[::7] = None if out.dtype == object else pd.NA
    return out


_COLUMNS = {
    **{d: pd.Series(_WHOLE).astype(d) for d in ("int8", "int64", "uint64", "float32", "float64")},
    **{d: gaps(pd.Series(_WHOLE).astype(d)) for d in ("Int64", "UInt8", "Float64")},
    "float with gaps": gaps(pd.Series(_WHOLE).astype("float64") + 0.5),
    "bool": pd.Series(_WHOLE % 2 == 0),
    "boolean": gaps(pd.Series(_WHOLE % 2 == 0).astype("boolean")),
    **{f"words as {d}": gaps(pd.Series(_WORDS).astype(d)) for d in ("object", "str", "string")},
    "numbers as words": pd.Series([str(v) for v in _WHOLE]),
    "codes": pd.Series([f"0{b % 9}12" for b in _WHOLE]),
    "objects of bool": pd.Series([True, None, False] * 40, dtype=object),
    "objects of int": pd.Series([1, None, 3] * 40, dtype=object),
    "objects of float": pd.Series([1.5, None, 3.25] * 40, dtype=object),
    "objects of Decimal": pd.Series([Decimal("1.5"), None, Decimal("2.25")] * 40, dtype=object),
    "objects of date": pd.Series([dt.date(2026, 1, 1) + dt.timedelta(int(b)) for b in _WHOLE], dtype=object),
    "objects of datetime": pd.Series(list(_STAMPS.dt.to_pydatetime()), dtype=object),
    "days as words": _STAMPS.dt.strftime("%Y-%m-%d"),
    "times as words": _STAMPS.dt.strftime("%Y-%m-%dT%H:%M:%S"),
    "UTC times as words": gaps(_STAMPS.dt.strftime("%Y-%m-%dT%H:%M:%SZ").astype(object)),
    **{f"datetime64[{u}]": gaps(_STAMPS.astype(f"datetime64[{u}]")) for u in ("s", "ms", "us", "ns")},
    "in New York": _STAMPS.dt.tz_localize("America/New_York", nonexistent="shift_forward"),
    "at +02:00": _STAMPS.dt.tz_localize(dt.timezone(dt.timedelta(hours=2))),
    "whole days in Tokyo": _STAMPS.dt.normalize().dt.tz_localize("Asia/Tokyo"),
    "period": pd.Series(pd.period_range("2026-01-01", periods=ROWS, freq="D")),
    "category": gaps(pd.Series(pd.Categorical(_WORDS))),
    "ordered": pd.Series(pd.Categorical(["low", "mid", "high"] * 40, ["low", "mid", "high"], ordered=True)),
    "category of int": gaps(pd.Series(pd.Categorical(_WHOLE % 3))),
    "category of bool": pd.Series(pd.Categorical(_WHOLE % 2 == 0)),
    "arrow int64": gaps(arrow(_WHOLE, pa.int64())),
    "arrow double": arrow(_WHOLE.astype(float), pa.float64()),
    "arrow bool": gaps(arrow(_WHOLE % 2 == 0, pa.bool_())),
    "arrow string": gaps(arrow(_WORDS, pa.string())),
    "arrow large_string": arrow(_WORDS, pa.large_string()),
    "arrow dictionary": arrow(_WORDS, pa.dictionary(pa.int32(), pa.string())),
    "arrow timestamp": arrow(_STAMPS, pa.timestamp("us")),
    "arrow timestamp in zone": arrow(_STAMPS.dt.tz_localize("Europe/Paris"), pa.timestamp("us", "Europe/Paris")),
    "arrow date32": arrow(_STAMPS.dt.date, pa.date32()),
    "arrow decimal": arrow([Decimal("1.50"), None, Decimal("2.25")] * 40, pa.decimal128(10, 2)),
    "sparse": pd.Series(pd.arrays.SparseArray(_WHOLE.astype(float))),
    "constant": pd.Series(np.full(ROWS, 1234.5678)),
    "constant day": pd.Series([pd.Timestamp("2026-03-04 05:06:07.123456")] * ROWS),
}


@pytest.mark.parametrize("name", list(_COLUMNS))
def test_every_dtype_comes_back(name):
    series = _COLUMNS[name]
    frame = pd.DataFrame({"c": series, "noise": _RNG.normal(size=ROWS)})
    schema = infer_schema(frame, for_generation=True)
    for detector in (schema, infer_schema(frame)):
        assert np.isfinite(TableEncoder(detector).fit(frame).transform(frame)).all()
    encoder = TableEncoder(schema, for_generation=True).fit(frame)
    back = encoder.inverse(encoder.transform(frame))["c"]
    assert back.dtype == series.dtype
    assert back.isna().equals(series.isna())
    present = series.notna()
    if series.dtype == float:  # what passes through float32 comes back nearly
        assert list(back[present]) == pytest.approx(list(series[present]), rel=1e-6, abs=1e-6)
    else:
        assert list(back[present]) == list(series[present])
    assert [type(v) for v in back[present]] == [type(v) for v in series[present]]


def test_timedeltas_come_back_nearly():
    frame = pd.DataFrame({"c": pd.Series(pd.to_timedelta(_WHOLE, unit="h"))})
    encoder = TableEncoder(infer_schema(frame, for_generation=True), for_generation=True).fit(frame)
    back = encoder.inverse(encoder.transform(frame))["c"]
    assert back.dtype == frame["c"].dtype and (back - frame["c"]).abs().max() < pd.Timedelta("50ms")


@pytest.mark.parametrize("rows", [40, 240])
@pytest.mark.parametrize("numeric", ["quantile", "standard"])
def test_the_table_comes_back(table, rows, numeric):
    frame = table.iloc[:rows]
    encoder = TableEncoder(infer_schema(frame, for_generation=True), for_generation=True, numeric=numeric).fit(frame)
    assert any(c.knots for c in encoder.codes) == (numeric == "quantile")
    back = encoder.inverse(encoder.transform(frame))
    pd.testing.assert_frame_equal(back, frame, rtol=1e-3)


def test_generated_values_stay_within_the_schema(table):
    encoder = TableEncoder(infer_schema(table, for_generation=True), for_generation=True).fit(table)
    wild = 50 * np.random.default_rng(0).standard_normal((500, encoder.spec.dim)).astype(np.float32)
    back = encoder.inverse(wild)
    assert back.dtypes.equals(table.dtypes)
    for name in ("amount", "count", "grade"):
        column = encoder.schema.column(name)
        assert column.minimum <= back[name].min() and back[name].max() <= column.maximum
    assert back["day"].min() >= table["day"].min() and (back["day"] == back["day"].dt.normalize()).all()
    assert set(back["word"].dropna()) == {"a", "b", "c"}
    assert back["grade"].isna().any() and not back["count"].isna().any()
    assert encoder.inverse(wild[:0]).dtypes.equals(table.dtypes)


def test_the_way_back_needs_an_encoder_for_it(table):
    encoder = TableEncoder(infer_schema(table, for_generation=True)).fit(table)
    with pytest.raises(DataError, match="for_generation=True"):
        encoder.inverse(encoder.transform(table))
    encoder = TableEncoder(infer_schema(table, for_generation=True), for_generation=True).fit(table)
    with pytest.raises(DataError, match="values each"):
        decode_feeds(encoder, np.zeros((3, 2)))
    with pytest.raises(ConfigError, match="ranks"):
        TableEncoder(infer_schema(table, for_generation=True), numeric="ranks")


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("object", ["1", None]),
        ("category", ["1", None]),
        ("category:ordered", ["1", None]),
        ("category:int64", [1, None]),
        ("Int64", [1, None]),
        ("int64", [1.0, None]),
    ],
)
def test_without_the_real_words_a_rare_one_is_missing(dtype, expected):
    column = Column("c", "category", dtype=dtype, categories=("1", "2"), rare=True)
    back = to_series(column, np.array(["1", ""], dtype=object), "UTC")
    assert [None if pd.isna(v) else v for v in back] == expected


_CONSTANTS = {
    "small": 7.5, "large": 1_234_567.25, "negative": -98_765_432.5, "whole": 987_654_321, "huge": 1e200,
    "tiny": 1e-200, "zero": 0.0, "flag": True, "year one": pd.Timestamp("0001-01-01 05:06:07"),
    "epoch": pd.Timestamp("1970-01-01 00:00:01"), "now": pd.Timestamp("2026-07-15 13:14:15.123456"),
    "span": pd.Timedelta("1000 days 00:00:01"), "clock": dt.time(23, 59, 59),
}  # fmt: skip


@pytest.mark.parametrize("numeric", ["quantile", "standard"])
@pytest.mark.parametrize("present", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("name", _CONSTANTS)
def test_a_constant_comes_back_however_few_hold_it(name, present, numeric):
    value = _CONSTANTS[name]
    frame = pd.DataFrame({"v": pd.Series([value] * present + [None] * (6 - present)), "x": range(6)})
    if name == "year one":
        frame["v"] = frame["v"].astype("datetime64[us]")
    encoder = TableEncoder(infer_schema(frame, for_generation=True), for_generation=True, numeric=numeric).fit(frame)
    encoded = encoder.transform(frame)
    assert np.abs(encoded).max() <= LIMIT
    back = encoder.inverse(encoded)["v"].dropna()
    assert len(back) == present
    for got in back:
        if isinstance(value, dt.time):
            assert got == value
        elif isinstance(value, (pd.Timestamp, pd.Timedelta)):
            assert abs(got - value) <= pd.Timedelta("1s")
        else:
            assert got == pytest.approx(value, rel=1e-6)


# ------------------------------------------------------------------------------------------------ any table
_CELLS = {
    "number": st.floats(-1e6, 1e6, width=32) | st.none(),
    "whole": st.integers(-(10**6), 10**6),
    "flag": st.booleans() | st.none(),
    "word": st.sampled_from(["a", "b", "rare", "é", None]),
    "when": st.datetimes(dt.datetime(1950, 1, 1), dt.datetime(2050, 1, 1)).map(lambda t: t.replace(microsecond=0)),
}


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.fixed_dictionaries(_CELLS), min_size=2, max_size=12), copies=st.sampled_from([1, 6, 30]))
def test_any_table_comes_back(rows, copies):
    frame = pd.DataFrame({k: pd.Series([r[k] for r in rows] * copies) for k in _CELLS})
    frame["number"] = frame["number"].astype("float64")
    frame["flag"] = frame["flag"].astype("boolean")
    schema = infer_schema(frame, for_generation=True)
    encoder = TableEncoder(schema, for_generation=True).fit(frame)
    encoded = encoder.transform(frame)
    assert np.isfinite(encoded).all()
    back = encoder.inverse(encoded)
    for name in back.columns:
        column = schema.column(name)
        present = frame[name].notna()
        if column.kind == "category":  # a rare word has no place in what is stored
            present &= frame[name].isin(column.categories)
        assert back[name].dtype == frame[name].dtype and back[name].notna().equals(present)
        got, wanted = back.loc[present, name], frame.loc[present, name]
        if column.kind == "category" or column.kind == "boolean":
            assert list(got) == list(wanted)
        elif column.kind == "date":
            span = max(wanted.max() - wanted.min(), pd.Timedelta("1D"))
            assert ((got - wanted).abs() <= 1e-5 * span).all()
        elif column.role == "feature":
            span = float(wanted.max() - wanted.min())
            assert np.allclose(got.astype(float), wanted.astype(float), rtol=1e-6, atol=1e-5 * span + 1e-9)
            assert (got >= column.minimum).all() and (got <= column.maximum).all()
