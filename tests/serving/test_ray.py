"""Ray actors: the same scores, whichever actor or machine is lost; each failure says what to do."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock
from serving_data import table

from serving.batch import open_scores, score_batch
from serving.verify import verify

REQUIRED = bool(os.environ.get("GANLIB_REQUIRE_SERVICES"))
try:
    import ray
except ImportError:
    ray = None
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.services,
    pytest.mark.skipif(ray is None and not REQUIRED, reason="Ray is not installed: pip install 'ganlib[ray]'"),
]
FILES, ROWS = 40, 30


@pytest.fixture(autouse=True)
def alone(tmp_path_factory):
    """One test at a time: clusters that start at the same time may choose the same port."""
    with FileLock(tmp_path_factory.getbasetemp().parent / "ray.lock"):
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("input")
    for number in range(FILES):
        table(ROWS, number).to_csv(folder / f"{number:02}.csv", index=False)
    return folder


@pytest.fixture
def start(artifact, source, tmp_path, environment):
    """Starts `score --executor ray` with two actors as a process."""

    def begin(output="out", **variables):
        arguments = ("score", "--model", artifact, "--input", source, "--output", tmp_path / output)
        return subprocess.Popen(
            [sys.executable, "-m", "serving", *map(str, arguments), "--executor", "ray", "--workers", "2"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment | variables,
        )  # fmt: skip

    return begin


def ended(process):
    out, err = process.communicate(timeout=200)
    return process.returncode, out, err


def whole(folder):
    """Each row is in the scores once, by the recount and by the rows themselves."""
    assert verify(folder)["rows"] == FILES * ROWS
    scores = open_scores(folder)
    found = set(zip(scores["source"].to_pylist(), scores["source_row"].to_pylist(), strict=True))
    return len(scores) == len(found) == FILES * ROWS


def until(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end and process.poll() is None, ended(process)
        time.sleep(0.02)


def commits(folder):
    return len(list(folder.glob("_commits/*")))


def actors_of(process):
    """Process ids of the actors that the command's own Ray has started."""
    import psutil

    return [p.pid for p in psutil.Process(process.pid).children(recursive=True) if p.name().startswith("ray::_Actor")]


def test_actors_write_the_same_scores_as_this_process(artifact, source, tmp_path):
    found = []
    for executor in ("local", "ray"):
        score_batch(artifact, source, tmp_path / executor, executor=executor, workers=2, model_name="pump")
        assert whole(tmp_path / executor)
        found.append(open_scores(tmp_path / executor).drop_columns(["scored_at"]))
    assert found[0].equals(found[1])
    assert not ray.is_initialized()


@pytest.mark.parametrize("point", ["unit_scored", "part_renamed", "unit_committed"])
def test_lost_actors_are_replaced_wherever_they_die(start, tmp_path, point):
    # Each actor, also each new one, kills itself at its ninth unit.
    code, out, err = ended(start(GANLIB_CRASH_AT=f"{point}:9"))
    assert code == 0 and "a Ray actor was lost; another one scores rows 0 to 29 of" in err, (out, err)
    assert "Traceback" not in err and whole(tmp_path / "out")


def test_a_unit_that_ends_every_actor_ends_the_run_which_continues_later(start, tmp_path):
    code, _, err = ended(start(GANLIB_CRASH_AT="unit_scored"))
    assert code == 75 and "3 Ray actors were lost while they scored rows 0 to 29 of" in err, err
    assert err.rstrip().endswith("run the same command again") and "Traceback" not in err
    assert ended(start())[0] == 0 and whole(tmp_path / "out")


def test_a_killed_actor_loses_nothing(start, tmp_path):
    process = start()
    until(lambda: commits(tmp_path / "out") >= 2, process)
    os.kill(actors_of(process)[0], signal.SIGKILL)
    code, _, err = ended(process)
    assert code == 0 and whole(tmp_path / "out"), err


def test_a_killed_command_continues_where_it_was(start, tmp_path):
    process = start()
    until(lambda: commits(tmp_path / "out") >= 2, process)
    process.kill()
    process.communicate()
    assert ended(start())[0] == 0 and whole(tmp_path / "out")


def test_a_machine_of_the_cluster_is_lost(start, tmp_path):
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 << 20})
    try:
        second = cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
        process = start(RAY_ADDRESS=cluster.address)
        until(lambda: commits(tmp_path / "out") >= 4, process)
        cluster.remove_node(second, allow_graceful=False)
        # One machine is left, so the second actor waits for room while the first one goes on.
        cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
        code, _, err = ended(process)
        assert code == 0 and whole(tmp_path / "out"), err
    finally:
        cluster.shutdown()


@pytest.mark.parametrize(("variables", "extra", "code", "words"), [
    ({"RAY_ADDRESS": "127.0.0.1:1"}, (), 5, "the Ray cluster at 127.0.0.1:1 cannot be reached"),
    ({}, ("--require-gpu",), 2, "a GPU is required, but the Ray cluster has none"),
])  # fmt: skip
def test_a_cluster_that_cannot_do_it(artifact, source, tmp_path, environment, variables, extra, code, words):
    arguments = ["score", "--model", artifact, "--input", source, "--output", tmp_path / "out", "--executor", "ray"]
    done = subprocess.run([sys.executable, "-m", "serving", *map(str, arguments), *extra], capture_output=True,
                          text=True, env=environment | variables, timeout=100)  # fmt: skip
    assert done.returncode == code and words in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not commits(tmp_path / "out")


def test_a_machine_that_lacks_the_folder_is_named(artifact, source, tmp_path):
    from dataclasses import replace

    from serving.ray_actors import _Actor
    from serving.units import BatchJob

    fields = dict.fromkeys(BatchJob.__dataclass_fields__)
    job = replace(BatchJob(**fields), folder=Path("/nowhere/scores"))
    error = _Actor(job).score(None)
    assert error.exit_code == 2 and "has no folder /nowhere/scores" in str(error)
