"""Columns that are distributed differently from training are said, and those that are not are not."""

import json

import numpy as np
import onnx
import pandas as pd
import pytest
from serving_data import fill, good, resealed, table
from test_batch import run

from serving import watch
from serving.artifact import load_artifact
from serving.batch import score_batch
from serving.errors import IntegrityError
from serving.opening.profile import profiled, stability, tally
from serving.stream import run_stream

SHAPES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "skewed": lambda rng, n: np.exp(2 * rng.normal(size=n)),
    "mostly zero": lambda rng, n: np.where(rng.random(n) < 0.8, 0.0, rng.random(n)),
    "counts": lambda rng, n: rng.poisson(2, n).astype(float),
    "flag": lambda rng, n: (rng.random(n) < 0.03).astype(float),
    "words": lambda rng, n: rng.choice(list("abcdefgh"), n, p=[0.5, 0.2, 0.1, 0.1, 0.04, 0.03, 0.02, 0.01]),
}


def moved(name, profile, rows, feed):
    held = {"rows": rows, "columns": {name: profile}}
    return watch.moved(held, {name: tally(profile, feed)})


@pytest.mark.parametrize("shape", SHAPES)
def test_unchanged_columns_are_not_said_to_have_moved(shape):
    """At most one in two hundred, whatever the number of rows on either side."""
    rng, draw, said, tried = np.random.default_rng(0), SHAPES[shape], 0, 0
    for rows in (60, 500, 5000):
        for many in (1, 10, 100, 3000):
            for _ in range(60):
                feed = draw(rng, rows)
                kind = "category" if shape == "words" else "number"
                if (profile := profiled(kind, feed, list("abcdefgh"))) is None:
                    continue
                tried += 1
                said += bool(moved("a", profile, rows, draw(rng, many)))
    assert tried > 400 and said <= tried / 200, (said, tried)


@pytest.mark.parametrize("shape", ["normal", "skewed", "counts"])
def test_a_shift_of_a_deviation_is_found(shape):
    rng, draw = np.random.default_rng(1), SHAPES[shape]
    feed = draw(rng, 2000)
    shift = np.subtract(*np.quantile(feed, [0.84, 0.5]))
    (said,) = moved("flow", profiled("number", feed), 2000, draw(rng, 500) + shift)
    assert said.startswith("column 'flow': its values have moved (stability index") and "in training" in said


def test_a_shift_of_a_tenth_of_a_deviation_is_not_worth_a_word():
    rng = np.random.default_rng(2)
    assert not moved("flow", profiled("number", rng.normal(size=2000)), 2000, rng.normal(size=100_000) + 0.1)


def test_words_name_the_bin_that_changed_most():
    rng = np.random.default_rng(3)
    profile = profiled("number", rng.random(1000))
    assert "100.0% exceed 0." in moved("a", profile, 1000, np.full(200, 5.0))[0]
    assert "100.0% are at most 0." in moved("a", profile, 1000, np.full(200, -5.0))[0]
    assert "100.0% lie between 0." in moved("a", profile, 1000, np.full(200, 0.55))[0]
    words = profiled("category", rng.choice(["x", "y"], 500, p=[0.8, 0.2]), ["x", "y"])
    assert "100.0% are other categories, 0.0% in training" in moved("a", words, 500, np.full(100, "z", object))[0]
    assert "100.0% are 'y'" in moved("a", words, 500, np.full(100, "y", object))[0]


def test_bins_count_what_is_present_and_rare_categories_have_no_name():
    feed = np.array([1.0, np.nan, 2.0, np.inf, 2.0, -np.inf])
    assert tally({"edges": [1.0, 3.0]}, feed) == [1, 2, 0]
    words = np.array(["a", "", "b", "secret", "a"], object)
    profile = profiled("category", words, ["a", "b"])
    assert profile == {"values": ["a", "b"], "shares": [0.5, 0.25, 0.25]} and tally(profile, words) == [2, 1, 1]
    assert profiled("number", np.arange(39.0)) is None and profiled("date", np.arange(900)) is None
    assert profiled("number", np.full(500, 7.0))["edges"] == [7.0]


def test_the_index_is_that_of_its_formula():
    then, now = np.array([0.5, 0.3, 0.2]), np.array([200_000, 500_000, 300_000])
    shares = now / now.sum()
    expected = ((shares - then) * np.log(shares / then)).sum()
    assert stability(then, now, 1e6)[0] == pytest.approx(expected, rel=1e-4)


def test_a_run_says_what_has_moved(artifact, tmp_path, capsys):
    frame = table(800, 7)
    frame.to_csv(tmp_path / "usual.csv", index=False)
    frame.assign(amount=frame["amount"] * 3 + 5).to_csv(tmp_path / "moved.csv", index=False)
    usual = score_batch(artifact, tmp_path / "usual.csv", tmp_path / "a")
    assert set(usual.drift) == {"amount", "count", "flag", "kind"} and max(usual.drift.values()) < 0.1
    assert not [d for d in usual.doubts if "moved" in d]
    found = score_batch(artifact, tmp_path / "moved.csv", tmp_path / "b")
    assert next(iter(found.drift)) == "amount" and found.drift["amount"] > 0.5
    (said,) = [d for d in found.doubts if "moved" in d]
    assert said.startswith("column 'amount'") and f"warning: {said}" in capsys.readouterr().err
    assert json.loads((tmp_path / "b" / "_manifest.json").read_text())["drift"] == found.drift


@pytest.mark.parametrize(("limit", "code"), [("0.3", 4), ("9", 0), ("-1", 2)])
def test_a_limit_of_drift_ends_with_exit_4_after_everything_is_written(artifact, tmp_path, environment, limit, code):
    frame = table(800, 7)
    frame.assign(amount=frame["amount"] * 3 + 5).to_csv(tmp_path / "x.csv", index=False)
    arguments = ("score", "--model", artifact, "--input", tmp_path / "x.csv", "--output", tmp_path / "out")
    for _ in range(2):  # also for a folder that is finished
        done = run(environment, *arguments, "--max-drift", limit)
        assert done.returncode == code, done.stderr
        assert ("error: --max-drift" in done.stderr.replace("\n", " ")) == (code != 0)
    assert code == 2 or len(pd.read_parquet(tmp_path / "out")) == 800


def other_model(artifact, path):
    """The same model with bins of its own, as another version has."""
    model = onnx.load(artifact)
    for entry in model.metadata_props:
        if entry.key == "profile":
            profile = json.loads(entry.value)
            profile["columns"]["count"] = {"edges": [3.0], "shares": [0.5, 0.5]}
            entry.value = json.dumps(profile)
    path.write_bytes(resealed(model))
    return path


def test_a_stream_counts_the_bins_of_the_model_that_scores_now(artifact, tmp_path, monkeypatch, capsys):
    other = other_model(artifact, tmp_path / "other.onnx")
    monkeypatch.setattr("serving.running.CHECK_MODEL_EVERY", 0.0)
    models = iter([artifact, other])

    class Changing:
        last = artifact

        def current(self):
            self.last = next(models, other)
            return self.last, None, "pump", self.last.stem

    bodies = [json.dumps({**json.loads(body), "count": 900}) for body in good(100)]
    fill(tmp_path / "q.db", bodies)
    code = run_stream(Changing(), f"sqlite:{tmp_path / 'q.db'}", tmp_path / "o.db", max_rows=20, as_json=True)
    out, err = capsys.readouterr()
    assert code == 0 and "column 'count': its values have moved" in err and json.loads(out)["drift"]["count"] > 0.5


ODD = {
    "another column": lambda p: p["columns"].update(nothing={"edges": [1.0], "shares": [0.5, 0.5]}),
    "words of numbers": lambda p: p["columns"].update(amount={"values": ["a"], "shares": [0.5, 0.5]}),
    "both": lambda p: p["columns"]["amount"].update(values=["a"]),
    "a share too many": lambda p: p["columns"]["amount"]["shares"].append(0.0),
    "edges out of order": lambda p: p["columns"]["amount"]["edges"].reverse(),
    "no rows": lambda p: p.update(rows=0),
}


@pytest.mark.parametrize("odd", ODD)
def test_a_profile_that_does_not_fit_the_model_is_not_opened(artifact, tmp_path, odd):
    model = onnx.load(artifact)
    for entry in model.metadata_props:
        if entry.key == "profile":
            profile = json.loads(entry.value)
            ODD[odd](profile)
            entry.value = json.dumps(profile)
    (tmp_path / "odd.onnx").write_bytes(resealed(model))
    with pytest.raises(IntegrityError, match="profile"):
        load_artifact(tmp_path / "odd.onnx")


def test_a_file_without_a_profile_is_scored_as_before(artifact, tmp_path):
    model = onnx.load(artifact)
    kept = [entry for entry in model.metadata_props if entry.key != "profile"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    (tmp_path / "old.onnx").write_bytes(resealed(model))
    table(50).to_csv(tmp_path / "x.csv", index=False)
    found = score_batch(tmp_path / "old.onnx", tmp_path / "x.csv", tmp_path / "out")
    assert found.drift == {} and len(pd.read_parquet(tmp_path / "out")) == 50
