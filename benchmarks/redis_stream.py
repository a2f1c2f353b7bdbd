"""Scoring of a shared Redis stream beside a bare read-and-acknowledge loop: records a second, and added latency.

python -m benchmarks.redis_stream [--rows 20000] [--seconds 10] [--fsync everysec]

Both use the same server, client, protocol and batch of 512, one after the other. The command is `python -m serving
stream` with one worker. Its rate leaves its start out: from the first score to the last. "Scoring alone" scores the
same micro-batches from memory, in this process; "both in turn" is what a loop could reach that reads and acknowledges,
then scores. The latency of the command is from the id of an entry to the id of its score, both times of the server;
that of the loop is from the id to the acknowledgement. Entries come at half of the command's rate.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BATCH, DEADLINE = 512, 0.2
TICK = 0.01  # seconds between two pipelines of the producer


class Server:
    """A server on a free port, with its data in a folder."""

    def __init__(self, folder, fsync):
        program = shutil.which("redis-server")
        if program is None:
            raise SystemExit("redis-server is not installed (apt-get install redis-server)")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [program, "--port", self.port, "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly"]
        command += ["yes", "--appendfsync", fsync]
        self.process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
        time.sleep(0.5)

    def client(self):
        import redis

        return redis.Redis(port=self.port, protocol=2)

    def url(self, key):
        return f"redis://127.0.0.1:{self.port}/0/{key}"


def add(client, bodies):
    pipeline = client.pipeline(transaction=False)
    for body in bodies:
        pipeline.xadd("in", {"record": body})
    pipeline.execute()


def fill(client, bodies, rows):
    """An empty server with ``rows`` entries."""
    client.flushall()
    for start in range(0, rows, 1000):
        add(client, [bodies[n % len(bodies)] for n in range(start, min(start + 1000, rows))])


def produce(port, bodies, rate, seconds):
    """Add entries at a rate, in a process of its own."""
    import redis

    client, start, done = redis.Redis(port=port, protocol=2), time.monotonic(), 0
    while (passed := time.monotonic() - start) < seconds:
        due = int(passed * rate)
        if due > done:
            add(client, [bodies[n % len(bodies)] for n in range(done, due)])
            done = due
        time.sleep(TICK)


# ---------------------------------------------------------------- the bare loop
def bare(client, rows):
    """Records a second of reading and acknowledging."""
    client.xgroup_create("in", "bare", "0")
    start, done = time.perf_counter(), 0
    while done < rows:
        done += len(acknowledged(client))
    return rows / (time.perf_counter() - start)


def acknowledged(client, block=None):
    found = client.xreadgroup("bare", "one", {"in": ">"}, count=BATCH, block=block)
    ids = [name for name, _ in found[0][1]] if found else []
    if ids:
        client.xack("in", "bare", *ids)
    return ids


def bare_latency(server, bodies, rate, seconds):
    """Milliseconds from the id of each entry to its acknowledgement."""
    client = server.client()
    client.flushall()
    client.xgroup_create("in", "bare", "0", mkstream=True)
    with producing(server, bodies, rate, seconds) as producer:
        waits = []
        while producer.is_alive() or client.xinfo_groups("in")[0]["lag"]:
            ids = acknowledged(client, block=50)
            now = time.time() * 1000
            waits += [(milliseconds(name), now) for name in ids]
    return within(waits)


class producing:
    """Runs a producer beside the block."""

    def __init__(self, server, bodies, rate, seconds):
        arguments = (server.port, bodies, rate, seconds)
        self.process = multiprocessing.get_context("spawn").Process(target=produce, args=arguments)

    def __enter__(self):
        self.process.start()
        return self.process

    def __exit__(self, *_):
        self.process.join()


# ---------------------------------------------------------------- the command
def stream(server, artifact, *extra):
    command = [sys.executable, "-m", "serving", "stream", "--model", artifact, "--input", server.url("in"), "--output",
               server.url("out"), "--max-rows", BATCH, "--deadline", DEADLINE, *extra]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([str(part) for part in command], env={**os.environ, "OMP_NUM_THREADS": "1"}, **quiet)


def scoring(artifact, bodies, rows):
    """Records a second of the same micro-batches in memory."""
    from serving.artifact import load_artifact
    from serving.records import Scoring, score_records
    from serving.scorer import Scorer
    from serving.sources import Record

    scorer = Scorer(load_artifact(Path(artifact)))
    chosen = Scoring(lambda: scorer, lambda: ("reference", ""), False, True, None)
    records = [Record("in", n, bodies[n % len(bodies)].encode()) for n in range(rows)]
    score_records(records[:BATCH], chosen)
    start = time.perf_counter()
    for first in range(0, rows, BATCH):
        score_records(records[first : first + BATCH], chosen)
    return rows / (time.perf_counter() - start)


def milliseconds(name):
    return int(name.split(b"-")[0])


def command(server, client, artifact, rows):
    """Records a second of the command: without its start, and with it."""
    start = time.perf_counter()
    code = stream(server, artifact).wait()
    wall = time.perf_counter() - start
    if code or client.xlen("out") != rows:
        raise SystemExit(f"the command ended with {code}, and {client.xlen('out'):,} of {rows:,} scores")
    # The scores of a micro-batch have one time; the first one is the end of the first batch.
    (first, _), (last, _) = client.xrange("out", count=1)[0], client.xrevrange("out", count=1)[0]
    return (rows - BATCH) / (milliseconds(last) - milliseconds(first)) * 1000, rows / wall


def command_latency(server, artifact, bodies, rate, seconds):
    """Milliseconds from the id of each entry to that of its score."""
    client = server.client()
    client.flushall()
    add(client, bodies[:1])
    worker = stream(server, artifact, "--follow")
    while not client.xlen("out"):
        time.sleep(0.05)
    with producing(server, bodies, rate, seconds):
        pass
    while client.xlen("out") < client.xlen("in"):
        time.sleep(0.05)
    worker.send_signal(signal.SIGTERM)
    worker.wait()
    return within([(milliseconds(fields[b"id"]), milliseconds(name)) for name, fields in client.xrange("out")[1:]])


def within(times):
    """Waits of the entries that came after the first second and before the last, when no batch is filled any more."""
    came, settled = np.array(times, dtype=float).T
    return (settled - came)[(came > came.min() + 1000) & (came < came.max() - 1000)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--fsync", choices=("everysec", "always", "no"), default="everysec")
    parser.add_argument("--model", type=Path, help="Sealed artifact of the reference table; trained if left out.")
    given = parser.parse_args()
    from benchmarks.scoring import mixed_table, seal_reference

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        artifact = given.model or seal_reference(folder)[0]
        bodies = mixed_table(2000, 1).to_json(orient="records", date_format="iso", lines=True).splitlines()
        server = Server(folder, given.fsync)
        try:
            measure(server, artifact, bodies, given)
        finally:
            server.process.terminate()
            server.process.wait()


def measure(server, artifact, bodies, given):
    client = server.client()
    size = sum(map(len, bodies)) / len(bodies)
    print(f"{given.rows:,} records of {size:.0f} bytes, batches of {BATCH}, appendfsync {given.fsync}")
    fill(client, bodies, given.rows)
    floor = bare(client, given.rows)
    print(f"read and acknowledge         {floor:10,.0f} records/s", flush=True)
    fill(client, bodies, given.rows)
    rate, whole = command(server, client, artifact, given.rows)
    print(
        f"ganlib stream                {rate:10,.0f} records/s, {rate / floor:.0%} of it; {whole:,.0f} with its start"
    )
    alone = scoring(artifact, bodies, given.rows)
    both = 1 / (1 / floor + 1 / alone)
    print(f"scoring alone                {alone:10,.0f} records/s")
    print(
        f"both in turn                 {both:10,.0f} records/s; ganlib stream has {rate / both:.0%} of it", flush=True
    )
    half = rate / 2
    waits = [
        bare_latency(server, bodies, half, given.seconds),
        command_latency(server, artifact, bodies, half, given.seconds),
    ]
    for title, found in zip(("read and acknowledge", "ganlib stream"), waits, strict=True):
        middle, most = np.percentile(found, (50, 99))
        print(f"{title:28s} {middle:10.0f} ms median, {most:.0f} ms p99 at {half:,.0f} records/s")
    bound = DEADLINE * 1000 + 3 * np.percentile(waits[0], 99)
    print(f"{'bound of p99':28s} {bound:10.0f} ms (deadline and three times the loop's)")


if __name__ == "__main__":
    main()
