"""The graph encodes raw columns as the encoder does, whatever is fed."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganlib.data.encoder import TableEncoder
from ganlib.data.inference import infer_schema
from ganlib.data.values import NO_DATE
from ganlib.export.builder import FLOAT, GraphBuilder
from ganlib.export.golden import schema_feeds
from ganlib.export.parity import open_session
from ganlib.export.preprocess import encode_columns


def encoding_session(encoder):
    builder = GraphBuilder([c.input for c in encoder.schema.columns])
    x = encode_columns(builder, encoder).x
    builder.output(x, FLOAT, "batch", encoder.width)
    return open_session(builder.model("encoding").SerializeToString())


@pytest.fixture(scope="module")
def encoder(table):
    columns = ["amount", "cat", "count", "flag", "when", "words", "gaps", "maybe", "level", "explain"]
    return TableEncoder(infer_schema(table[columns])).fit(table)


@pytest.fixture(scope="module")
def session(encoder):
    return encoding_session(encoder)


def encoded(session, feeds):
    return session.run(None, feeds)[0]


@pytest.mark.parametrize("rows", [1, 7, 2048])
def test_made_rows(encoder, session, rows):
    feeds = schema_feeds(encoder, rows, seed=rows, wild=0.4)
    np.testing.assert_allclose(encoded(session, feeds), encoder.encode(feeds), rtol=3e-7, atol=3e-7)


def test_training_rows(encoder, session, table):
    feeds = encoder.feeds(table)
    np.testing.assert_allclose(encoded(session, feeds), encoder.encode(feeds), rtol=3e-7, atol=3e-7)


VALUES = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=64, min_value=None, max_value=None).filter(
        lambda v: not np.isfinite(v) or abs(v) < 1e300
    ),
    st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e12, -1e12, 5e-324]),
)
WORDS = st.one_of(st.sampled_from(["", "red", "green", "blue", "Red", "rare", "\u4e2d", " "]), st.text(max_size=8))
MOMENTS = st.one_of(st.sampled_from([NO_DATE, 0, -1, NO_DATE + 1]), st.integers(-(2**55), 2**55))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES, WORDS, MOMENTS), min_size=1, max_size=9))
def test_any_value(encoder, session, rows):
    feeds = {n: v.copy() for n, v in schema_feeds(encoder, len(rows), seed=3, wild=0.0).items()}
    feeds["amount"] = np.array([r[0] for r in rows], dtype=np.float64)
    feeds["gaps"] = np.array([r[1] for r in rows], dtype=np.float64)
    # ONNX strings end at a NUL character.
    feeds["cat"] = np.array([r[2].replace("\0", "?") for r in rows], dtype=object)
    feeds["when"] = np.array([r[3] for r in rows], dtype=np.int64)
    got = encoded(session, feeds)
    np.testing.assert_allclose(got, encoder.encode(feeds), rtol=3e-7, atol=3e-6)
    assert np.isfinite(got).all()


@pytest.mark.parametrize("column", ["amount", "cat", "words", "when", "flag", "level", "gaps"])
def test_tables_of_one_column(table, column):
    encoder = TableEncoder(infer_schema(table[[column]])).fit(table[[column]])
    feeds = schema_feeds(encoder, 50, seed=5, wild=0.5)
    got = encoded(encoding_session(encoder), feeds)
    np.testing.assert_allclose(got, encoder.encode(feeds), rtol=3e-7, atol=3e-7)


CLOCKS = [
    {"clock": None},
    {"clock": "absolute"},
    {"clock": "absolute", "cycles": ("week",)},
    {"clock": "recurring", "cycles": ("day",)},
    {"clock": "recurring", "cycles": ("year", "day", "week")},
]


@pytest.mark.parametrize("others", [[], ["amount", "flag"]])
@pytest.mark.parametrize("pair", [(a, b) for a in CLOCKS for b in CLOCKS])
def test_dates_of_any_clocks_side_by_side(table, pair, others):
    frame = table[["when", *others]].assign(then=table["when"] - pd.Timedelta("500D"))
    frame.loc[::7, "then"] = pd.NaT
    schema = infer_schema(frame)
    for name, clock in zip(("when", "then"), pair, strict=True):
        schema = schema.with_column(name, **{"cycles": (), **clock})
    encoder = TableEncoder(schema).fit(frame)
    feeds = schema_feeds(encoder, 60, seed=5, wild=0.4)
    np.testing.assert_allclose(encoded(encoding_session(encoder), feeds), encoder.encode(feeds), rtol=3e-7, atol=3e-7)


def test_columns_may_have_any_name():
    names = ["ganlib/const_1", "_ganlib/x", "Add_1", "g", "\u00e9t\u00e9", "a b", "x/y:0", "batch"]
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(50, len(names))), columns=names)
    encoder = TableEncoder(infer_schema(frame)).fit(frame)
    feeds = encoder.feeds(frame)
    np.testing.assert_allclose(encoded(encoding_session(encoder), feeds), encoder.encode(feeds), rtol=3e-7, atol=3e-7)
