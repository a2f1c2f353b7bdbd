"""The README, word for word: the demo, then every command and snippet of the three tours in the demo's folder."""

import json
import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "pipelines"))
from pipeline_data import sensor_table  # noqa: E402
from servers import end, environment, free_port, start, wait_for  # noqa: E402


def run(folder, *args, **more):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "pipelines.cli", *map(str, args)],
        cwd=folder, env=environment(**more), capture_output=True, text=True, timeout=480,
    )  # fmt: skip


def snippets(kind):
    """The README's blocks of one kind below the tours' headings."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{kind}\n(.*?)```", text[text.index("## Tour 1") :], flags=re.DOTALL)


def counts(folder, database, question):
    connection = sqlite3.connect(folder / database)
    try:
        return connection.execute(question).fetchall()
    finally:
        connection.close()


@pytest.mark.timeout(1800)
def test_the_demo_and_the_tours(tmp_path):
    # Training is cut short, nothing else.
    done = run(tmp_path, "demo", GANLIB__TRAINING__STEPS="60")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert [line[:5] for line in done.stderr.splitlines() if line.startswith("[")] == [f"[{i}/6]" for i in range(1, 7)]
    products_hold(tmp_path)
    flows_left_runs_and_artifacts(tmp_path)
    commands_work(tmp_path, done.stdout)
    second_run_makes_nothing_again(tmp_path)
    tours_work(tmp_path)
    nightly_deployment_works(tmp_path)


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
    assert "are likely to help" in (folder / "runs/demo/augmented.report.html").read_text()
    # Ten digits are told apart already: no file, and the reason.
    assert "not likely to help" in (folder / "runs/demo/several-augmented.report.html").read_text()
    assert not (folder / "runs/demo/several-augmented.parquet").exists()
    assert run(folder, "verify", "runs/demo/scores").returncode == 0


def flows_left_runs_and_artifacts(folder):
    states = "SELECT f.name, r.state_type FROM flow_run r JOIN flow f ON f.id = r.flow_id"
    flows = ("augment", "promote", "score-batch", "train-augmenter", "train-detector")
    ended = [("augment", "FAILED"), *((name, "COMPLETED") for name in flows)]  # one is stopped by the gate
    assert sorted(counts(folder, "runs/prefect/prefect.db", states)) == sorted(ended)
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


def tours_work(folder):
    """In the README's order; the gates are lenient, since training is cut short."""
    commands = [line for block in snippets("sh") for line in block.strip().splitlines()]
    assert len(commands) >= 10
    short = {"GANLIB__TRAINING__STEPS": "60", "GANLIB__REGISTRY__GATES": str(lenient(folder))}
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=environment(**short), capture_output=True, text=True
        )
        assert done.returncode == 0, (command, done.stderr)
    assert (folder / "runs/more.report.html").exists() and (folder / "runs/demo.onnx.sha256").exists()
    for code in snippets("python"):
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=folder, env=environment(),
                              capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0 and done.stdout.strip(), (code, done.stderr)


def lenient(folder):
    gates = folder / "gates.yaml"
    gates.write_text("version: 1\ndetector: {integrity: true, privacy: true}\naugmenter: {integrity: true}\n")
    return gates


def nightly_deployment_works(folder):
    """The block about Prefect, with a server of its own: deploy, a worker, one run."""
    (block,) = snippets("sh prefect")
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    assert "export PREFECT_API_URL=http://127.0.0.1:4200/api" in block
    assert "export PREFECT_API_URL=http://127.0.0.1:4200/api" in (ROOT / "prefect.yaml").read_text()
    # Word for word but for the port: another server may run here. What is exported comes from the block alone.
    *setup, worker = block.replace("http://127.0.0.1:4200/api", api).strip().splitlines()
    exports = [line for line in setup if line.startswith("export ")]
    (folder / "prefect.yaml").symlink_to(ROOT / "prefect.yaml")
    env = environment(PREFECT_HOME=str(folder / "server"), PREFECT_SERVER_ANALYTICS_ENABLED="false", DO_NOT_TRACK="1",
                      PREFECT_WORKER_QUERY_SECONDS="1")  # fmt: skip
    started = [start(f"prefect server start --port {port} --no-ui", folder, env)]
    try:
        wait_for(f"http://127.0.0.1:{port}/api/health", 90)
        done = subprocess.run(["bash", "-ec", "\n".join(setup)], cwd=folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        started.append(start(worker, folder, env, *exports))
        run = "\n".join([*exports, "prefect deployment run score-batch/nightly --watch --watch-timeout 150"])
        done = subprocess.run(["bash", "-c", run], cwd=folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0 and "Completed" in done.stdout + done.stderr, done.stdout + done.stderr
        (output,) = (folder / "runs/nightly").iterdir()
        assert json.loads((output / "_manifest.json").read_text())["rows"] == 114
    finally:
        for process in reversed(started):
            end(process)


@pytest.mark.timeout(600)
def test_the_demo_takes_ones_own_table(tmp_path):
    sensor_table(300).to_csv(tmp_path / "pump data.csv", index=False)
    done = run(tmp_path, "demo", "--data", "pump data.csv", "--label", "fault", GANLIB__TRAINING__STEPS="40")
    assert done.returncode == 0, done.stderr
    assert "fault = '0' is normal" in done.stderr and "pump-data version 1" in " ".join(done.stdout.split())
    assert (tmp_path / "runs/pump-data/augmented.report.html").exists()  # with the table, or why there is none
    wrong = run(tmp_path, "demo", "--data", "pump data.csv", "--label", "falt")
    assert wrong.returncode == 4 and "did you mean 'fault'" in wrong.stderr and "Traceback" not in wrong.stderr
