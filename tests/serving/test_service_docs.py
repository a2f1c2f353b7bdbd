"""The blocks of docs/serving.md run, and its tables name what there is."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from service_data import assembled, until

from serving.service.app import build
from serving.service.metrics import Metrics
from serving.service.settings import Settings

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", TEXT, flags=re.DOTALL)


def live(port):
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v2/health/ready").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
def place(artifact, tmp_path, environment):
    """A folder with payments.onnx, an environment whose `python` is this one, and a free port."""
    shutil.copy(artifact, tmp_path / "payments.onnx")
    shutil.copy(f"{artifact}.sha256", tmp_path / "payments.onnx.sha256")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return tmp_path, {**environment, "PATH": path}, port


@contextmanager
def started(block, place):
    folder, environment, port = place
    lines = block.strip().replace("8080", port).splitlines()
    for line in lines[:-1]:
        subprocess.run(line, shell=True, cwd=folder, env=environment, check=True)
    last = lines[-1] if port in lines[-1] else f"{lines[-1]} --port {port}"
    process = subprocess.Popen(f"exec {last}", shell=True, cwd=folder, env=environment)
    try:
        until(lambda: live(port), 30)
        yield
    finally:
        process.terminate()
        assert process.wait(30) == 0


def lines_of(block, place):
    folder, environment, port = place
    command = block.replace("8080", port)
    done = subprocess.run(["bash", "-ec", command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers, text = [], done.stdout
    while text.strip():
        answer, end = json.JSONDecoder().raw_decode(text)
        answers.append(answer)
        text = text[end:].strip()
    return answers


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_start_and_the_calls_by_curl(place):
    (start,), calls = blocks("sh start"), blocks("sh")
    assert len(calls) == 2
    with started(start, place):
        (first,) = lines_of(calls[0], place)
        assert [sorted(row) for row in first["predictions"]][0][0] == "anomaly_score" and len(first["predictions"]) == 2
        assert "contribution.amount" in first["predictions"][0]
        described, scored = lines_of(calls[1], place)
        assert described["name"] == "payments" and scored["outputs"][0]["shape"] == [2]


def test_triton_s_client(place):
    pytest.importorskip("tritonclient.http")
    (start,), (code,) = blocks("sh start"), blocks("python triton")
    environment = place[1] | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with started(start, place):
        command = [sys.executable, "-c", code.replace("8080", place[2])]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.startswith("["), done.stderr


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("openssl")), reason="curl or openssl is missing")
def test_the_token(place):
    (start,), (call,) = blocks("sh token"), blocks("sh bearer")
    with started(start, place):
        (answer,) = lines_of(call, place)
        assert answer["models"][0]["name"] == "payments"
        assert httpx.get(f"http://127.0.0.1:{place[2]}/").status_code == 401


def test_the_command_of_the_registry_parses():
    (command,) = blocks("sh registry")
    options = re.findall(r"--[a-z-]+", command)
    said = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "serve", "--help"], capture_output=True, text=True,
        env={**os.environ, "COLUMNS": "200", "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    ).stdout  # fmt: skip
    assert options and all(option in said for option in options + re.findall(r"^\| `(--[a-z-]+)", TEXT, re.MULTILINE))


def test_defaults_metrics_and_routes_are_those_of_the_text(artifact):
    defaults = Settings()
    assert (f"| {defaults.max_rows:,} |" in TEXT) and (f"| {defaults.max_body:,} |" in TEXT)
    assert f"| {defaults.max_queue} |" in TEXT and f"| {1000 * defaults.max_wait:g} |" in TEXT
    for seconds in ("body_seconds", "head_seconds", "answer_seconds", "drain_delay", "drain_seconds"):
        assert f"{getattr(defaults, seconds):g} s" in TEXT, seconds
    named = set(re.findall(r"`?(ganlib_[a-z_]+)\{", TEXT))
    made = {f"{m.name}_total" if m.type == "counter" else m.name for m in Metrics().registry.collect()}
    assert named == made
    app = build(assembled(artifact)).app
    for route in app.routes:
        path = route.path.replace("{model}", "NAME").replace("/versions/{version}", "")
        assert f"{path}`" in TEXT or f"{path}," in TEXT, path
