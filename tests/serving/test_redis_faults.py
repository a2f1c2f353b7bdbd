"""Workers of a Redis stream under faults at random: kills, pauses beyond --min-idle, crashes of the server."""

import collections
import random
import signal
import subprocess
import time

import pytest
from serving_data import command
from test_stream import lines

from serving.redis.report import verify

SECONDS = 30
SHARING = ("--max-rows", "10", "--min-idle", "1", "--max-deliveries", "99")


def start(server, artifact, environment, *extra):
    line = command(artifact, server.url("in"), server.url("out"), *SHARING, *extra)
    return subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def strike(rng, server, workers, begin):
    """One fault, or none."""
    number, fault = rng.randrange(len(workers)), rng.choice(["kill", "kill", "pause", "crash", "", "", ""])
    if fault == "kill":
        workers[number].kill()
        workers[number].wait()
        workers[number] = begin()
    elif fault == "pause":
        workers[number].send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        workers[number].send_signal(signal.SIGCONT)
    elif fault == "crash":
        server.stop()
        time.sleep(0.3)
        server.start()
    return fault


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_each_entry_comes_out_once_whatever_happens_to_workers_and_server(own_server, artifact, environment, seed):
    rng, server, faults = random.Random(seed), own_server(), collections.Counter()

    def begin():
        return start(server, artifact, environment, "--follow")

    workers = [begin() for _ in range(3)]
    try:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            for body in lines(8, seed=rng.randrange(1000)):
                server.client.xadd("in", {"record": body})
            faults[strike(rng, server, workers, begin)] += 1
            time.sleep(rng.random() / 2)
        for process in workers:
            process.send_signal(signal.SIGTERM)
        assert {process.wait(60) for process in workers} == {0}
    finally:
        for process in workers:
            process.kill()
    assert start(server, artifact, environment).wait(120) == 0
    settled = [fields["id"] for key in ("out", "out:dead") for _, fields in server.client.xrange(key)]
    assert collections.Counter(settled) == collections.Counter(name for name, _ in server.client.xrange("in"))
    assert verify(server.url("out"))["pending"] == 0
    assert faults["kill"] and faults["pause"] and faults["crash"]
