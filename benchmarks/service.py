"""Requests per second of `ganlib serve` beside `mlflow models serve` of the same model, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.service [--seconds 6] [--rounds 2] [--clients 16]

The reference graph of benchmarks/scoring.py (30 mixed columns), registered as `ganlib register` logs it. Concurrent
clients in one process post the same rows, as `dataframe_split`, over kept connections, with 1 and with 1,000 rows a
request. Both servers run throughout and are measured in turn. Bounds: at least 5 times the requests of MLflow at 1 row,
and at least as many at 1,000.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

BOUNDS = {1: 5.0, 1000: 1.0}


def body_of(rows):
    """A request of rows of the reference table."""
    from benchmarks.scoring import mixed_table

    frame = mixed_table(rows, seed=1)
    said = json.loads(frame.to_json(orient="split", date_format="iso", index=False))
    return json.dumps({"dataframe_split": said}).encode()


async def post(reader, writer, request):
    """One request over an open connection; raises RuntimeError unless the answer is 200."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    size = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    body = await reader.readexactly(int(size.group(1)))
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{head.splitlines()[0]!r}: {body[:300]!r}")


async def client(port, request, until, times):
    """Post until the time is over; keeps the seconds of each request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    while time.perf_counter() < until:
        start = time.perf_counter()
        await post(reader, writer, request)
        times.append(time.perf_counter() - start)
    writer.close()


def measured(port, body, clients, seconds):
    """Seconds of each request of concurrent clients."""
    head = ("POST /invocations HTTP/1.1", "Host: a", "Content-Type: application/json", f"Content-Length: {len(body)}")
    request, times = "\r\n".join([*head, "", ""]).encode() + body, []

    async def main():
        await asyncio.gather(*(client(port, request, time.perf_counter() + seconds, times) for _ in range(clients)))

    asyncio.run(main())
    return times


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def server(command, port, path, log):
    """A server as a process, once it answers."""
    with log.open("w") as file:
        path_of = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # MLflow calls uvicorn by its name
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": path_of}
        process = subprocess.Popen([*command, "--port", str(port)], stdout=file, stderr=file, env=environment)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5)
                break
            except OSError:
                if process.poll() is not None:
                    raise SystemExit(log.read_text()[-2000:]) from None
                time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(30)


def logged(artifact, folder):
    """The folder of the model as MLflow serves it."""
    import mlflow
    from pipelines.logged_model import log_model
    from serving.artifact import load_artifact

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    experiment = mlflow.create_experiment("service", artifact_location=(folder / "artifacts").as_uri())
    with mlflow.start_run(experiment_id=experiment):
        info = log_model(mlflow, load_artifact(artifact), artifact)
    return mlflow.artifacts.download_artifacts(info.model_uri, dst_path=str(folder / "model"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--clients", type=int, default=16)
    given = parser.parse_args()
    from benchmarks.scoring import seal_reference

    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        artifact, _, _ = seal_reference(folder)
        python, ports = sys.executable, {"ganlib serve": free_port(), "mlflow models serve": free_port()}
        commands = {
            "ganlib serve": ([python, "-m", "serving", "serve", "--model", str(artifact)], "/v2/health/ready"),
            "mlflow models serve": (
                [python, "-m", "mlflow", "models", "serve", "--env-manager", "local", "--host", "127.0.0.1", "-m",
                 logged(artifact, folder)],
                "/ping",
            ),
        }  # fmt: skip
        for number, (title, (command, path)) in enumerate(commands.items()):
            stack.enter_context(server(command, ports[title], path, folder / f"log{number}"))
        for rows, bound in BOUNDS.items():
            report(rows, bound, ports, given)


def report(rows, bound, ports, given):
    """Measure both servers in turn, and print a line each and the ratio."""
    body, rates, times = body_of(rows), {title: [] for title in ports}, {title: [] for title in ports}
    for port in ports.values():
        measured(port, body, given.clients, 1.0)
    for _ in range(given.rounds):
        for title, port in ports.items():
            start = time.perf_counter()
            once = measured(port, body, given.clients, given.seconds)
            rates[title].append(len(once) / (time.perf_counter() - start))
            times[title] += once
    for title in ports:
        p50, p99 = np.percentile(times[title], [50, 99]) * 1000
        rate = np.mean(rates[title])
        print(
            f"{rows:5,d} rows  {title:20s} {rate:8.1f} requests/s ({rate * rows:10,.0f} rows/s)  "
            f"p50 {p50:7.1f} ms  p99 {p99:7.1f} ms", flush=True,
        )  # fmt: skip
    ours, theirs = (np.mean(rates[title]) for title in ports)
    print(f"{rows:5,d} rows  ratio {ours / theirs:.1f} (bound {bound:g})", flush=True)


if __name__ == "__main__":
    main()
