"""One bad value costs one row: dead letters, their bound, changed inputs, and days without rows."""

import json
import signal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from serving_data import table
from test_batch import run

from serving.artifact import load_artifact
from serving.batch import open_scores, score_batch
from serving.errors import DataError, IntegrityError
from serving.scorer import Scorer
from serving.verify import line, verify

HEADER = "amount,count,flag,kind,when\n"
BAD = {
    "amount": "n/a, sorry",
    "count": "many",
    "flag": "perhaps",
    "when": "soon",
}


@pytest.fixture
def three(tmp_path):
    """Three CSV files of 50 rows."""
    folder = tmp_path / "input"
    folder.mkdir()
    for number, name in enumerate("abc"):
        table(50, number).to_csv(folder / f"{name}.csv", index=False)
    return folder


def spoil(path, row, column, value):
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame.loc[row, column] = value
    frame.to_csv(path, index=False)


def letters(folder):
    return [json.loads(text) for path in sorted((folder / "_dead").glob("*")) for text in path.open()]


@pytest.mark.parametrize("column", BAD)
def test_one_bad_value_costs_one_row(artifact, three, tmp_path, column):
    before = Scorer(load_artifact(artifact)).score(pd.read_csv(three / "b.csv")).anomaly_score
    spoil(three / "b.csv", 7, column, BAD[column])
    summary = score_batch(artifact, three, tmp_path / "out")
    assert (summary.rows, summary.dead) == (149, 1) and "1 dead letter" in summary.line()
    (letter,) = letters(tmp_path / "out")
    assert (letter["source"], letter["source_row"], letter["column"]) == ("b.csv", 7, column)
    assert BAD[column] in letter["reason"] and json.loads(letter["raw"])[column] == BAD[column]
    scores = open_scores(tmp_path / "out").to_pandas().query("source == 'b.csv'")
    assert scores["source_row"].tolist() == [i for i in range(50) if i != 7]
    np.testing.assert_allclose(scores["anomaly_score"], np.delete(before, 7), rtol=1e-5)
    counts = verify(tmp_path / "out")
    assert (counts["rows"], counts["dead"]) == (149, 1) and "149 rows in 3 parts and 1 dead letter" in line(counts)
    assert pd.read_parquet(tmp_path / "out").shape[0] == 149


def test_lines_of_the_wrong_length_are_dead_letters(artifact, three, tmp_path):
    lines = (three / "a.csv").read_text().splitlines(keepends=True)
    lines[3] = "1,2\n"
    lines[10] = '5,6,true,"a\nb",2026-01-01,7\n'
    lines[50] = "9\n"
    (three / "a.csv").write_text("".join(lines))
    assert score_batch(artifact, three, tmp_path / "out").dead == 3
    found = letters(tmp_path / "out")
    assert [(f["source_row"], f["column"]) for f in found] == [(2, ""), (9, ""), (49, "")]
    assert found[0]["raw"] == "1,2" and found[1]["reason"] == "has 6 values, where the header has 5"
    assert verify(tmp_path / "out")["dead"] == 3
    rows = open_scores(tmp_path / "out").to_pandas().query("source == 'a.csv'")["source_row"]
    assert rows.tolist() == [i for i in range(50) if i not in (2, 9, 49)]


@pytest.mark.parametrize("seed", range(3))
def test_any_rows_of_any_columns_are_sifted_out_exactly(artifact, seed):
    rng = np.random.default_rng(seed)
    frame = table(200, seed).astype(str)
    places = {(int(rng.integers(200)), str(rng.choice(list(BAD)))) for _ in range(40)}
    for row, column in places:
        frame.loc[row, column] = BAD[column] + (str(row) if row % 2 else "")
    scorer = Scorer(load_artifact(artifact))
    found = scorer.reader.sift(pa.Table.from_pandas(frame), 200)
    assert sorted({row for row, _, _ in found.bad}) == sorted({row for row, _ in places})
    assert len({row for row, _, _ in found.bad}) == len(found.bad) and all(p[:2] in places for p in found.bad)
    assert sorted([*found.good, *(row for row, _, _ in found.bad)]) == list(range(200))
    np.testing.assert_array_equal(
        found.feeds["amount"], scorer.reader.feeds(pa.Table.from_pandas(frame.iloc[found.good]))["amount"]
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_too_many_bad_rows_end_the_run_and_what_is_committed_stays(artifact, three, tmp_path, environment, workers):
    arguments = ("score", "--model", artifact, "--input", three, "--output", tmp_path / "out", "--workers", workers)
    for name in "bc":
        for row in range(8):
            spoil(three / f"{name}.csv", row, "amount", "much")
    for _ in range(2):
        done = run(environment, *arguments)
        assert done.returncode == 4 and "16 rows of 150 cannot be scored, more than --max-bad-share 0.1" in done.stderr
        assert "'amount', row 0: 'much'" in done.stderr and len(done.stderr.splitlines()) == 1
    with pytest.raises(IntegrityError, match="not finished"):
        verify(tmp_path / "out")
    assert "--bad-rows keep" in run(environment, *arguments, "--bad-rows", "stop").stderr
    done = run(environment, *arguments, "--max-bad-share", "0.2", "--json")
    assert json.loads(done.stdout)["dead"] == 16 and json.loads(done.stdout)["units"] == 0, done.stderr
    assert run(environment, *arguments, "--max-bad-share", "2").returncode == 2


@pytest.mark.parametrize("column", BAD)
def test_a_column_of_nonsense_is_found_quickly(artifact, tmp_path, column):
    import time

    frame = table(30_000).astype(str)
    frame[column] = [f"{BAD[column]} {i}" for i in range(len(frame))]
    frame.to_csv(tmp_path / "x.csv", index=False)
    start = time.monotonic()
    with pytest.raises(DataError, match=f"column '{column}', row 0: .*more than --max-bad-share"):
        score_batch(artifact, tmp_path / "x.csv", tmp_path / "out")
    assert time.monotonic() - start < 30


def test_stopping_at_the_first_bad_row(artifact, three, tmp_path):
    spoil(three / "b.csv", 7, "count", "many")
    with pytest.raises(DataError, match="b.csv: column 'count', row 7: 'many'.*--bad-rows keep"):
        score_batch(artifact, three, tmp_path / "out", bad_rows="stop")
    assert score_batch(artifact, three, tmp_path / "out").dead == 1
    with pytest.raises(DataError, match="--bad-rows keep"):  # also where an earlier run kept it
        score_batch(artifact, three, tmp_path / "out", bad_rows="stop")


POINTS = ["unit_scored:2", "dead_letters_renamed", "dead_letters_renamed:2", "part_renamed:2", "unit_committed:2"]


@pytest.mark.parametrize("fdr", [(), ("--fdr", "0.4")])
@pytest.mark.parametrize("point", POINTS)
def test_killed_with_dead_letters_a_rerun_counts_each_once(artifact, three, tmp_path, environment, point, fdr):
    for name in "bc":
        spoil(three / f"{name}.csv", 7, "count", "many")
    arguments = ("score", "--model", artifact, "--input", three, "--output", tmp_path / "out", *fdr)
    assert run(environment, *arguments, crash=point).returncode == -signal.SIGKILL
    done = run(environment, *arguments, "--json")
    assert json.loads(done.stdout)["dead"] == 2, done.stderr
    assert verify(tmp_path / "out")["rows"] == len(pd.read_parquet(tmp_path / "out")) == 148
    assert [(f["source"], f["source_row"]) for f in letters(tmp_path / "out")] in (
        [("b.csv", 7), ("c.csv", 7)], [("c.csv", 7), ("b.csv", 7)]
    )  # fmt: skip
    assert not list((tmp_path / "out").rglob(".tmp*"))


def test_dead_letters_that_were_changed_do_not_recount(artifact, three, tmp_path):
    spoil(three / "b.csv", 7, "count", "many")
    score_batch(artifact, three, tmp_path / "out")
    path = next((tmp_path / "out" / "_dead").iterdir())
    path.write_text(path.read_text().replace('"source_row": 7', '"source_row": 8'))
    with pytest.raises(IntegrityError, match="dead-.*changed after"):
        verify(tmp_path / "out")
    path.unlink()
    with pytest.raises(IntegrityError, match="dead-.*is gone"):
        verify(tmp_path / "out")


def test_after_a_fix_the_same_command_scores_that_file_anew(artifact, three, tmp_path, capsys):
    good = (three / "b.csv").read_text()
    spoil(three / "b.csv", 7, "count", "many")
    score_batch(artifact, three, tmp_path / "out")
    kept = {p.name for p in (tmp_path / "out").glob("part-*")}
    (three / "b.csv").write_text(good)
    again = score_batch(artifact, three, tmp_path / "out")
    assert (again.rows, again.dead, again.units, again.skipped) == (150, 0, 1, 2)
    assert "the input was changed (changed: 'b.csv'); 1 unit scored anew, 2 kept" in capsys.readouterr().err
    assert len(kept & {p.name for p in (tmp_path / "out").glob("part-*")}) == 2
    assert not list((tmp_path / "out" / "_dead").iterdir()) and verify(tmp_path / "out")["rows"] == 150
    (three / "a.csv").unlink()
    table(5, 9).to_csv(three / "d.csv", index=False)
    again = score_batch(artifact, three, tmp_path / "out")
    assert (again.rows, again.units) == (105, 1)
    assert "new: 'd.csv', removed: 'a.csv'" in capsys.readouterr().err
    assert verify(tmp_path / "out")["rows"] == len(pd.read_parquet(tmp_path / "out")) == 105


POINTS_OF_A_CHANGE = ["plan_written", "unit_scored", "part_renamed", "unit_committed", "manifest_written"]


@pytest.mark.parametrize("fdr", [(), ("--fdr", "0.4")])
@pytest.mark.parametrize("point", POINTS_OF_A_CHANGE)
def test_killed_while_a_changed_input_is_scored(artifact, three, tmp_path, environment, point, fdr):
    arguments = ("score", "--model", artifact, "--input", three, "--output", tmp_path / "out", *fdr)
    assert run(environment, *arguments).returncode == 0
    table(20, 5).to_csv(three / "aa.csv", index=False)
    assert run(environment, *arguments, crash=point).returncode == -signal.SIGKILL
    assert run(environment, *arguments).returncode == 0
    assert verify(tmp_path / "out")["rows"] == 170
    sources = pd.read_parquet(tmp_path / "out")["source"].drop_duplicates().tolist()
    assert sources == ["a.csv", "aa.csv", "b.csv", "c.csv"]


def test_with_a_false_discovery_rate_a_fix_keeps_what_was_scored(artifact, three, tmp_path, capsys):
    good = (three / "c.csv").read_text()
    (three / "c.csv").write_text(good.replace("True", "perhaps"))
    with pytest.raises(DataError, match="perhaps"):
        score_batch(artifact, three, tmp_path / "out", fdr=0.4, max_bad_share=0.01)
    (three / "c.csv").write_text(good)
    again = score_batch(artifact, three, tmp_path / "out", fdr=0.4)
    assert (again.skipped, again.units) == (2, 1)
    assert "1 unit scored anew, 2 kept" in capsys.readouterr().err
    score_batch(artifact, three, tmp_path / "fresh", fdr=0.4)
    chosen = [open_scores(folder)["fdr_selected"].to_pylist() for folder in (tmp_path / "out", tmp_path / "fresh")]
    assert chosen[0] == chosen[1]


def test_other_input_with_nothing_in_common_is_asked_about(artifact, three, tmp_path):
    score_batch(artifact, three, tmp_path / "out")
    (tmp_path / "elsewhere").mkdir()
    table(5, 9).to_csv(tmp_path / "elsewhere" / "a.csv", index=False)
    with pytest.raises(DataError, match="made for other input .*input.; choose another --output, or --new-run"):
        score_batch(artifact, tmp_path / "elsewhere", tmp_path / "out")
    assert score_batch(artifact, tmp_path / "elsewhere", tmp_path / "out", new_run=True).rows == 5
    assert len(pd.read_parquet(tmp_path / "out")) == 5


def quiet(folder, which):
    folder.mkdir()
    if which in ("header", "among"):
        (folder / "a.csv").write_text(HEADER)
    if which == "nothing":
        (folder / "a.csv").write_bytes(b"")
        (folder / "b.parquet").write_bytes(b"")
    if which == "no rows":
        table(3).iloc[:0].to_parquet(folder / "a.parquet")
    if which == "among":
        table(20).to_csv(folder / "b.csv", index=False)
    return folder


@pytest.mark.parametrize("which", ["empty", "header", "nothing", "no rows", "among"])
def test_a_day_without_rows_is_no_error_unless_rows_are_required(artifact, tmp_path, environment, which):
    source = quiet(tmp_path / "input", which)
    arguments = ("score", "--model", artifact, "--input", source, "--output", tmp_path / "out")
    done = run(environment, *arguments, "--json")
    assert done.returncode == 0 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "no rows" in done.stderr and "--require-rows makes this exit 4" in done.stderr
    rows = 20 if which == "among" else 0
    assert json.loads(done.stdout)["rows"] == verify(tmp_path / "out")["rows"] == rows
    if which != "empty":
        scores = pd.read_parquet(tmp_path / "out")
        assert len(scores) == rows and scores.columns[0] == "source"
    strict = run(environment, *arguments, "--require-rows", "--output", tmp_path / "strict")
    assert strict.returncode == 4 and "no rows" in strict.stderr and not (tmp_path / "strict").exists()


def test_typed_columns_have_bad_rows_too(artifact, tmp_path):
    frame = table(40)
    frame["when"] = frame["when"].astype(str)
    frame.loc[5, "when"] = "soon"
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "x.parquet", row_group_size=7)
    assert score_batch(artifact, tmp_path / "x.parquet", tmp_path / "out").dead == 1
    assert letters(tmp_path / "out")[0]["source_row"] == 5 and verify(tmp_path / "out")["dead"] == 1
