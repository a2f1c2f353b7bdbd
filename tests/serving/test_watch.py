"""A broken feed does not pass as a good night: shares against those of training, warnings, and limits."""

import json
import sqlite3

import numpy as np
import pandas as pd
import pytest
from serving_data import table
from test_batch import run

from serving import watch
from serving.artifact import load_artifact
from serving.batch import score_batch
from serving.scorer import Scorer


def broken(frame, how):
    if how == "a number for a category":
        return frame.assign(kind=7)
    if how == "a word never seen":
        return frame.assign(kind="z")
    if how == "a null column":
        return frame.assign(count=None)
    if how == "no dates":
        return frame.assign(when=pd.NaT)
    if how == "no flags":
        return frame.assign(flag=None)
    if how == "infinite":
        return frame.assign(amount=np.inf)
    return frame.assign(amount=frame["amount"].fillna(0.0))  # what was missing now and then no longer is


HOW = {
    "a number for a category": ("kind", "unseen", 1.0),
    "a word never seen": ("kind", "unseen", 1.0),
    "a null column": ("count", "missing", 1.0),
    "no dates": ("when", "missing", 1.0),
    "no flags": ("flag", "missing", 1.0),
    "infinite": ("amount", "clipped", 1.0),
    "filled": ("amount", "missing", 0.0),
}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("how", HOW)
def test_each_broken_feed_is_said(artifact, tmp_path, capsys, how, ending):
    rows = 2000 if how == "filled" else 500  # fewer rows could lack no value by chance
    frame = broken(table(rows, 5), how)
    path = tmp_path / f"x.{ending}"
    frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path)
    summary = score_batch(artifact, path, tmp_path / "out")
    column, kind, share = HOW[how]
    assert summary.shares.get(column, {}).get(kind, 0.0) == share
    word = watch.WORDS[kind]
    (doubt,) = [d for d in summary.doubts if d.startswith(f"column {column!r}") and word in d]
    assert f"of the values are {word} against" in doubt and f"warning: {doubt}" in capsys.readouterr().err
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert manifest["shares"] == summary.shares and manifest["doubts"] == summary.doubts
    assert manifest["alarm_share"] == summary.anomalies / rows == summary.alarm_share
    assert share == 0.0 or f"  {column}: 100.0% {word}" in summary.report()


@pytest.mark.parametrize("rows", [1, 3, 20, 600])
@pytest.mark.parametrize("seed", range(4))
def test_data_like_that_of_training_raise_no_doubt(artifact, rows, seed):
    scorer = Scorer(load_artifact(artifact))
    feeds = scorer.reader.feeds(table(rows, 100 + seed))
    scores = scorer.score(feeds)
    counts = watch.count(scorer.reader.monitored, scorer.profiles, feeds, int(scores.is_anomaly.sum()), scores.p_value)
    assert watch.doubts(scorer.artifact.metadata, counts, scorer.alpha) == []


def test_the_artifact_carries_its_shares(artifact):
    shares = load_artifact(artifact).metadata["shares"]
    assert list(shares) == ["amount", "count", "flag", "kind", "when"]
    assert shares["amount"]["missing"] == pytest.approx(1 / 9, abs=0.03) and shares["kind"]["unseen"] == 0


def test_without_training_shares_the_schema_says_what_it_can(artifact):
    metadata = {k: v for k, v in load_artifact(artifact).metadata.items() if k != "shares"}
    counts = watch.no_counts() | {
        "rows": 1000,
        "alarms": 10,
        "columns": {"count": {"missing": 100}, "amount": {"missing": 900}},
    }
    assert [d.split(":")[0] for d in watch.doubts(metadata, counts, 0.01)] == ["column 'count'"]
    counts["columns"]["amount"]["missing"] = 1000
    assert len(watch.doubts(metadata, counts, 0.01)) == 2


@pytest.mark.parametrize(("alarms", "said"), [(10, False), (80, True), (0, True)])
def test_alarms_far_from_their_budget_are_said(artifact, alarms, said):
    metadata = load_artifact(artifact).metadata
    counts = watch.no_counts() | {"rows": 1000, "alarms": alarms, "columns": {"amount": {"missing": 111}}}
    many = watch.no_counts() | {"rows": 1_000_000, "alarms": 1000 * alarms, "columns": {"amount": {"missing": 111_111}}}
    assert any("rows alarm" in d for d in watch.doubts(metadata, many, 0.01)) == said
    assert any("rows alarm" in d for d in watch.doubts(metadata, counts, 0.01)) == (alarms == 80)


def test_counts_add_up_over_any_parts(artifact):
    scorer = Scorer(load_artifact(artifact))
    frame = table(300).assign(kind=lambda f: f["kind"].where(f.index % 7 > 0, "z"))
    frame.loc[::11, "amount"] = np.inf
    frame.loc[::5, "when"] = pd.NaT

    def counted(part):
        feeds, p_values = scorer.reader.feeds(part), np.full(len(part), 0.5)
        return watch.count(scorer.reader.monitored, scorer.profiles, feeds, len(part) // 10, p_values)

    total = watch.no_counts()
    for start in range(0, 300, 70):
        total = watch.add(total, counted(frame.iloc[start : start + 70]))
    whole = counted(frame)
    assert total["columns"] == whole["columns"] and total["rows"] == 300 and total["bins"] == whole["bins"]
    assert total["deciles"] == whole["deciles"] == [0] * 4 + [300] + [0] * 5
    assert whole["columns"]["when"] == {"missing": 60} and whole["columns"]["kind"] == {"unseen": 43}
    assert whole["columns"]["amount"]["clipped"] == 28


LIMITS = [
    (("--max-missing-share", "0.5"), "column 'count': 100.0% of the values are missing or non-finite, more than"),
    (("--max-alarm-share", "0.0"), "of the rows alarm, more than --max-alarm-share 0 allows"),
]


@pytest.mark.parametrize(("limit", "said"), LIMITS)
def test_a_limit_ends_with_exit_4_after_everything_is_written(artifact, tmp_path, environment, limit, said):
    frame = broken(table(100), "a null column")
    frame.loc[:9, "amount"] = 1e9
    frame.to_csv(tmp_path / "x.csv", index=False)
    arguments = ("score", "--model", artifact, "--input", tmp_path / "x.csv", "--output", tmp_path / "out", "--json")
    for _ in range(2):  # a finished folder is no way around it
        done = run(environment, *arguments, *limit)
        assert done.returncode == 4 and f"error: {said}" in done.stderr.replace("\n", " ") or said in done.stderr
        assert json.loads(done.stdout)["exceeded"] and json.loads(done.stdout)["rows"] == 100
        assert len(pd.read_parquet(tmp_path / "out")) == 100
    generous = ("--max-missing-share", "1", "--max-alarm-share", "1")
    assert run(environment, *arguments, *generous).returncode == 0
    assert run(environment, *arguments, "--max-alarm-share", "7").returncode == 2


def test_text_that_became_a_number_is_said(artifact, tmp_path, capsys):
    broken(table(50), "a number for a category").to_parquet(tmp_path / "x.parquet")
    score_batch(artifact, tmp_path / "x.parquet", tmp_path / "out")
    assert "x.parquet: column 'kind' holds int64, and held text in training" in capsys.readouterr().err


@pytest.mark.parametrize("max_rows", [7, 512])
def test_a_stream_reports_the_same_shares(artifact, tmp_path, capsys, max_rows):
    from serving.stream import run_stream

    frame = broken(table(100), "a word never seen")
    (tmp_path / "in.jsonl").write_text(frame.to_json(orient="records", date_format="iso", lines=True))
    frame.to_parquet(tmp_path / "x.parquet")
    batch = score_batch(artifact, tmp_path / "x.parquet", tmp_path / "out")
    capsys.readouterr()
    run_stream(artifact, str(tmp_path / "in.jsonl"), tmp_path / "s.db", max_rows=max_rows, as_json=True)
    said = capsys.readouterr()
    stream = json.loads(said.out)
    assert stream["shares"] == batch.shares and stream["alarm_share"] == batch.alarm_share
    assert stream["doubts"] == batch.doubts and "warning: column 'kind': 100.0% of the values are unseen" in said.err


@pytest.mark.parametrize("parts", [1, 3])
def test_rows_that_are_less_usual_than_those_of_calibration_are_said(artifact, tmp_path, capsys, parts):
    from serving.stream import run_stream

    usual, moved = table(900, 21), table(900, 22)
    moved["amount"] *= 8
    for name, frame, said in (("usual", usual, False), ("moved", moved, True)):
        frame.to_parquet(tmp_path / f"{name}.parquet")
        batch = score_batch(artifact, tmp_path / f"{name}.parquet", tmp_path / f"out-{name}")
        assert any("p-values no longer fit" in doubt for doubt in batch.doubts) == said, (name, batch.doubts)
        lines = frame.to_json(orient="records", date_format="iso", lines=True).splitlines(keepends=True)
        capsys.readouterr()
        words = ""
        for part in range(parts):  # each a new process of the stream, over a file that grows
            with (tmp_path / f"{name}.jsonl").open("a") as file:
                file.writelines(lines[part * len(lines) // parts : (part + 1) * len(lines) // parts])
            run_stream(artifact, str(tmp_path / f"{name}.jsonl"), tmp_path / f"{name}.db", as_json=True)
            words += capsys.readouterr().err
        assert ("p-values no longer fit" in words) == said
        with sqlite3.connect(tmp_path / f"{name}.db") as connection:
            ((cursor,),) = connection.execute("SELECT state FROM cursor").fetchall()
        fit = json.loads(cursor)["fit"]
        assert sum(fit["seen"]) == 900 and (fit["peak"] > 1000) == said
