"""Source, sink and lease as a state machine: deliver, crash, steal, rotate, hand over, in any order, on one clock."""

import collections
import json
import os
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from serving.errors import TemporaryError
from serving.lease import STALE, Lease
from serving.sinks import Commit, open_sink
from serving.sources import find_source
from serving.sources.sqlite_queue import QUEUE_TABLE


class OneStream:
    """A stream without a model; its lease is on the machine's clock."""

    def __init__(self, machine):
        self.machine = machine
        self.source = find_source(machine.url, True)
        self.lease = Lease(machine.lease, clock=machine.now, heartbeat=10_000)
        self.lease.__enter__()
        self.sink = open_sink(machine.output)
        known = self.sink.cursors()
        self.source.resume(known, self.sink.state)
        self.source.label = self.sink.name(self.source.id, self.source.label)
        self.before = known.get(self.source.id, {})

    def deliver(self, limit):
        records, gaps = self.source.poll(limit), self.source.gaps()
        assert not gaps, gaps
        if not records:
            return 0
        self.lease.check()
        fixed = {"anomaly_score": 1.0, "is_anomaly": False}
        scores = [{"source": r.source, "position": r.position, "record": r.body.decode(), **fixed} for r in records]
        after = json.loads(json.dumps(self.source.cursor()))
        self.sink.commit(Commit(self.source.id, self.before, after, scores, [], ("1", "now")))
        self.source.committed()
        self.before = after
        return len(records)

    def let_go(self):
        self.source.close()
        self.sink.close()

    def end(self):
        self.let_go()
        self.lease.__exit__(None, None, None)


class Machine(RuleBasedStateMachine):
    """At most one stream holds the lease; others may believe that they do."""

    source_kind = "file"

    @initialize(sink=st.sampled_from(["o.db", "o.jsonl"]))
    def begin(self, sink):
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / ("in.jsonl" if self.source_kind == "file" else "q.db")
        self.url = str(self.path) if self.source_kind == "file" else f"sqlite:{self.path}"
        self.output, self.lease = self.folder / sink, self.folder / f"{sink}.lease"
        self.time, self.sent, self.held, self.believers = 0.0, [], None, []
        self.produce(1)
        self.take()
        self.held.deliver(1)

    def now(self):
        return time.time() + self.time

    def take(self):
        self.held = OneStream(self)

    @rule(count=st.integers(1, 6))
    def produce(self, count):
        bodies = [json.dumps({"n": len(self.sent) + i}) for i in range(count)]
        self.sent += bodies
        if self.source_kind == "file":
            with self.path.open("a") as file:
                file.write("".join(f"{body}\n" for body in bodies))
        else:
            with sqlite3.connect(self.path) as db:
                db.execute(QUEUE_TABLE)
                db.executemany("INSERT INTO queue(body) VALUES (?)", [(body,) for body in bodies])

    @precondition(lambda self: self.held is not None)
    @rule(limit=st.integers(1, 5))
    def deliver(self, limit):
        self.held.deliver(limit)

    @precondition(lambda self: self.held is not None)
    @rule(limit=st.integers(1, 5))
    def crash(self, limit):
        """Killed after polling: its lease stays, and names a process that is no more."""
        self.held.source.poll(limit)
        self.held.let_go()
        holder = json.loads(self.lease.read_text())
        self.lease.write_text(json.dumps({**holder, "pid": 2**22 + 5, "process_start": 1}))
        self.held = None

    @precondition(lambda self: self.held is None)
    @rule()
    def start(self):
        self.take()

    @precondition(lambda self: self.held is not None)
    @rule()
    def second_stream(self):
        try:
            OneStream(self)
        except TemporaryError:
            return
        raise AssertionError("two streams hold one lease")

    @precondition(lambda self: self.held is not None and len(self.believers) < 2)
    @rule(gone=st.booleans())
    def steal(self, gone):
        """A paused stream: its lease is deleted, or grows stale on a machine that cannot see its process."""
        if gone:
            self.lease.unlink()
        else:
            holder = json.loads(self.lease.read_text())
            self.lease.write_text(json.dumps({**holder, "host": "elsewhere", "machine": "another"}))
            self.time += 2 * STALE
        self.believers.append(self.held)
        self.take()

    @precondition(lambda self: self.believers)
    @rule(limit=st.integers(1, 5))
    def a_paused_stream_wakes(self, limit):
        paused = self.believers.pop()
        try:
            delivered = paused.deliver(limit)
        except TemporaryError:
            delivered = 0
        assert delivered == 0, "a stream without its lease delivered"
        paused.let_go()

    @precondition(lambda self: self.held is not None)
    @rule()
    def hand_over(self):
        """A rolling deploy."""
        self.held.end()
        assert not self.lease.exists()
        self.take()

    @precondition(lambda self: self.source_kind == "file" and self.path.exists() and self.path.stat().st_size)
    @rule(copied=st.booleans())
    def rotate(self, copied):
        for number in range(40, 0, -1):
            older = self.folder / f"in.jsonl.{number}"
            if older.exists():
                older.rename(self.folder / f"in.jsonl.{number + 1}")
        if copied:
            shutil.copy2(self.path, self.folder / "in.jsonl.1")
            os.truncate(self.path, 0)
        else:
            self.path.rename(self.folder / "in.jsonl.1")
            self.path.touch()

    def teardown(self):
        if not hasattr(self, "held"):
            return
        if self.held is None:
            self.take()
        idle = 0
        while idle < 3:
            idle = 0 if self.held.deliver(4) else idle + 1
        self.held.end()
        for paused in self.believers:
            paused.let_go()
        if self.output.suffix == ".db":
            with sqlite3.connect(self.output) as db:
                rows = db.execute("SELECT source, position, record FROM scores").fetchall()
        else:
            lines = map(json.loads, self.output.read_text().splitlines())
            rows = [(line["source"], line["position"], json.dumps(line["record"])) for line in lines]
        assert collections.Counter(r for *_, r in rows) == collections.Counter(self.sent)
        assert len({(s, p) for s, p, _ in rows}) == len(rows)
        shutil.rmtree(self.folder)


class QueueMachine(Machine):
    source_kind = "queue"


TestLog = Machine.TestCase
TestQueue = QueueMachine.TestCase
TestLog.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestQueue.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
