"""The time between two dates of a row: found where it is steady, read alike by encoder and sealed graph."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganlib import VAEDetector
from ganlib.data.describing import describe_columns
from ganlib.data.encoder import TableEncoder
from ganlib.data.gaps import gaps
from ganlib.data.inference import infer_schema
from ganlib.data.roles import find_roles, with_requests
from ganlib.data.schema import Schema
from ganlib.data.values import NO_DATE
from ganlib.errors import ConfigError
from ganlib.export import seal
from ganlib.export.builder import FLOAT, GraphBuilder
from ganlib.export.golden import schema_feeds
from ganlib.export.parity import open_session
from ganlib.export.preprocess import encode_columns
from serving.artifact import load_artifact
from serving.scorer import Scorer

DAY = 86_400


def trips(rows=400, days=60, seed=0, hours=(0.5, 1.5)):
    """Trips at any time of some weeks that take about an hour."""
    rng = np.random.default_rng(seed)
    start = pd.Series(pd.Timestamp("2026-01-05") + pd.to_timedelta(rng.uniform(0, days * DAY, rows).round(), unit="s"))
    end = start + pd.to_timedelta((rng.uniform(*hours, rows) * 3600).round(), unit="s")
    return pd.DataFrame({"start": start, "end": end, "size": rng.normal(size=rows)})


def test_a_steady_gap_is_found_noted_and_travels(tmp_path):
    frame = trips()
    schema = infer_schema(frame)
    assert [c.gap_from for c in schema.columns] == [None, "start", None]
    findings = find_roles(frame, schema)
    assert "and by the time since start" in next(f for f in findings if f.column == "end").done
    assert "the time since start" in describe_columns(frame, schema, findings)[1]["note"]
    schema.save(tmp_path / "schema.yaml")
    assert Schema.load(tmp_path / "schema.yaml") == schema
    encoder = TableEncoder(schema).fit(frame)
    again = TableEncoder.from_dict(encoder.to_dict())
    assert again.codes == encoder.codes
    np.testing.assert_array_equal(again.transform(frame), encoder.transform(frame))


def test_what_is_not_steady_or_no_date_has_no_gap():
    frame, other = trips(), trips(seed=1)
    frame["end"] = other["start"]
    frame["from"], frame["to"] = (frame[n].dt.strftime("%H:%M") for n in ("start", "end"))
    assert all(c.gap_from is None for c in infer_schema(frame).columns)
    assert all(c.gap_from is None for c in infer_schema(trips(), for_generation=True).columns)
    assert "gap_from" not in infer_schema(frame).to_dict()["columns"][0], "files without gaps are as they were"


def test_of_several_dates_each_takes_the_nearest():
    frame = trips()
    frame["paid"] = frame["end"] + pd.to_timedelta(np.arange(400) % 7, unit="s")
    assert [c.gap_from for c in infer_schema(frame).columns] == [None, "start", None, "end"]


def test_the_gap_is_signed_seconds_at_one_position():
    frame = trips()
    encoder = TableEncoder(infer_schema(frame)).fit(frame)
    code = encoder.codes[1]
    rows = frame.head(4).copy()
    rows.loc[1, "end"] = rows.loc[1, "start"] - pd.Timedelta("1h")
    rows.loc[2, "end"] = pd.NaT
    rows.loc[3, "start"] = pd.NaT
    seconds = (rows["end"] - rows["start"]).dt.total_seconds().to_numpy()
    expected = (seconds - code.gap_center) / code.gap_scale
    got = encoder.transform(rows)[:, code.gap_position]
    np.testing.assert_allclose(got[:2], expected[:2], rtol=1e-6)
    assert expected[1] < -5 and code.gap_center == pytest.approx(3600, abs=300)
    np.testing.assert_allclose(got[2:], code.gap_median, rtol=1e-6)
    assert encoder.reference[code.gap_position] == pytest.approx(code.gap_median)


MOMENTS = st.one_of(st.sampled_from([NO_DATE, 0, -1, NO_DATE + 1]), st.integers(-(2**55), 2**55))


@pytest.fixture(scope="module", params=[{}, {"clock": "absolute"}, {"clock": None, "cycles": ()}])
def graph(request):
    frame = trips()
    frame["paid"] = frame["end"] + pd.to_timedelta(np.arange(400) % 7, unit="s")
    frame.loc[::9, "start"] = pd.NaT
    schema = infer_schema(frame)
    for name in ("start", "end") if request.param else ():
        schema = schema.with_column(name, **request.param)
    encoder = TableEncoder(schema).fit(frame)
    builder = GraphBuilder([c.input for c in schema.columns])
    builder.output(encode_columns(builder, encoder).x, FLOAT, "batch", encoder.width)
    return encoder, open_session(builder.model("encoding").SerializeToString())


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(MOMENTS, MOMENTS, MOMENTS), min_size=1, max_size=9))
def test_the_sealed_graph_reads_gaps_as_the_encoder_does(graph, rows):
    encoder, session = graph
    assert any(code.gap_from for code in encoder.codes)
    feeds = {n: v.copy() for n, v in schema_feeds(encoder, len(rows), seed=3, wild=0.0).items()}
    for place, name in enumerate(("start", "end", "paid")):
        feeds[name] = np.array([row[place] for row in rows], dtype=np.int64)
    got = session.run(None, feeds)[0]
    np.testing.assert_allclose(got, encoder.encode(feeds), rtol=3e-7, atol=3e-6)
    assert np.isfinite(got).all()


@given(st.lists(st.tuples(MOMENTS, MOMENTS), min_size=1, max_size=20))
def test_gaps_are_missing_where_a_date_is(pairs):
    ends, starts = (np.array([pair[i] for pair in pairs], dtype=np.int64) for i in (0, 1))
    assert (np.isnan(gaps(ends, starts)) == ((ends == NO_DATE) | (starts == NO_DATE))).all()


@pytest.mark.trained
def test_a_wrong_gap_between_ordinary_dates_is_found(tmp_path):
    frame, usual, odd = trips(800), trips(200, seed=5), trips(200, seed=6)
    # A week too long: hour and weekday are those of ordinary trips.
    odd["end"] += pd.Timedelta("7D")
    rows = pd.concat([usual, odd], ignore_index=True)
    anomalous = np.repeat([False, True], 200)
    schema = infer_schema(frame)
    figures, blame = {}, None
    for name, used in (("with", schema), ("without", schema.with_column("end", gap_from=None))):
        detector = VAEDetector(steps=300, random_state=0, schema=used).fit(frame)
        scores = -detector.score_samples(rows)
        figures[name] = float((scores[anomalous][:, None] > scores[~anomalous]).mean())
        blame = detector.explain(odd) if name == "with" else blame
        if name == "with":
            seal(detector, tmp_path / "trips.onnx")
            sealed = Scorer(load_artifact(tmp_path / "trips.onnx")).score(rows)
            np.testing.assert_allclose(sealed.anomaly_score, detector.anomaly_score(rows), rtol=1e-3)
    print(figures)
    assert figures["with"] >= 0.9 and abs(figures["without"] - 0.5) < 0.12
    assert np.asarray(blame).mean(0).argmax() == 1, "the column that carries the gap"


def test_edits_that_say_nothing_are_refused_by_name():
    schema = infer_schema(trips())
    for changes, words in (
        ({"gap_from": "end"}, "'end': gap_from must name another date with the role feature \\('start'\\), not 'end'"),
        ({"gap_from": "strat"}, "'end': gap_from must name another date .* not 'strat'"),
    ):
        with pytest.raises(ConfigError, match=words):
            schema.with_column("end", **changes)
    with pytest.raises(ConfigError, match="'size': gap_from is for dates"):
        schema.with_column("size", gap_from="start")
    with pytest.raises(ConfigError, match="gap_from must be the name of a date column, or null, not 3"):
        Schema.from_dict(schema.to_dict() | {"columns": [schema.to_dict()["columns"][0] | {"gap_from": 3}]})


def test_a_date_that_is_dropped_takes_its_gap_with_it():
    schema = infer_schema(trips())
    left = dataclasses.replace(schema, columns=tuple(with_requests(list(schema.columns), drop=["start"])))
    assert left.column("end").gap_from is None and schema.only(schema.columns[1:]).column("end").gap_from is None
    assert infer_schema(trips(), drop=["start"]).column("end").gap_from is None
