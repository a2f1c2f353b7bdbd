"""Scores can be joined to rows: kept columns, parts in input order, and a folder that others read as it is."""

import dataclasses
import json
import os

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from serving_data import table
from test_batch import run

from serving.artifact import load_artifact
from serving.batch import open_scores, score_batch
from serving.errors import DataError, UsageError
from serving.keep import arrow_type, split_names
from serving.layout import unit_of
from serving.verify import verify


@pytest.fixture(scope="module")
def with_id(tmp_path_factory):
    """A detector whose table had identifiers."""
    from ganlib.data.inference import infer_schema
    from ganlib.detect import VAEDetector
    from ganlib.export import seal

    path = tmp_path_factory.mktemp("with_id") / "id.onnx"
    frame = table(400).assign(ticket=[f"T{i:05d}" for i in range(400)])
    schema = infer_schema(frame)
    columns = [dataclasses.replace(c, role="id") if c.name == "ticket" else c for c in schema.columns]
    schema = dataclasses.replace(schema, columns=type(schema.columns)(columns))
    seal(VAEDetector(steps=30, options={"score_samples": 2}, schema=schema).fit(frame), path)
    return path


def tickets(rows, seed, first):
    return table(rows, seed).assign(ticket=[f"T{first + i:05d}" for i in range(rows)])


@pytest.fixture
def three(tmp_path):
    """Three files whose names are in the order of their tickets."""
    folder = tmp_path / "input"
    folder.mkdir()
    for number, name in enumerate("abc"):
        tickets(40, number, 40 * number).to_parquet(folder / f"{name}.parquet")
    return folder


def read(how, folder):
    if how == "pandas":
        return pd.read_parquet(folder)
    if how == "dataset":
        return ds.dataset(folder, format="parquet").to_table().to_pandas()
    if how == "polars":
        return pl.scan_parquet(folder, hidden_file_prefix="_").collect().to_pandas()
    if how == "polars by glob":
        return pl.read_parquet(folder / "*.parquet").to_pandas()
    if how == "duckdb":
        return duckdb.sql(f"SELECT * FROM read_parquet('{folder}')").df()
    return open_scores(folder).to_pandas()


@pytest.mark.parametrize("how", ["pandas", "dataset", "polars", "polars by glob", "duckdb", "open_scores"])
@pytest.mark.parametrize("fdr", [None, 0.4])
def test_every_reader_reads_each_row_once_and_in_the_order_of_the_input(with_id, three, tmp_path, how, fdr):
    score_batch(with_id, three, tmp_path / "out", fdr=fdr)
    scores = read(how, tmp_path / "out")
    assert scores["ticket"].tolist() == [f"T{i:05d}" for i in range(120)]
    assert ("fdr_selected" in scores) == (fdr is not None)
    others = [p.name for p in (tmp_path / "out").rglob("*") if not p.name.startswith("_")]
    assert sorted(others) == [p.name for p in sorted((tmp_path / "out").glob("part-00000?-*.parquet"))]
    assert len(others) == 3


def test_no_identifiers_are_kept_on_request_and_others_by_name(with_id, three, tmp_path, environment):
    score_batch(with_id, three, tmp_path / "none", keep=())
    assert "ticket" not in open_scores(tmp_path / "none").column_names
    arguments = ("score", "--model", with_id, "--input", three, "--output", tmp_path / "some", "--keep", "amount,kind")
    assert run(environment, *arguments).returncode == 0
    assert open_scores(tmp_path / "some").column_names[:4] == ["source", "source_row", "amount", "kind"]
    assert json.loads((tmp_path / "some" / "_manifest.json").read_text())["keep"] == ["amount", "kind"]
    assert split_names(None) is None and split_names([""]) == () and split_names(['"a,b",c', "d"]) == ("a,b", "c", "d")


def test_kept_columns_belong_to_a_run(artifact, three, tmp_path):
    score_batch(artifact, three, tmp_path / "out")
    with pytest.raises(DataError, match=r"other kept columns \(none, not 'kind'\).*--new-run"):
        score_batch(artifact, three, tmp_path / "out", keep=["kind"])
    with pytest.raises(DataError, match=r"no column 'kin' to keep \(did you mean 'kind'\?\)"):
        score_batch(artifact, three, tmp_path / "new", keep=["kin"])
    assert not (tmp_path / "new").exists()
    assert score_batch(artifact, three, tmp_path / "out", keep=["kind"], new_run=True).units == 3


TYPES = {
    "integer": pa.array([1, None, 2**60 + 1]),
    "small": pa.array([1, None, 3], pa.int8()),
    "large unsigned": pa.array([1, None, 2**64 - 1], pa.uint64()),
    "float": pa.array([0.1, None, 3.0], pa.float32()),
    "text": pa.array(["007", None, "ä,\n"]),
    "large text": pa.array(["007", None, ""], pa.large_string()),
    "category": pa.array(["x", None, "x"]).dictionary_encode(),
    "flag": pa.array([True, None, False]),
    "day": pa.array([1, None, 3], pa.int32()).cast(pa.date32()),
    "moment": pa.array([1, None, 3]).cast(pa.timestamp("ns", "Europe/Berlin")),
    "naive": pa.array([1, None, 3]).cast(pa.timestamp("us")),
    "money": pa.array([1, None, 3]).cast(pa.decimal128(30, 2)),
    "bytes": pa.array([b"ab", None, b"cd"], pa.binary(2)),
    "nothing": pa.nulls(3),
}


@pytest.mark.parametrize("kind", TYPES)
def test_a_kept_column_has_its_own_type_and_values(artifact, tmp_path, kind):
    pq.write_table(
        pa.Table.from_pandas(table(3), preserve_index=False).append_column("key", TYPES[kind]), tmp_path / "x.parquet"
    )
    score_batch(artifact, tmp_path / "x.parquet", tmp_path / "out", keep=["key"])
    kept = open_scores(tmp_path / "out")["key"]
    assert kept.to_pylist() == TYPES[kind].to_pylist()
    same = {"large text": pa.string(), "category": pa.string(), "nothing": pa.string()}
    assert kept.type == same.get(kind, TYPES[kind].type) and arrow_type(str(kept.type)) == kept.type
    assert score_batch(artifact, tmp_path / "x.parquet", tmp_path / "out", keep=["key"]).units == 0


def test_text_files_keep_what_is_written(artifact, tmp_path):
    rows = table(3).assign(key=["007", "", "NA"])
    rows.to_csv(tmp_path / "x.csv", index=False)
    score_batch(artifact, tmp_path / "x.csv", tmp_path / "out", keep=["key"])
    assert open_scores(tmp_path / "out")["key"].to_pylist() == ["007", "", "NA"]


def test_files_that_disagree_keep_text_and_integers_their_widest(artifact, tmp_path, capsys):
    for name, values in {"a": np.int32([1, 2]), "b": np.int64([3, 2**40])}.items():
        table(2).assign(key=values).to_parquet(tmp_path / f"{name}.parquet")
    source = f"{tmp_path}/[a-c].*"
    score_batch(artifact, source, tmp_path / "wide", keep=["key"])
    assert open_scores(tmp_path / "wide")["key"].to_pylist() == [1, 2, 3, 2**40]
    assert not capsys.readouterr().err
    table(1).assign(key="007").to_csv(tmp_path / "c.csv", index=False)
    score_batch(artifact, source, tmp_path / "text", keep=["key"])
    assert pd.read_parquet(tmp_path / "text")["key"].tolist() == ["1", "2", "3", str(2**40), "007"]
    assert "column 'key' is int32 in a.parquet, int64 in b.parquet, string in c.csv: it is kept as text" in (
        capsys.readouterr().err
    )


def test_names_that_scores_have_are_set_apart(artifact, tmp_path):
    rows = table(3).assign(source=["x", "y", "z"], P_VALUE=[1, 2, 3])
    rows.to_parquet(tmp_path / "x.parquet")
    score_batch(artifact, tmp_path / "x.parquet", tmp_path / "out", keep=["source", "P_VALUE"])
    scores = open_scores(tmp_path / "out")
    assert scores["input.source"].to_pylist() == ["x", "y", "z"] and scores["input.P_VALUE"].to_pylist() == [1, 2, 3]
    rows.rename(columns={"P_VALUE": "KIND"}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(UsageError, match="two columns would be called 'KIND'"):
        score_batch(artifact, tmp_path / "x.parquet", tmp_path / "other", keep=["kind", "KIND"])
    nested = pa.Table.from_pandas(table(1), preserve_index=False).append_column("key", pa.array([[1]]))
    pq.write_table(nested, tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"column 'key' holds list<.*cannot be kept"):
        score_batch(artifact, tmp_path / "x.parquet", tmp_path / "other", keep=["key"])


def test_parts_are_numbered_anew_when_a_file_comes_between(with_id, three, tmp_path):
    (three / "b.parquet").rename(tmp_path / "b.parquet")
    score_batch(with_id, three, tmp_path / "out")
    before = {p.name: os.stat(p).st_ino for p in (tmp_path / "out").glob("part-*")}
    (tmp_path / "b.parquet").rename(three / "b.parquet")
    assert score_batch(with_id, three, tmp_path / "out").skipped == 2
    after = {os.stat(p).st_ino: p.name[:11] for p in (tmp_path / "out").glob("part-*")}
    assert sorted(after[i] for i in before.values()) == ["part-000000", "part-000002"]
    assert pd.read_parquet(tmp_path / "out")["ticket"].tolist() == [f"T{i:05d}" for i in range(120)]
    assert verify(tmp_path / "out")["rows"] == 120


def test_what_is_read_beside_the_parts_is_seen(artifact, three, tmp_path):
    from serving.errors import IntegrityError

    score_batch(artifact, three, tmp_path / "out")
    table(3).to_parquet(tmp_path / "out" / "stray.parquet")
    with pytest.raises(IntegrityError, match="stray.parquet is no part of this run"):
        verify(tmp_path / "out")


def test_a_part_without_its_commit_is_swept(artifact, three, tmp_path):
    score_batch(artifact, three, tmp_path / "out")
    part = sorted((tmp_path / "out").glob("part-*"))[0]
    part.rename(part.with_name("part-000009-0123456789abcdef0123.parquet"))
    (tmp_path / "out" / "_commits" / f"_{unit_of(part)}.json").unlink()
    (tmp_path / "out" / "_manifest.json").unlink()
    score_batch(artifact, three, tmp_path / "out")
    assert verify(tmp_path / "out")["rows"] == len(pd.read_parquet(tmp_path / "out")) == 120


def test_scores_name_the_model_that_was_loaded(artifact, three, tmp_path):
    score_batch(artifact, three, tmp_path / "out")
    assert set(open_scores(tmp_path / "out")["artifact_sha256"].to_pylist()) == {load_artifact(artifact).sha256}
