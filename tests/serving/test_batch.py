"""Batch scoring: every input row exactly once, whatever happens, and one clear message for whatever goes wrong."""

import contextlib
import gzip
import json
import signal
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from serving_data import table

from serving.artifact import load_artifact
from serving.batch import open_scores, score_batch
from serving.errors import DataError, IntegrityError, TemporaryError, UsageError
from serving.files import _checksum
from serving.scorer import Scorer
from serving.verify import verify


@pytest.fixture
def source(tmp_path):
    """A folder with two Parquet files and a CSV, units of one row group each."""
    folder = tmp_path / "input"
    (folder / "deep").mkdir(parents=True)
    table(300, 1).to_parquet(folder / "a.parquet", row_group_size=100)
    table(200, 2).to_parquet(folder / "deep" / "b.parquet", row_group_size=100)
    table(50, 3).to_csv(folder / "c.csv", index=False)
    return folder


def run(environment, *arguments, crash=None):
    env = {**environment, **({"GANLIB_CRASH_AT": crash} if crash else {})}
    command = [sys.executable, "-m", "serving", *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


def expected(artifact):
    scorer = Scorer(load_artifact(artifact))
    frames = {"a.parquet": table(300, 1), "deep/b.parquet": table(200, 2), "c.csv": table(50, 3)}
    return {name: scorer.score(frame).anomaly_score for name, frame in frames.items()}


def check_exactly_once(artifact, output):
    scores = open_scores(output).to_pandas()
    want = expected(artifact)
    assert len(scores) == sum(map(len, want.values()))
    for name, values in want.items():
        mine = scores[scores["source"] == name].sort_values("source_row")
        assert mine["source_row"].tolist() == list(range(len(values)))
        assert np.allclose(mine["anomaly_score"], values, rtol=1e-6)


def test_files_and_folders_are_scored_with_lineage(artifact, source, tmp_path):
    summary = score_batch(artifact, source, tmp_path / "out", model_name="pump", model_version="3")
    assert summary.rows == 550 and verify(tmp_path / "out")["rows"] == 550
    check_exactly_once(artifact, tmp_path / "out")
    row = open_scores(tmp_path / "out").to_pylist()[0]
    assert (row["model_name"], row["model_version"], row["artifact_sha256"]) == ("pump", "3", summary.artifact_sha256)
    assert row["scored_at"].tzinfo is not None and row["alpha"] == pytest.approx(summary.alpha)


def test_a_second_run_does_nothing_and_other_settings_are_refused(artifact, source, tmp_path):
    score_batch(artifact, source, tmp_path / "out")
    again = score_batch(artifact, source, tmp_path / "out")
    assert again.units == 0 and again.skipped > 0
    with pytest.raises(DataError, match="made for alpha"):
        score_batch(artifact, source, tmp_path / "out", alpha=0.2)
    table(10, 9).to_parquet(source / "z.parquet")
    with pytest.raises(DataError, match="made for alpha"):
        score_batch(artifact, source, tmp_path / "out", alpha=0.2)
    renewed = score_batch(artifact, source, tmp_path / "out", alpha=0.2, new_run=True)
    assert renewed.rows == 560 and verify(tmp_path / "out")["rows"] == 560


def test_explanations_are_columns(artifact, source, tmp_path):
    score_batch(artifact, source / "c.csv", tmp_path / "out", explain=True)
    names = [n for n in open_scores(tmp_path / "out").column_names if n.startswith("contribution.")]
    assert names == ["contribution.amount", "contribution.count", "contribution.flag", "contribution.kind",
                     "contribution.when"]  # fmt: skip


POINTS = ["lease_taken", "plan_written", "unit_scored", "input_checked", "part_renamed", "unit_committed",
          "unit_scored:2", "part_renamed:3", "unit_committed:3", "manifest_written"]  # fmt: skip


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_point_a_rerun_gives_each_row_once(artifact, source, tmp_path, environment, point):
    arguments = ("score", "--model", artifact, "--input", source, "--output", tmp_path / "out")
    killed = run(environment, *arguments, crash=point)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    if point != "manifest_written":
        with pytest.raises((IntegrityError, UsageError), match="not finished|holds no _plan.json"):
            verify(tmp_path / "out")
    finished = run(environment, *arguments, "--json")
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["rows"] == 550
    assert verify(tmp_path / "out")["rows"] == 550
    check_exactly_once(artifact, tmp_path / "out")
    assert not list((tmp_path / "out").rglob(".tmp*")) and not (tmp_path / "out" / "_lease.json").exists()


def test_verify_sees_what_was_changed(artifact, source, tmp_path):
    score_batch(artifact, source, tmp_path / "out")
    part = next((tmp_path / "out").glob("part-*.parquet"))
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="changed after"):
        verify(tmp_path / "out")
    part.unlink()
    with pytest.raises(IntegrityError, match="is gone"):
        verify(tmp_path / "out")
    with pytest.raises(UsageError, match="no output"):
        verify(tmp_path)


def test_a_living_holder_of_the_lease_is_respected(artifact, source, tmp_path):
    import os
    import socket

    (tmp_path / "out").mkdir()
    holder = {"host": socket.gethostname(), "pid": os.getppid(), "started": 0}
    (tmp_path / "out" / "_lease.json").write_text(json.dumps(holder))
    with pytest.raises(TemporaryError, match=str(os.getppid())):
        score_batch(artifact, source, tmp_path / "out")


def broken(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("latin.csv", "amount,count,flag,kind,when\n1,2,true,caf\xe9,2026-01-01\n".encode("latin-1"), "UTF-8"),
        ("word.csv", b"amount,count,flag,kind,when\nmuch,2,true,a,2026-01-01\n", "'amount', row 0: 'much'"),
        ("renamed.csv", b"amounts,count,flag,kind,when\n1,2,true,a,2026-01-01\n", "renamed to 'amounts'"),
        ("twice.csv", b"amount,amount,count,flag,kind,when\n1,1,2,true,a,2026-01-01\n", "twice: 'amount'"),
        ("ragged.csv", b"amount,count,flag,kind,when\n1,2,true\n", "row 0: has 3 values, where the header has 5"),
        ("list.jsonl", b"[1]\n", "row 0: is not an object but list"),
        ("cut.csv.gz", gzip.compress(table(90).to_csv().encode())[:-9], "cannot be read"),
        ("none.csv.gz", b"a,b\n", "cannot be read"),
        ("date.csv", b"amount,count,flag,kind,when\n1,2,true,a,soon\n", "ISO date"),
        ("broken.parquet", b"PAR1 but not really PAR1", "Parquet"),
    ],
)
def test_bad_input_gets_one_message_and_exit_code_4(artifact, tmp_path, environment, name, content, words):
    path = broken(tmp_path, name, content)
    result = run(environment, "score", "--model", artifact, "--input", path, "--output", tmp_path / "out")
    assert result.returncode == 4, result.stderr
    assert words in result.stderr and "Traceback" not in result.stderr and len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("out/part-*")) and not (tmp_path / "out" / "_manifest.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--alpha", "0.000001"), 2, "alpha_min"),
        (("--alpha", "1.5"), 2, "less than 1"),
        (("--input", "nowhere.csv"), 2, "no input"),
        (("--model", "nowhere.onnx"), 2, "no artifact"),
    ],
)
def test_bad_options_get_exit_code_2(artifact, source, tmp_path, environment, arguments, code, words):
    base = ["--model", artifact, "--input", source, "--output", tmp_path / "out"]
    result = run(environment, "score", *base, *arguments)
    assert result.returncode == code and words in result.stderr and "Traceback" not in result.stderr


def test_a_full_disk_is_temporary(artifact, source, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(TemporaryError, match="no space left"):
        score_batch(artifact, source, tmp_path / "out")
    assert not [p for p in (tmp_path / "out").rglob("*part*") if p.is_file()]


def test_csv_and_parquet_agree(artifact, tmp_path):
    frame = table(100, 5)
    frame.to_csv(tmp_path / "x.csv", index=False)
    frame.to_parquet(tmp_path / "x.parquet")
    scores = []
    for name in ("x.csv", "x.parquet"):
        score_batch(artifact, tmp_path / name, tmp_path / f"out-{name}")
        scores.append(open_scores(tmp_path / f"out-{name}")["anomaly_score"].to_numpy())
    assert np.array_equal(*scores)


FDR_POINTS = [
    "unit_committed:3",
    "threshold_written",
    "part_selected",
    "unit_selected",
    "unit_selected:3",
    "manifest_written",
]


def benjamini_hochberg(p_values, rate):
    """By sorting, as in the paper: the independent reference."""
    p = np.sort(np.asarray(p_values, dtype=np.float64))
    below = np.flatnonzero(p <= rate * np.arange(1, len(p) + 1) / len(p))
    return p[below[-1]] if len(below) else 0.0


@pytest.mark.parametrize("point", [None, *FDR_POINTS])
def test_a_false_discovery_rate_adds_a_column_over_the_whole_run(artifact, source, tmp_path, environment, point):
    table(60, 4).assign(amount=1e4, count=900).to_parquet(source / "odd.parquet")
    arguments = ("score", "--model", artifact, "--input", source, "--output", tmp_path / "out", "--fdr", "0.4")
    if point:
        assert run(environment, *arguments, crash=point).returncode == -signal.SIGKILL
    finished = run(environment, *arguments, "--json")
    assert finished.returncode == 0, finished.stderr
    assert verify(tmp_path / "out")["rows"] == 610
    scores = open_scores(tmp_path / "out").to_pandas()
    assert not scores.duplicated(["source", "source_row"]).any()
    threshold = benjamini_hochberg(scores["p_value"], 0.4)
    assert threshold > 0 and scores["fdr_selected"].sum() >= 60
    assert (scores["fdr_selected"] == (scores["p_value"].astype(float) <= threshold)).all()
    assert json.loads(finished.stdout)["fdr_selected"] == scores["fdr_selected"].sum()
    assert not list((tmp_path / "out" / "_scored").iterdir())


def test_a_folder_keeps_its_false_discovery_rate(artifact, source, tmp_path):
    score_batch(artifact, source, tmp_path / "out", fdr=0.4)
    again = score_batch(artifact, source, tmp_path / "out", fdr=0.4)
    assert again.units == 0 and verify(tmp_path / "out")["rows"] == 550
    with pytest.raises(DataError, match="false discovery rate"):
        score_batch(artifact, source, tmp_path / "out", fdr=0.2)
    with pytest.raises(UsageError, match="between 0 and 1"):
        score_batch(artifact, source, tmp_path / "other", fdr=1.0)
    plain = score_batch(artifact, source, tmp_path / "out", new_run=True)
    assert plain.fdr_selected is None and "fdr_selected" not in open_scores(tmp_path / "out").column_names
    assert verify(tmp_path / "out")["rows"] == 550


def test_the_verifier_sees_a_part_that_holds_other_rows(artifact, source, tmp_path):
    score_batch(artifact, source, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    manifest["parts"][0]["start_row"] = 5
    (tmp_path / "out" / "_manifest.json").write_text(json.dumps(manifest))
    manifest["checksum"] = _checksum({key: value for key, value in manifest.items() if key != "checksum"})
    (tmp_path / "out" / "_manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(IntegrityError, match=r"_commits/\w+.json and .*_manifest.json differ"):
        verify(tmp_path / "out")


def test_processes_share_the_units_and_give_the_same_rows(artifact, source, tmp_path, environment):
    arguments = ("score", "--model", artifact, "--input", source, "--output", tmp_path / "out", "--workers", "2")
    done = run(environment, *arguments, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["units"] == 3, done.stderr
    assert verify(tmp_path / "out")["rows"] == 550
    check_exactly_once(artifact, tmp_path / "out")


@pytest.mark.parametrize("point", ["unit_scored", "part_renamed", "unit_committed"])
def test_a_killed_process_is_temporary_and_a_rerun_finishes(artifact, source, tmp_path, environment, point):
    arguments = ("score", "--model", artifact, "--input", source, "--output", tmp_path / "out", "--workers", "2")
    killed = run(environment, *arguments, crash=point)
    assert killed.returncode == 75 and "was killed" in killed.stderr and "Traceback" not in killed.stderr, killed.stderr
    assert run(environment, *arguments).returncode == 0
    check_exactly_once(artifact, tmp_path / "out")


def test_killed_parents_leave_no_process_and_a_rerun_finishes(artifact, source, tmp_path, environment):
    import os
    import time

    import psutil

    table(400_000, 6).to_parquet(source / "large.parquet", row_group_size=50_000)
    command = [sys.executable, "-m", "serving", "score", "--model", artifact, "--input", source, "--output",
               tmp_path / "out", "--workers", "2"]  # fmt: skip
    parent = subprocess.Popen(list(map(str, command)), env=environment, stderr=subprocess.DEVNULL)
    children, until = [], time.monotonic() + 30
    while len(children) < 2 and time.monotonic() < until:
        with contextlib.suppress(psutil.NoSuchProcess):  # one that has just ended
            children = [c for c in psutil.Process(parent.pid).children() if "spawn_main" in " ".join(c.cmdline())]
        time.sleep(0.05)
    assert len(children) == 2
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert subprocess.run(list(map(str, command)), env=environment, capture_output=True).returncode == 0
    assert verify(tmp_path / "out")["rows"] == 400_550


def test_what_a_process_refuses_is_said_as_ever(artifact, source, tmp_path, environment):
    (source / "odd.csv").write_text("amount,count,flag,kind,when\nmuch,2,true,a,2026-01-01\n")
    arguments = ("score", "--model", artifact, "--input", source, "--output", tmp_path / "out", "--workers", "2",
                 "--bad-rows", "stop")  # fmt: skip
    done = run(environment, *arguments)
    assert done.returncode == 4 and "'amount', row 0: 'much'" in done.stderr and "Traceback" not in done.stderr
    assert run(environment, *arguments, "--workers", "0").returncode == 2
