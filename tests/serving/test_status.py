"""``status``: what a stream or a batch folder has done, read without changing anything, also while it is written."""

import gzip
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime

import pytest
from serving_data import command, fill, good, table

from serving import readonly
from serving.errors import TemporaryError, UsageError
from serving.lease import Lease
from serving.sinks import Commit, DeadLetter, lease_of
from serving.sinks.counts import DAY
from serving.sinks.state import StateDatabase
from serving.sources import SCHEMES, find_source, standing
from serving.status import status, text
from serving.stream import run_stream


def contents(folder):
    """Every file of a folder by its bytes; SQLite's shared memory of locks is no content."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if not p.name.endswith("-shm")}


# ---------------------------------------------------------------- streams
@pytest.mark.parametrize("name", ["o.db", "o.jsonl"])
def test_a_stream_of_two_sources_and_what_lies_behind_them(artifact, tmp_path, name):
    output, log = tmp_path / name, tmp_path / "in.jsonl"
    fill(tmp_path / "q.db", [*good(10), "not json"])
    log.write_text("\n".join(good(6)) + "\n")
    run_stream(artifact, f"sqlite:{tmp_path / 'q.db'}", output)
    run_stream(artifact, str(log), output)
    fill(tmp_path / "q.db", good(4))
    more = good(3, seed=5)
    with log.open("a") as file:
        file.write("\n".join(more) + "\n")
    before = contents(tmp_path)
    found = status(output)
    assert contents(tmp_path) == before
    queue, file = sorted(found["sources"], key=lambda s: s["name"], reverse=True)
    assert (queue["name"], queue["position"], queue["behind"], queue["unit"]) == ("q.db", "id 11", 4, "row")
    assert (file["behind"], file["unit"], file["note"]) == (len("\n".join(more)) + 1, "byte", "")
    assert (queue["scored"], file["scored"], found["scored"]) == (10, 6, 16)
    assert (found["dead_letters"], found["gaps"], found["holder"]) == (1, 0, None)
    assert found["anomalies"] == queue["anomalies"] + file["anomalies"]
    age = time.time() - datetime.fromisoformat(queue["last_commit"]).timestamp()
    assert 0 <= age < 60 and found["last_commit"] >= queue["last_commit"]
    said = text(found)
    assert "no writer" in said and "at id 11, 4 rows behind" in said and "1 dead letter, 0 gaps" in said
    short = said.replace(str(output), name)
    assert max(map(len, short.splitlines())) <= 80, short
    json.dumps(found)


def test_it_is_read_while_a_stream_writes_and_after_it_was_killed(artifact, environment, tmp_path):
    log, output = tmp_path / "in.jsonl", tmp_path / "o.db"
    log.write_text("\n".join(good(20)) + "\n")
    process = subprocess.Popen(
        command(artifact, log, output, "--follow"),
        env=environment,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 60
        while True:
            assert time.monotonic() < until, "it never came"
            try:
                if status(output)["scored"] == 20:
                    break
            except UsageError:
                pass
            time.sleep(0.05)
        holder = status(output)["holder"]
        assert holder["alive"] and f"process {process.pid} on" in holder["name"] and holder["heartbeat"] < 60
        assert f"written by process {process.pid}" in text(status(output))
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    before = contents(tmp_path)
    assert (tmp_path / "o.db-wal").exists(), "the kill left no WAL: nothing is shown by this test"
    found = status(output)
    assert contents(tmp_path) == before and found["scored"] == 20
    assert not found["holder"]["alive"] and "ended" in text(found)


def at(path, minute, scored=1, dead=0, anomalies=0, consumer="queue:a"):
    """A commit in a minute."""
    database = StateDatabase(path, clock=lambda: minute * 60 + 30)
    before = database.cursors().get(consumer, {})
    scores = [{"is_anomaly": i < anomalies} for i in range(scored)]
    after = {"n": before.get("n", 0) + 1}
    letters = [DeadLetter("q", after["n"] * 100 + i, b"x", "why") for i in range(dead)]
    database.commit(Commit(consumer, before, after, scores, letters, ("1", "now")), lambda: None)
    database.close()


def test_rates_are_counted_by_the_minute_and_kept_for_a_day(tmp_path):
    path, now = tmp_path / "o.db", 30_000_000
    past = {now - DAY - 5: 1000, now - DAY: 500, now - DAY + 1: 300, now - 60: 70, now - 59: 20, now - 1: 3, now: 1}
    for minute, scored in past.items():
        at(path, minute, scored, anomalies=1)
    at(path, now - 1, 0, dead=2)
    at(path, now - 1, 4, dead=2, consumer="replay")
    at(path, now, 0)
    found = status(path, now=now * 60 + 59)
    scored = {window: counts["scored"] for window, counts in found["rates"].items()}
    assert scored == {"this_minute": 1, "last_minute": 7, "last_hour": 28, "last_day": 398}
    assert [c["dead_letters"] for c in found["rates"].values()] == [0, 2, 2, 2], "a letter that is dead again is old"
    assert (found["scored"], found["anomalies"]) == (sum(past.values()) + 4, len(past))
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT MIN(minute) FROM minutes").fetchone()[0] == now - DAY + 1


def test_counts_and_position_are_one_transaction(tmp_path):
    path = tmp_path / "o.db"
    at(path, 100, 5)
    database = StateDatabase(path)

    def fail():
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        database.commit(Commit("queue:a", {"n": 1}, {"n": 2}, [{"is_anomaly": True}], [], ("1", "now")), fail)
    database.close()
    assert status(path)["scored"] == 5


# Those of Redis: test_redis_source.py.
@pytest.mark.parametrize("scheme", sorted(SCHEMES.keys() - {"redis", "rediss"}))
def test_every_leaf_says_how_far_it_is_and_a_position_without_a_scheme_is_not_known(scheme, tmp_path, monkeypatch):
    (tmp_path / "in.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    fill(tmp_path / "q.db", ['{"a": 1}', '{"a": 2}'])
    state = StateDatabase(tmp_path / "state.db")
    reading, writing = os.pipe()
    os.write(writing, b'{"a": 1}\n{"a": 2}\n')
    os.close(writing)
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        url = {"-": "-", "file": str(tmp_path / "in.jsonl"), "sqlite": f"sqlite:{tmp_path / 'q.db'}"}[scheme]
        source = find_source(url, False)
        source.resume({}, state.path)
        source.label = "s"
        until = time.monotonic() + 20
        while not (records := source.poll(1)):
            assert time.monotonic() < until
        cursor = json.loads(json.dumps(source.cursor()))
        source.close()
    assert len(records) == 1 and cursor["scheme"] == scheme
    found = standing(cursor, state.path)
    assert found.position and found.behind == (9 if scheme == "file" else 1) and not found.note, found
    former = standing({k: v for k, v in cursor.items() if k != "scheme"}, state.path)
    assert former.behind is None and "earlier release" in former.note
    for gone in ("in.jsonl", "q.db"):
        (tmp_path / gone).unlink()
    if scheme != "-":
        gone = standing(cursor, state.path)
        assert gone.behind is None and str(tmp_path) in gone.note
    state.close()


def test_bytes_behind_are_counted_through_rotation_and_what_is_lost_is_said(artifact, tmp_path):
    log, output = tmp_path / "in.jsonl", tmp_path / "o.db"
    log.write_text("\n".join(good(5)) + "\n")
    run_stream(artifact, str(log), output)
    rest, new = "\n".join(good(3, 4)) + "\n", "\n".join(good(2, 5)) + "\n"
    (tmp_path / "in.jsonl.1.gz").write_bytes(gzip.compress((log.read_text() + rest).encode()))
    log.write_text(new)
    assert status(output)["sources"][0]["behind"] == len(rest) + len(new)
    (tmp_path / "in.jsonl.1.gz").unlink()
    (source,) = status(output)["sources"]
    assert source["behind"] == len(new) and "not among the rotated files" in source["note"]


def test_another_queue_in_the_place_of_the_old_one_is_not_counted(artifact, tmp_path):
    fill(tmp_path / "q.db", good(3))
    run_stream(artifact, f"sqlite:{tmp_path / 'q.db'}", tmp_path / "o.db")
    (tmp_path / "q.db").unlink()
    fill(tmp_path / "q.db", good(9))
    with sqlite3.connect(tmp_path / "q.db") as db:
        db.execute("CREATE TABLE queue_identity(only INTEGER PRIMARY KEY, id TEXT)")
        db.execute("INSERT INTO queue_identity VALUES (1, 'other')")
    (source,) = status(tmp_path / "o.db")["sources"]
    assert source["behind"] is None and "another queue" in source["note"]


def test_the_output_of_an_earlier_release_says_what_is_not_known(artifact, tmp_path):
    fill(tmp_path / "q.db", good(3))
    run_stream(artifact, f"sqlite:{tmp_path / 'q.db'}", tmp_path / "o.db")
    with sqlite3.connect(tmp_path / "o.db") as db:
        for name in ("totals", "minutes", "alarms"):
            db.execute(f"DROP TABLE {name}")
        db.execute("UPDATE cursor SET state = json_remove(state, '$.scheme')")
    found = status(tmp_path / "o.db")
    assert found["scored"] is None and found["rates"] == {}
    assert "not counted" in text(found) and "earlier release" in text(found)


def test_a_database_that_stays_locked_is_temporary_and_a_queue_a_note(artifact, tmp_path, monkeypatch):
    monkeypatch.setattr(readonly, "TIMEOUT", 0.1)
    queue, output = tmp_path / "q.db", tmp_path / "o.db"
    fill(queue, good(3))
    run_stream(artifact, f"sqlite:{queue}", output)
    for path in (queue, output):
        with closing(sqlite3.connect(path, isolation_level=None)) as producer:
            producer.execute("PRAGMA locking_mode = EXCLUSIVE")
            producer.execute("PRAGMA journal_mode = DELETE")
            producer.execute("BEGIN EXCLUSIVE")
            if path == queue:
                (source,) = status(output)["sources"]
                assert source["behind"] is None and "locked" in source["note"] and source["position"] == ""
            else:
                with pytest.raises(TemporaryError, match="locked"):
                    status(output)


# ---------------------------------------------------------------- batch folders
def test_a_batch_folder_before_during_and_after(artifact, environment, tmp_path):
    table(30, 1).to_csv(tmp_path / "rows.csv", index=False)
    table(20, 2).assign(count="many").to_csv(tmp_path / "bad.csv", index=False)
    (tmp_path / "in").mkdir()
    for name in ("rows.csv", "bad.csv"):
        (tmp_path / name).rename(tmp_path / "in" / name)
    out = tmp_path / "out"
    score = [sys.executable, "-m", "serving", "score", "--model", artifact, "--input", tmp_path / "in"]
    score = [*map(str, score), "--output", str(out), "--max-bad-share", "1"]
    killed = subprocess.run(score, env={**environment, "GANLIB_CRASH_AT": "unit_committed"}, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    found = status(out)
    assert (found["units"], found["units_in_all"], found["rows"], found["rows_in_all"]) == (1, 2, 20, 50)
    assert (found["finished"], found["dead_letters"], found["scored"]) == (False, 20, 0)
    assert "not finished" in text(found) and "1 of 2 units, 20 of 50 rows" in text(found)
    assert subprocess.run(score, env=environment, capture_output=True).returncode == 0
    found = status(out)
    assert (found["units"], found["rows"], found["finished"], found["holder"]) == (2, 50, True, None)
    assert (found["scored"], found["dead_letters"]) == (30, 20) and "finished 20" in text(found)
    with Lease(out / "_lease.json"):
        assert f"process {os.getpid()}" in text(status(out))


def test_what_is_neither_is_refused_in_one_line(artifact, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "broken.db").write_text("no database" * 100)
    (tmp_path / "alone.jsonl").write_text("{}\n")
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t(a)").connection.commit()
    before = contents_of_all(tmp_path)
    for name in ("absent.db", "folder", "notes.txt", "broken.db", "alone.jsonl", "other.db"):
        with pytest.raises(UsageError, match=name):
            status(tmp_path / name)
    assert contents_of_all(tmp_path) == before


def contents_of_all(folder):
    return {p.name: p.read_bytes() if p.is_file() else None for p in folder.iterdir()}


def test_both_commands_show_it(artifact, environment, tmp_path):
    fill(tmp_path / "q.db", good(3))
    run_stream(artifact, f"sqlite:{tmp_path / 'q.db'}", tmp_path / "o.db")
    for module in ("serving", "pipelines.cli"):
        call = [sys.executable, "-m", module, "status", str(tmp_path / "o.db")]
        shown = subprocess.run([*call, "--json"], env=environment, capture_output=True, text=True)
        assert shown.returncode == 0 and json.loads(shown.stdout)["scored"] == 3, shown.stderr
    refused = subprocess.run(call[:-1] + [str(tmp_path)], env=environment, capture_output=True, text=True)
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1


def test_a_lease_of_another_machine_is_known_by_its_heartbeat(artifact, tmp_path):
    fill(tmp_path / "q.db", good(3))
    output = tmp_path / "o.db"
    run_stream(artifact, f"sqlite:{tmp_path / 'q.db'}", output)
    lease_of(output).write_text(json.dumps({"host": "elsewhere", "machine": "other", "pid": 7, "token": "t"}))
    assert status(output)["holder"]["alive"] and "process 7 on elsewhere" in text(status(output))
    assert not status(output, now=datetime.now(UTC).timestamp() + 300)["holder"]["alive"]
