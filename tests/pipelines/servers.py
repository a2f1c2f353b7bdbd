"""Servers and workers that a test starts, waits for and ends."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment(**more):
    """As after `. .venv/bin/activate`, without settings of the machine that runs the tests."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "PREFECT", "GANLIB"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**inherited, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200", **more}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(command, folder, env, *before):
    """A server of the test's own; SIGINT is heard even where the tests run in the background."""
    log = (folder / f"{command.split()[1]}.log").open("w")
    script = "\n".join([*before, f"exec {command}"])
    return subprocess.Popen(
        ["bash", "-c", script], cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def end(process):
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def wait_for(url, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"{url} did not answer")


def until(true, seconds=40):
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.2)
    return found


@contextmanager
def service(folder, tracking, model="models:/demo@champion"):
    """`ganlib serve` of a model: (process, URL, function that returns its log)."""
    parts = [sys.executable, "-m", "pipelines.cli", "serve", "--model", model, "--port", "0"]
    path = folder / "serve.log"
    with path.open("w") as file:
        process = subprocess.Popen([*parts, "--tracking", tracking], env=environment(), stderr=file, cwd=folder)
    try:
        found = until(lambda: process.poll() is not None or re.search(r"start: .* at (\S+)", path.read_text()))
        assert found is not True, path.read_text()
        yield process, found.group(1), path.read_text
    finally:
        process.kill()
        process.wait()
