"""A mini-Jepsen: generators of records, a nemesis, and a checker of what went in against what came out.

    python tests/faults/soak.py [--faults 1000] [--seed 0] [--artifact FILE.onnx]      (make soak)

Batch runs and every pair of source and sink are killed (at named points and at random times), stopped and continued,
ended, joined by a second writer, robbed of their lease, given a full disk and a wrong clock, while logs are rotated in
five ways. Then a run without faults must end with 0, and each record must have come out once. Prints the faults by
kind and point, the seed of each episode, and what was lost, doubled or stuck.
"""

import argparse
import collections
import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))
sys.path.insert(0, str(Path(__file__).parents[2]))

import worker  # noqa: E402
from rotations import ROTATIONS  # noqa: E402

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["worker", "serving.stream", "serving.batch", "serving.sinks.lines",
                                "serving.sinks.database", "serving.sources.growing_file"])  # fmt: skip
STREAM_POINTS = ["batch_polled", "batch_scored", "lines_appended", "sink_written", "cursor_committed", "stdin_queued"]
BATCH_POINTS = ["plan_written", "lease_taken", "unit_scored", "dead_letters_renamed", "part_renamed", "unit_committed",
                "manifest_written"]  # fmt: skip
SOURCES, SINKS = ("queue", "file", "stdin"), ("db", "jsonl")
DAY = 86_400
# Ended as requested (also before there is a handler), killed by us, another holds the lease or the disk is full.
ALLOWED = {0, -signal.SIGKILL, 75, 143, -signal.SIGTERM}
NO_FAULT = "no such point reached"


class Found(AssertionError):
    """Lost, doubled or stuck records, with the episode's seed."""


class Episode:
    """One source and one sink (or one batch folder) under faults."""

    def __init__(self, kind, seed, folder, artifact, rows):
        self.kind, self.seed, self.folder, self.artifact = kind, seed, Path(folder), str(artifact)
        self.rng, self.rows, self.counts = random.Random(seed), list(rows), collections.Counter()
        self.log, self.point = self.folder / "log.txt", self.folder / "point.txt"
        self.sent, self.allowed = [], set(ALLOWED)

    # ---------------------------------------------------------------- processes
    def start(self, crash=None, clock=0, disk=None, **options):
        arguments = {"artifact": self.artifact, **self.arguments(), **options}
        process = CONTEXT.Process(
            target=worker.run, args=(str(self.log), str(self.point), crash, clock, disk, self.job, arguments)
        )
        self.point.unlink(missing_ok=True)
        process.start()
        return process

    def end(self, process, seconds=120):
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise Found(f"{self}: a run is stuck\n{self.tail()}")
        if process.exitcode not in self.allowed:
            raise Found(f"{self}: exit {process.exitcode}\n{self.tail()}")
        return process.exitcode

    def under_way(self, process, seconds):
        """Wait until a run has begun, mostly, and then some more: most of a run's time is its start."""
        until = time.monotonic() + (30 if self.rng.random() < 0.85 else 0)
        while not self.point.exists() and process.exitcode is None and time.monotonic() < until:
            time.sleep(0.002)
        time.sleep(self.rng.random() * seconds)

    def tail(self):
        return "\n".join(self.log.read_text().splitlines()[-15:]) if self.log.exists() else ""

    def placed(self):
        return self.point.read_text().split()[0] if self.point.exists() and self.point.read_text() else "start"

    # ---------------------------------------------------------------- the nemesis
    def fault(self):
        """One fault; returns its name and, where it is a kill, the point that it hit."""
        name = self.rng.choice([f for f in FAULTS if self.suits(f)])
        place = getattr(self, name)()
        if place == NO_FAULT:
            return
        self.counts[name if place is None else f"{name} at {place}"] += 1

    def suits(self, fault):
        return True

    def kill_at_point(self):
        point = self.rng.choice(self.points)
        process = self.start(crash=f"{point}:{self.rng.choice((1, 1, 2, 3))}")
        return point if self.end(process) == -signal.SIGKILL else NO_FAULT

    def kill_any_time(self):
        process = self.start()
        self.under_way(process, 0.125)
        process.kill()
        self.end(process)
        return self.placed() if process.exitcode == -signal.SIGKILL else "the end"

    def stop_and_continue(self):
        process = self.start()
        self.under_way(process, 0.075)
        with contextlib.suppress(ProcessLookupError, TypeError):
            os.kill(process.pid, signal.SIGSTOP)
            other = self.start() if self.rng.random() < 0.5 else None
            if other:
                self.end(other)
            os.kill(process.pid, signal.SIGCONT)
        self.end(process)

    def terminate(self):
        process = self.start()
        self.under_way(process, 0.1)
        process.terminate()
        self.end(process)

    def second_writer(self):
        pair = [self.start(wait=self.rng.choice((0.0, 5.0))) for _ in range(2)]
        for process in pair:
            self.end(process)

    def steal_the_lease(self):
        process = self.start()
        self.under_way(process, 0.075)
        self.lease().unlink(missing_ok=True)
        other = self.start()
        self.end(process), self.end(other)

    def full_disk(self):
        self.end(self.start(disk=self.rng.choice((0, 1, 2, 5, 9))))

    def wrong_clock(self):
        self.end(self.start(clock=self.rng.choice((-DAY, DAY, 365 * DAY))))

    def __str__(self):
        return f"{self.kind}, seed {self.seed}"


class Stream(Episode):
    """Records of one source into one sink."""

    job, points = "stream", STREAM_POINTS

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.source, self.sink = self.kind.split(" > ")
        self.output = self.folder / f"out.{self.sink}"
        self.path = self.folder / ("queue.db" if self.source == "queue" else "in.jsonl")

    def arguments(self):
        options = {"max_rows": self.rng.choice((3, 10, 50)), "deadline": 0.02, "output": str(self.output)}
        if self.source == "stdin":
            return {"source": "-", "text": self.unsafe(), **options}
        return {"source": f"sqlite:{self.path}" if self.source == "queue" else str(self.path), **options}

    def lease(self):
        return self.output.with_name(self.output.name + ".lease")

    def state(self):
        return self.output if self.sink == "db" else self.output.with_name(self.output.name + ".state.db")

    def suits(self, fault):
        # What a stolen or second stream reads of stdin was sent by its own sender: two senders are no fault of ours.
        return not (self.source == "stdin" and fault in ("second_writer", "steal_the_lease", "stop_and_continue"))

    def unsafe(self):
        """What a sender sends: all lines that are not safely in yet."""
        done = 0
        if self.state().exists():
            with contextlib.suppress(sqlite3.OperationalError, TypeError), sqlite3.connect(self.state()) as db:
                done = db.execute("SELECT lines FROM inbox_received").fetchone()[0]
        return "".join(f"{body}\n" for body in self.sent[done:])

    def produce(self):
        """Some more records; now and then the log is rotated."""
        for _ in range(self.rng.randrange(1, 15)):
            number = len(self.sent)
            row = self.rng.choice(self.rows)
            body = row[:-1] + f', "n": {number}}}' if self.rng.random() < 0.9 else f"broken {number}"
            self.sent.append(body)
            if self.source == "file":
                self.path.open("a").write(body + "\n")
            elif self.source == "queue":
                with sqlite3.connect(self.path, timeout=60) as db:
                    db.execute("CREATE TABLE IF NOT EXISTS queue(id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT)")
                    db.execute("INSERT INTO queue(body) VALUES (?)", (body,))
        if self.source == "file" and self.rng.random() < 0.5 and self.seen():
            for _ in range(self.rng.choice((1, 1, 1, 2))):
                how = self.rng.choice(list(ROTATIONS))
                if ROTATIONS[how](self.path):
                    self.counts[f"rotation: {how}"] += 1

    def seen(self):
        """A log that no stream has read yet has no past: its rotated files are not looked for."""
        if not self.state().exists():
            return False
        with contextlib.suppress(sqlite3.OperationalError), sqlite3.connect(self.state()) as db:
            return db.execute("SELECT COUNT(*) FROM cursor WHERE consumer LIKE 'file:%'").fetchone()[0] > 0
        return False

    def run(self, faults):
        self.produce()
        while sum(self.counts.values()) < faults:
            if self.source == "file" and not self.path.exists():
                self.path.touch()
            self.fault()
            self.produce()
        if self.source == "file" and not self.path.exists():
            self.path.touch()
        self.allowed = {0}
        for _ in range(2):
            self.end(self.start())
        self.check()

    def check(self):
        from serving.verify import verify

        verify(self.output)
        with sqlite3.connect(self.state()) as db:
            dead = [(s, p, bytes(b).decode()) for s, p, b in db.execute(
                "SELECT source, position, body FROM dead_letters")]  # fmt: skip
            gaps = db.execute("SELECT * FROM gaps").fetchall()
            if self.sink == "db":
                scored = db.execute("SELECT source, position, record FROM scores").fetchall()
        if self.sink == "jsonl":
            lines = [json.loads(line) for line in self.output.read_text().splitlines()]
            scored = [(line["source"], line["position"], line["record"]["n"]) for line in lines]
            sent = [json.loads(b)["n"] if b[0] == "{" else b for b in self.sent]
        else:
            sent = self.sent
        got = collections.Counter(body for *_, body in [*scored, *dead])
        lost, more = collections.Counter(sent) - got, got - collections.Counter(sent)
        if lost or more or gaps:
            raise Found(f"{self}: lost {sorted(lost)[:5]}, doubled {sorted(more)[:5]}, gaps {gaps}\n{self.tail()}")
        places = [(s, p) for s, p, _ in [*scored, *dead]]
        if len(places) != len(set(places)):
            raise Found(f"{self}: a position came twice")


class Batch(Episode):
    """A folder of files into a folder of scores."""

    job, points = "batch", BATCH_POINTS

    def arguments(self):
        return {"source": str(self.folder / "in"), "output": str(self.folder / "out"), "max_bad_share": 1.0,
                "workers": self.rng.choice((1, 1, 1, 2))}  # fmt: skip

    def lease(self):
        return self.folder / "out" / "_lease.json"

    def produce(self, files):
        import pandas as pd

        (self.folder / "in").mkdir(exist_ok=True)
        for number in range(files):
            rows = [json.loads(row) for row in self.rng.choices(self.rows, k=self.rng.randrange(0, 240))]
            frame = pd.DataFrame(rows, columns=list(json.loads(self.rows[0])))
            for row in range(0, len(frame), 37):
                frame["count"] = frame["count"].astype(object)
                frame.loc[row, "count"] = "many"
            frame.to_csv(self.folder / "in" / f"{number}.csv", index=False)
            self.sent += [(f"{number}.csv", row) for row in range(len(frame))]

    def run(self, faults):
        self.produce(self.rng.randrange(1, 4))
        self.allowed |= {4} if not self.sent else set()
        while sum(self.counts.values()) < faults:
            self.fault()
            if (self.folder / "out" / "_manifest.json").exists() and self.rng.random() < 0.5:
                shutil.rmtree(self.folder / "out")
        self.allowed = {0}
        self.end(self.start())
        self.check()

    def check(self):
        import pyarrow.parquet as pq

        from serving.dead import read_dead
        from serving.verify import verify

        out = self.folder / "out"
        verify(out)
        got = collections.Counter()
        for part in sorted(out.glob("part-*.parquet")):
            table = pq.read_table(part, columns=["source", "source_row"]).to_pydict()
            got.update(zip(table["source"], table["source_row"], strict=True))
        for letters in (out / "_dead").glob("_dead-*.jsonl"):
            got.update((letter["source"], letter["source_row"]) for letter in read_dead(letters))
        if got != collections.Counter(self.sent):
            lost, more = collections.Counter(self.sent) - got, got - collections.Counter(self.sent)
            raise Found(f"{self}: lost {sorted(lost)[:5]}, doubled {sorted(more)[:5]}")


FAULTS = ["kill_at_point", "kill_at_point", "kill_any_time", "kill_any_time", "stop_and_continue", "terminate",
          "second_writer", "steal_the_lease", "full_disk", "wrong_clock"]  # fmt: skip


# ---------------------------------------------------------------- episodes
def kinds():
    return [f"{source} > {sink}" for source in SOURCES for sink in SINKS] + ["batch"]


def episode(kind, seed, artifact, rows, faults):
    """Run one episode in a folder of its own; returns its faults by kind. Raises Found."""
    with tempfile.TemporaryDirectory() as folder:
        one = (Batch if kind == "batch" else Stream)(kind, seed, folder, artifact, rows)
        one.run(faults)
        return one.counts


def soak(faults, seed, artifact, rows, each=12, say=print):
    """Episodes of every kind in turn until so many faults were injected; (counts by kind, findings)."""
    total, findings, number = collections.Counter(), [], 0
    while sum(total.values()) < faults:
        kind = kinds()[number % len(kinds())]
        try:
            counts = episode(kind, seed + number, artifact, rows, each)
            total.update({f"{'batch' if kind == 'batch' else 'stream'}: {name}": n for name, n in counts.items()})
        except Found as found:
            findings.append(str(found))
            total["an episode that found something"] += each
            say(found)
        number += 1
        say(f"{sum(total.values()):5d} faults, {number} episodes, {len(findings)} findings (last: {kind}, "
            f"seed {seed + number - 1})")  # fmt: skip
    return total, findings


def small_artifact(folder):
    """A detector on the serving tests' table, sealed."""
    from serving_data import table

    from ganlib.detect import VAEDetector
    from ganlib.export import seal

    seal(VAEDetector(steps=50, options={"score_samples": 2}).fit(table(600)), Path(folder) / "small.onnx")
    return Path(folder) / "small.onnx"


def some_rows():
    from serving_data import table

    return table(60, 1).to_json(orient="records", date_format="iso", lines=True).splitlines()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--artifact")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        artifact = args.artifact or small_artifact(folder)
        total, findings = soak(args.faults, args.seed, artifact, some_rows())
    for name, count in sorted(total.items()):
        print(f"{count:5d}  {name}")
    print(f"{sum(total.values())} faults, {len(findings)} findings")
    return bool(findings)


if __name__ == "__main__":
    sys.exit(main())
