"""Deployments of prefect.yaml: a real server, deployed from a bare folder, a worker elsewhere with its own data."""

import json
import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pandas as pd
import pytest
import yaml
from pipeline_data import sensor_table
from servers import end, environment, free_port, start, wait_for

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ("-p", "model=demo.onnx", "-p", "input=in/{date}.csv", "-p", "output=scores/{date}")


def data_of(folder, template, rows):
    """A user's folder: the model, and a good and a bad day."""
    (folder / "in").mkdir(parents=True)
    shutil.copy(template / "demo.onnx", folder)
    frame = sensor_table(rows).drop(columns=["fault"]).assign(operator="ann")
    frame.to_csv(folder / "in" / "2026-11-01.csv", index=False)
    frame.drop(columns=["flow"]).to_csv(folder / "in" / "2026-11-02.csv", index=False)
    return folder


class Prefect:
    """Commands and questions to the test's own server."""

    def __init__(self, api, folder, env):
        self.api, self.folder, self.env = api, folder, env

    def __call__(self, *args):
        return subprocess.run(["prefect", *args], cwd=self.folder, env=self.env, capture_output=True, text=True)

    def ask(self, path, question=None):
        data = None if question is None else json.dumps(question).encode()
        asked = urllib.request.Request(f"{self.api}/{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return json.load(answer)

    def run(self, *options):
        """Final state of one run of the nightly deployment, what its log says, and the exit code of --watch."""
        done = self("deployment", "run", "score-batch/nightly", *OPTIONS, *options, "--watch", "--watch-timeout", "120")
        number = re.search(r"UUID: (\S+)", done.stdout).group(1)
        state, question = self.ask(f"flow_runs/{number}")["state"], {"logs": {"flow_run_id": {"any_": [number]}}}
        until, said = time.monotonic() + 30, []
        while not any(text in (state["message"], "Finished in state Completed()") for text in said):
            assert time.monotonic() < until, said
            said = [record["message"] for record in self.ask("logs/filter", question)]
            time.sleep(0.2)
        return state["type"], state["message"], said, done.returncode


@pytest.fixture(scope="module")
def prefect(template, tmp_path_factory):
    """A server; deployments made by ann in a folder that holds prefect.yaml alone; a worker with bob's data."""
    folder = tmp_path_factory.mktemp("schedules")
    ann, bob = data_of(folder / "ann", template, 20), data_of(folder / "bob", template, 30)
    for name in ("ops", "elsewhere"):
        (folder / name).mkdir()
    shutil.copy(ROOT / "prefect.yaml", folder / "ops")
    port = free_port()
    env = environment(PREFECT_HOME=str(folder / "server"), PREFECT_SERVER_ANALYTICS_ENABLED="false", DO_NOT_TRACK="1",
                      PREFECT_WORKER_QUERY_SECONDS="1", PREFECT_LOGGING_TO_API_BATCH_INTERVAL="0.2")  # fmt: skip
    started = [start(f"prefect server start --port {port} --no-ui", folder, env)]
    try:
        wait_for(f"http://127.0.0.1:{port}/api/health", 90)
        env["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
        command = Prefect(env["PREFECT_API_URL"], folder / "ops", {**env, "GANLIB_HOME": str(ann)})
        for setup in (("work-pool", "create", "--type", "process", "ganlib"), ("--no-prompt", "deploy", "--all")):
            done = command(*setup)
            assert done.returncode == 0, done.stdout + done.stderr
        started.append(start("prefect worker start --pool ganlib", folder / "elsewhere", {**env, "GANLIB_HOME": bob}))
        command.ann, command.bob = ann, bob
        yield command
    finally:
        for process in reversed(started):
            end(process)


@pytest.mark.services
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_worker_elsewhere_scores_its_own_data_of_the_day_that_is_asked_for(prefect):
    assert prefect.run("-p", "date=2026-11-01")[0] == "COMPLETED"
    (output,) = (prefect.bob / "scores").iterdir()
    assert output.name == "2026-11-01" and len(pd.read_parquet(output)) == 30
    assert not (prefect.ann / "scores").exists()


LINE = r"in/2026-11-02\.csv: 1 column is missing: 'flow'; .* \(exit code 4\)"
FAILURES = {
    "bad data": (("-p", "date=2026-11-02"), LINE),
    "no input": (("-p", "date=2026-11-03"), r"there is no input in/2026-11-03\.csv; .* \(exit code 2\)"),
    "no day": (("-p", "date=today"), r".*'today'.*YYYY-MM-DD.* \(exit code 2\)"),
    "no home": (
        ("--job-variable", 'env={"GANLIB_HOME": ""}'),
        r"GANLIB_HOME is not set where the worker runs; .* \(exit code 2\)",
    ),
}


@pytest.mark.services
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", FAILURES)
def test_a_failed_run_says_its_one_line_and_its_exit_code(prefect, case):
    options, line = FAILURES[case]
    kind, message, said, code = prefect.run(*options)
    assert kind == "FAILED" and code != 0
    assert re.fullmatch(line, message), message
    assert [text for text in said if message.rpartition(" (")[0] in text] == [message], said
    assert "Traceback" not in "".join(said)


def test_deployments_name_flows_by_module_and_hold_nothing_of_the_machine_that_deploys():
    import importlib

    from prefect import Flow

    text = (ROOT / "prefect.yaml").read_text()
    values = yaml.safe_load(text)
    assert values["pull"] == [] and "{{" not in text
    for deployment in values["deployments"]:
        module, name = deployment["entrypoint"].rsplit(".", 1)
        assert isinstance(getattr(importlib.import_module(module), name), Flow)


@pytest.mark.parametrize("found", ["", "relative/folder", "/absent/folder"])
def test_a_worker_needs_a_home(monkeypatch, found):
    from pipelines.errors import UsageError
    from pipelines.flows import tasks

    monkeypatch.setenv("GANLIB_HOME", found)
    before = Path.cwd()
    tasks.enter_home()
    assert Path.cwd() == before, "a flow that is called directly stays where it is"
    monkeypatch.setattr(tasks, "deployment", type("deployment", (), {"id": "some"}))
    with pytest.raises(UsageError, match="GANLIB_HOME"):
        tasks.enter_home()
