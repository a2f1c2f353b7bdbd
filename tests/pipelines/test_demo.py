"""The demo as its user runs it: every flow under Prefect's embedded API, and what each leaves behind."""

import json
import os
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from pipeline_data import sensor_table

ROOT = Path(__file__).resolve().parents[2]


def run(folder, *args, **environment):
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "PREFECT", "GANLIB"))}
    env = {**inherited, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200", **environment}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "pipelines.cli", *map(str, args)],
        cwd=folder, env=env, capture_output=True, text=True, timeout=280,
    )  # fmt: skip


def counts(folder, database, question):
    connection = sqlite3.connect(folder / database)
    try:
        return connection.execute(question).fetchall()
    finally:
        connection.close()


@pytest.mark.timeout(420)
def test_the_demo_makes_what_it_names_once_and_its_commands_work(tmp_path):
    # Training is cut short, nothing else.
    done = run(tmp_path, "demo", GANLIB__TRAINING__STEPS="60")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert [line[:5] for line in done.stderr.splitlines() if line.startswith("[")] == [f"[{i}/6]" for i in range(1, 7)]
    products_hold(tmp_path)
    flows_left_runs_and_artifacts(tmp_path)
    commands_work(tmp_path, done.stdout)
    second_run_makes_nothing_again(tmp_path)


def products_hold(folder):
    batch = pd.concat(map(pd.read_parquet, (folder / "runs/demo/scores").rglob("*.parquet")))
    live = counts(folder, "runs/demo/stream.db", "SELECT count(*), sum(is_anomaly) FROM scores")[0]
    assert live == (len(batch), batch["is_anomaly"].sum()) and len(batch) == 114
    dead = counts(folder, "runs/demo/stream.db", "SELECT body, reason FROM dead_letters")
    assert len(dead) == 1 and "not JSON" in dead[0][1]
    made = pd.read_parquet(folder / "runs/demo/augmented.parquet")
    real = pd.read_parquet(folder / "runs/demo/scarce.parquet")
    pd.testing.assert_frame_equal(made.loc[~made["_synthetic"], real.columns].reset_index(drop=True), real)
    assert made["digit"].value_counts().nunique() == 1
    assert "macro AUPRC over real rows alone" in (folder / "runs/demo/augmented.report.html").read_text()
    assert run(folder, "verify", "runs/demo/scores").returncode == 0


def flows_left_runs_and_artifacts(folder):
    states = "SELECT f.name, r.state_type FROM flow_run r JOIN flow f ON f.id = r.flow_id"
    flows = ("augment", "promote", "score-batch", "train-augmenter", "train-detector")
    assert sorted(counts(folder, "runs/prefect/prefect.db", states)) == [(name, "COMPLETED") for name in flows]
    left = {key for (key,) in counts(folder, "runs/prefect/prefect.db", "SELECT key FROM artifact")}
    tables = {"candidates-demo", "gates-demo", "scores", "lift-demo-augmenter", "augmented"}
    assert tables | {"artifact-demo", "scores-folder"} <= left


def commands_work(folder, said):
    commands = said[said.index("next:") :].splitlines()[1:]
    assert len(commands) == 3 and "demo --data" in commands[2]
    for command in commands[:2]:
        tried = run(folder, *shlex.split(command)[1:])
        assert tried.returncode == 0, (command, tried.stderr)


def second_run_makes_nothing_again(folder):
    before = {p: p.stat().st_mtime_ns for p in (folder / "runs/demo/scores").rglob("*")}
    again = run(folder, "demo")
    assert again.returncode == 0 and again.stderr.count("made already") == 5
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert json.loads(run(folder, "history", "demo", "--json").stdout)[0]["to"] == "1"


@pytest.mark.timeout(300)
def test_the_demo_takes_ones_own_table(tmp_path):
    sensor_table(300).to_csv(tmp_path / "pump data.csv", index=False)
    done = run(tmp_path, "demo", "--data", "pump data.csv", "--label", "fault", GANLIB__TRAINING__STEPS="40")
    assert done.returncode == 0, done.stderr
    assert "fault = '0' is normal" in done.stderr and "pump-data version 1" in " ".join(done.stdout.split())
    assert (tmp_path / "runs/pump-data/augmented.parquet").exists()
    wrong = run(tmp_path, "demo", "--data", "pump data.csv", "--label", "falt")
    assert wrong.returncode == 4 and "did you mean 'fault'" in wrong.stderr and "Traceback" not in wrong.stderr
