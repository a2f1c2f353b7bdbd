"""The command as people run it: address, token, signals, exit codes, versions, metrics."""

import asyncio
import http.client
import json
import signal
import subprocess
import sys
import threading
import time

import httpx
import pytest
from service_data import Running, assembled, command, records, until
from serving_data import table

from serving.errors import UsageError
from serving.service.app import build
from serving.service.command import run_service
from serving.service.settings import Settings

ROWS = records(table(20, 6))
TOKEN = "a-token-of-some-length"


def run(environment, *options):
    """The command until it ends: (exit code, stderr)."""
    parts = [sys.executable, "-m", "serving", "serve", *map(str, options)]
    done = subprocess.run(parts, env=environment, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


class Clients:
    """Clients that post one row after another until the service is gone."""

    def __init__(self, address, count):
        self.address, self.answers, self.errors = address.removeprefix("http://"), [], []
        self.threads = [threading.Thread(target=self._post) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _post(self):
        body = json.dumps({"dataframe_records": ROWS[:1]})
        connection = http.client.HTTPConnection(self.address, timeout=30)
        while True:
            try:
                connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                self.answers.append((answer.status, answer.read()))
            except (OSError, http.client.HTTPException) as error:
                self.errors.append(error)
                return

    def join(self):
        for thread in self.threads:
            thread.join(60)


def test_sigterm_under_load_answers_what_it_accepted_and_exits_0(artifact, environment):
    with command(environment, "--model", artifact, "--log-format", "json") as (process, address):
        httpx.get(f"{address}/v2/health/ready").raise_for_status()
        clients = Clients(address, 8)
        until(lambda: len(clients.answers) > 100)
        process.send_signal(signal.SIGTERM)
        probes = [httpx.get(f"{address}/v2/health/ready").status_code]
        while probes[-1] == 200:
            probes.append(httpx.get(f"{address}/v2/health/ready").status_code)
        assert probes[-1] == 503 and httpx.get(f"{address}/v2/health/live").status_code == 200
        rest = process.stderr.read()
        clients.join()
        assert process.wait(30) == 0, rest
    end = json.loads(rest.splitlines()[-1])
    assert end["event"] == "end" and end["signal"] == signal.SIGTERM
    assert {status for status, _ in clients.answers} == {200}
    assert end["answered"] == len(clients.answers) + len(probes) + 2
    # The connections that were turned away carried no answer: the port was closed.
    assert len(clients.errors) == 8 and all(isinstance(one, ConnectionError) for one in clients.errors)


def test_sigint_exits_130(artifact, environment):
    with command(environment, "--model", artifact) as (process, address):
        assert httpx.post(f"{address}/invocations", json={"instances": ROWS}).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert "Traceback" not in process.stderr.read()


def test_a_port_in_use_is_one_line_and_exit_2(artifact, environment):
    with command(environment, "--model", artifact) as (_, address):
        port = address.rpartition(":")[2]
        code, said = run(environment, "--model", artifact, "--port", port)
        assert code == 2 and said.count("\n") == 1 and f"port {port} of 127.0.0.1 is in use" in said


def test_wrong_options_are_one_line_each(artifact, environment, tmp_path):
    token = tmp_path / "token"
    token.write_text("short")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(artifact.read_bytes()[:-100])
    model = ["--model", artifact, "--port", 0]
    for options, code, words in (
        ([*model, "--host", "0.0.0.0"], 2, "so a token is needed"),
        ([*model, "--host", "no.such.host.invalid"], 2, "is no address of this machine"),
        ([*model, "--token-file", token], 2, "holds 5 characters; a token needs at least 16"),
        ([*model, "--token-file", tmp_path / "none"], 2, "cannot be read"),
        ([*model, *model], 2, "two models are named 'small'"),
        ([*model, "--alpha", "3"], 2, "alpha must be at least"),
        (["--model", tmp_path / "none.onnx"], 2, "there is no artifact"),
        (["--model", damaged, "--port", 0], 6, "damaged.onnx"),
        ([*model, "--max-queue", 0], 2, "--max-queue must be from 1"),
    ):
        found, said = run(environment, *options)
        assert found == code and words in said and "Traceback" not in said, (options, found, said)
        assert len([line for line in said.splitlines() if line.startswith("error:")]) == 1, said


@pytest.mark.parametrize("options", [{"port": -1}, {"max_rows": 0}, {"max_body": 10}, {"max_wait": 2.0}])
def test_limits_out_of_range_are_usage_errors(options):
    with pytest.raises(UsageError, match="must be from"):
        Settings(**options)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "ganlib\[serve\]"'):
        run_service(["a.onnx"])


def test_the_service_needs_no_training_stack(artifact, environment):
    code = (
        "import sys, serving.service.listen; "
        "bad = {'torch', 'mlflow', 'pandas', 'sklearn', 'prefect'} & set(sys.modules); assert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_request_but_health_needs_the_token(artifact, environment, tmp_path):
    with command({**environment, "GANLIB_TOKEN": TOKEN}, "--model", artifact, "--host", "0.0.0.0") as (
        process,
        address,
    ):
        address = address.replace("0.0.0.0", "127.0.0.1")
        for path in ("/v2/health/live", "/v2/health/ready", "/ping", "/health"):
            assert httpx.get(address + path).status_code == 200
        for given in (None, "", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer \xe9".encode("latin-1")):
            for path in ("/", "/metrics", "/v2/models/small", "/docs", "/nothing", "/v2/health/live/", "/ping/"):
                answer = httpx.get(address + path, headers={} if given is None else {"Authorization": given})
                assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer", (given, path)
        assert httpx.get(address + "/", headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        assert TOKEN not in process.stderr.read()


def test_the_service_is_live_before_it_is_ready(artifact):
    service = assembled(artifact)

    async def main():
        transport = httpx.ASGITransport(build(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            assert (await client.get("/v2/health/live")).status_code == 200
            assert (await client.get("/v2/health/ready")).status_code == 503
            assert (await client.get("/v2/models/small/ready")).status_code == 503
            early = await client.post("/invocations", json={"instances": ROWS})
            assert early.status_code == 503 and early.headers["retry-after"] == "1" and early.json()["error"]
            assert (await client.get("/")).json()["models"] == [{"name": "small", "ready": False}]
            await next(iter(service.models.values())).start()
            assert (await client.get("/v2/health/ready")).json() == {"ready": True}
            assert (await client.get("/v2/models/small/ready")).json() == {"name": "small", "ready": True}

    asyncio.run(main())


def test_overload_is_503_with_a_time_to_retry(artifact):
    service = assembled(artifact, max_queue=1)
    with Running(service) as running:
        served, gate = service.models["small"], threading.Event()
        run, served.batcher._run = served.batcher._run, lambda batch: (gate.wait(20), run(batch))[1]
        answers = []

        def post():
            answers.append(httpx.post(f"{running.url}/invocations", json={"instances": ROWS}, timeout=30))

        threads = [threading.Thread(target=post) for _ in range(2)]
        for thread in threads:
            thread.start()
            time.sleep(0.3)
        assert 'ganlib_queue_requests{model="small"} 1.0' in running.client.get("/metrics").text
        third = running.client.post("/invocations", json={"instances": ROWS})
        assert third.status_code == 503 and int(third.headers["retry-after"]) >= 1 and "wait" in third.json()["error"]
        assert running.client.get("/v2/health/ready").status_code == 200  # the event loop answers meanwhile
        gate.set()
        for thread in threads:
            thread.join(30)
        assert [one.status_code for one in answers] == [200, 200]


@pytest.fixture
def pointer(artifact, detectors, tmp_path):
    """A pointer file, and a function that points it at a version of a file."""
    path = tmp_path / "pointer.json"

    def point(file, version):
        made = tmp_path / "new"
        made.write_text(json.dumps({"path": str(file), "name": "pump", "version": version}))
        made.replace(path)

    point(artifact, "1")
    return path, point


def test_a_swap_takes_effect_between_batches_and_a_failed_one_keeps_the_old_model(pointer, artifact, tmp_path, capsys):
    path, point = pointer
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"x" * 100)
    service = assembled(path)

    with Running(service) as running:

        def refresh():
            asyncio.run_coroutine_threadsafe(service.models["pump"].refresh(), running.loop).result(30)

        def version():
            return running.client.get("/v2/models/pump").json()["versions"]

        assert version() == ["1"]
        clients = Clients(running.url, 3)
        point(artifact, "2")
        refresh()
        assert version() == ["2"]
        assert running.client.get("/v2/models/pump/versions/1").status_code == 404
        assert running.client.get("/v2/models/pump/versions/2/ready").json()["ready"]
        point(damaged, "3")
        refresh()
        refresh()
        path.unlink()
        refresh()
        assert version() == ["2"] and running.client.get("/v2/health/ready").status_code == 200
        point(artifact, "1")
        refresh()
        assert version() == ["1"]
        metrics = running.client.get("/metrics").text
        assert 'ganlib_model_info{model="pump",sha256=' in metrics and 'version="2"' not in metrics
    clients.join()
    assert {status for status, _ in clients.answers} == {200}
    said = capsys.readouterr().err
    assert said.count("now scoring with pump version") == 2
    assert said.count("pump version 2 was not swapped") == 2  # once for each reason


def test_a_source_that_does_not_answer_keeps_no_service_from_ending(artifact):
    service, answer = assembled(artifact), threading.Event()
    try:
        with Running(service) as running:
            service.models["small"].source.current = lambda: answer.wait(60)
            asyncio.run_coroutine_threadsafe(service.models["small"].refresh(), running.loop)
            time.sleep(0.2)
            assert running.client.post("/invocations", json={"instances": ROWS}).status_code == 200
            began = time.monotonic()
        assert time.monotonic() - began < 5 and not running.thread.is_alive()
    finally:
        answer.set()


def test_metrics_count_requests_rows_and_anomalies(artifact):
    with Running(assembled(artifact)) as running:
        post = running.client.post
        got = post("/invocations", json={"instances": ROWS}).json()["predictions"]
        post("/invocations", json={"instances": [{}]})
        post("/v2/models/made-up/infer", json={})
        lines = running.client.get("/metrics").text.splitlines()
        values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        flagged = sum(row["is_anomaly"] for row in got)
        assert float(values['ganlib_rows_total{model="small"}']) == len(ROWS)
        assert float(values['ganlib_anomalies_total{model="small"}']) == flagged
        assert float(values['ganlib_alarm_share{model="small"}']) == pytest.approx(flagged / len(ROWS))
        assert float(values['ganlib_batch_rows_sum{model="small"}']) == len(ROWS)
        for code in ("200", "400"):
            name = f'ganlib_requests_total{{code="{code}",model="small",route="invocations"}}'
            assert float(values[name]) == 1
        assert "made-up" not in "".join(lines)


def test_pages_describe_the_routes_offline(artifact):
    with Running(assembled(artifact)) as running:
        said = running.client.get("/openapi.json").json()
        assert said["openapi"].startswith("3.1") and "/v2/models/{model}/infer" in said["paths"]
        for path, methods in said["paths"].items():
            for method in methods:
                at = path.replace("{model}", "small")
                assert running.client.request(method.upper(), at).status_code in (200, 400), path
        page = running.client.get("/docs").text
        assert "amount" in page and "src=" not in page and "http" not in page.replace("http-equiv", "")
        assert running.client.get("/").json()["models"][0]["name"] == "small"
        assert running.client.get("/v2").json()["extensions"] == ["binary_tensor_data"]


def test_several_models_are_served_by_name(artifact, detectors):
    with Running(assembled(artifact, detectors["image"][1])) as running:
        assert {m["name"] for m in running.client.get("/").json()["models"]} == {"small", "image"}
        assert running.client.post("/invocations/small", json={"instances": ROWS}).status_code == 200
        which = running.client.post("/invocations", json={"instances": ROWS})
        assert which.status_code == 400 and "'image'" in which.json()["error"]
