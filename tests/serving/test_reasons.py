"""Contributions in words: one wording on both sides, values as they came, nothing in the place of a missing one."""

import inspect
import math
import sqlite3

import numpy as np
import pyarrow as pa
import pytest
from serving_data import table

from ganlib.explain import reasons as ours
from serving import reasons
from serving.artifact import load_artifact
from serving.batch import score_batch
from serving.scorer import Scorer
from serving.sinks.state import State


def test_both_sides_have_one_wording():
    for name in ("top_reasons", "_named", "_shown", "_cut"):
        assert inspect.getsource(getattr(ours, name)) == inspect.getsource(getattr(reasons, name))
    for name in ("_MOST", "_WIDEST", "_LEAST", "_LACKS"):
        assert getattr(ours, name) == getattr(reasons, name)


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
    named = scorer.score(scorer.adapter.feeds(frame), explain=True).top_reasons.to_pylist()
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
    state = State(tmp_path / "old.db")
    held = {row[1] for row in state.connection.execute("PRAGMA table_info(scores)")}
    state.close()
    assert {"top_reasons", "fdr_selected"} <= held
