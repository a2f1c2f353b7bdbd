"""Contributions in words: one wording on both sides, values as they came, nothing in the place of a missing one."""

import math
import sqlite3

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from serving_data import table

from serving.artifact import load_artifact
from serving.batch import score_batch
from serving.scorer import Scorer
from serving.sinks import open_sink
from serving.table import reasons


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("number", 54540.0, "a = 54540"), ("number", "5.40", "a = 5.40"), ("number", math.nan, "a missing"),
        ("number", "NA ", "a missing"), ("number", math.inf, "a = inf"), ("integer", None, "a missing"),
        ("category", "x", "a = x"), ("category", "zz", "a = unseen 'zz'"), ("category", "", "a missing"),
        ("category", "none", "a = unseen 'none'"), ("boolean", True, "a = true"), ("text", "p q\n", "a = 'p q '"),
        ("text", "y" * 41, f"a = '{'y' * 39}…'"), ("number", np.float32(0.5), "a = 0.5"),
    ],
)  # fmt: skip
def test_a_value_in_words(kind, value, words):
    schema = {"columns": [{"name": "a", "kind": kind, "role": "feature", "categories": ["x"], "rare": False}]}
    assert reasons.top_reasons(np.ones((1, 1)), schema, {"a": [value]}) == [f"{words} (100 %)"]


def test_old_contributions_and_rows_without_any():
    columns = [{"name": n, "kind": "number", "role": "feature"} for n in "abcd"]
    parts = np.array([[-5, 3, 0, 1], [0, 0, 0, 0], [np.inf, 1, -np.inf, np.nan], [1, 1, 1, 1]])
    values = {n: [1, 1, 1, 1] for n in "abcd"}
    assert reasons.top_reasons(parts, {"columns": columns}, values) == [
        "b = 1 (75 %), d = 1 (25 %)", None, "a = 1 (100 %)", "a = 1 (25 %), b = 1 (25 %), c = 1 (25 %)",
    ]  # fmt: skip


def test_each_kind_of_input_gives_the_same_reasons(artifact, tmp_path):
    scorer, frame = Scorer(load_artifact(artifact), 0.5), table(60, 4)
    frame.loc[:9, "amount"] *= 1e6
    scores = scorer.score(frame, explain=True)
    words = scores.top_reasons.to_pylist()
    assert [w is not None for w in words] == scores.is_anomaly.tolist() and sum(w is not None for w in words) >= 10
    np.testing.assert_allclose(scores.contributions.sum(1), scores.anomaly_score, rtol=1e-4)
    assert scorer.score(pa.Table.from_pandas(frame), explain=True).top_reasons.to_pylist() == words
    assert scorer.score(frame[:0], explain=True).top_reasons.to_pylist() == []
    assert scorer.score(frame).top_reasons is None
    named = scorer.score(scorer.reader.feeds(frame), explain=True).top_reasons.to_pylist()
    assert [w and w.split()[0] for w in named] == [w and w.split()[0] for w in words]


def test_batch_parts_hold_reasons(artifact, tmp_path):
    from serving.batch import open_scores

    frame = table(60, 4)
    frame.to_parquet(tmp_path / "rows.parquet")
    score_batch(artifact, tmp_path / "rows.parquet", tmp_path / "out", alpha=0.5, explain=True)
    out = open_scores(tmp_path / "out")
    assert out["top_reasons"].is_valid().to_pylist() == out["is_anomaly"].to_pylist()


def test_a_database_of_an_earlier_release_gains_the_column(tmp_path):
    connection = sqlite3.connect(tmp_path / "old.db")
    connection.execute("CREATE TABLE scores(source TEXT, position INTEGER, PRIMARY KEY(source, position))")
    connection.close()
    sink = open_sink(tmp_path / "old.db")
    held = {row[1] for row in sink.database.connection.execute("PRAGMA table_info(scores)")}
    sink.close()
    assert {"top_reasons", "fdr_selected"} <= held


def test_values_are_judged_as_the_column_is_read():
    column = {
        "name": "a",
        "kind": "category",
        "role": "feature",
        "categories": ["1"],
        "rare": False,
        "levels": "number",
    }
    schema = {"missing_words": ["", "gone"], "columns": [column]}

    def said(value):
        return reasons.top_reasons(np.ones((1, 1)), schema, {"a": [value]})

    assert (
        said("1.0") == ["a = 1.0 (100 %)"] and said(1.0) == ["a = 1 (100 %)"] and said("Gone") == ["a missing (100 %)"]
    )
    column["not_missing"] = ["Gone"]
    assert said("Gone") == ["a = unseen 'Gone' (100 %)"]


@pytest.mark.parametrize("make", [lambda f: f.rename(columns={"v": 0}), lambda f: pa.Table.from_pandas(f)])
def test_frames_of_any_kind_are_explained(tmp_path, make):
    from ganlib import VAEDetector
    from ganlib.export import seal

    frame = make(pd.DataFrame({"v": np.random.default_rng(0).normal(size=200), "w": ["a", "b"] * 100}))
    detector = VAEDetector(steps=20, alpha=0.5).fit(frame)
    seal(detector, tmp_path / "d.onnx")
    words = Scorer(load_artifact(tmp_path / "d.onnx"), 0.5).score(frame, explain=True).top_reasons.to_pylist()
    for said in (words, detector.top_reasons(frame)):
        assert sum(w is not None for w in said) > 10
