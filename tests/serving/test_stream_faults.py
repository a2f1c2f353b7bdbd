"""Streams under what happens to them: second writers, theft, pipes, hostile records, two sources, restarts."""

import collections
import json
import os
import signal
import sqlite3
import subprocess
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving_data import command, fill, good

from serving.errors import TemporaryError
from serving.lease import Lease
from serving.sinks import Commit, open_sink
from serving.sources.sqlite_queue import QUEUE_TABLE
from serving.stream import lease_of, run_stream


def state_of(output):
    return output if output.suffix == ".db" else output.with_name(output.name + ".state.db")


def positions(output):
    """All (source, position), of scores and of dead letters."""
    with sqlite3.connect(state_of(output)) as db:
        dead = db.execute("SELECT source, position FROM dead_letters").fetchall()
        if output.suffix == ".db":
            return db.execute("SELECT source, position FROM scores").fetchall() + dead
    return [(row["source"], row["position"]) for row in map(json.loads, output.read_text().splitlines())] + dead


def start(environment, artifact, source, output, *extra):
    return subprocess.Popen(
        command(artifact, source, output, *extra), env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def wait_until(done, seconds=60):
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.05)


def count(output):
    """Rows of an output that a stream may be writing: its last line may be half there."""
    try:
        return len(positions(output))
    except (sqlite3.OperationalError, FileNotFoundError, json.JSONDecodeError):
        return 0


# ---------------------------------------------------------------- two streams of one output
@pytest.mark.parametrize("name", ["o.db", "o.jsonl"])
def test_a_second_stream_waits_or_ends_with_75_and_a_deploy_hands_over(artifact, environment, tmp_path, name):
    path, output = tmp_path / "in.jsonl", tmp_path / name
    rows = good(40)
    path.write_text("\n".join(rows[:20]) + "\n")
    first = start(environment, artifact, path, output, "--follow")
    second = None
    try:
        wait_until(lambda: count(output) == 20)
        with pytest.raises(TemporaryError, match=f"{name}.* is being written by process {first.pid} on"):
            run_stream(artifact, str(path), output)
        second = start(environment, artifact, path, output, "--wait", "60")
        time.sleep(1.5)
        with path.open("a") as file:
            file.write("\n".join(rows[20:]) + "\n")
        wait_until(lambda: count(output) >= 30)
        first.send_signal(signal.SIGTERM)
        assert first.wait(30) == 0 and second.wait(60) == 0, second.stderr.read()
    finally:
        for process in filter(None, (first, second)):
            process.kill()
            process.communicate()
    assert len(positions(output)) == len(set(positions(output))) == 40
    assert not lease_of(output).exists()


@pytest.mark.parametrize("name", ["o.db", "o.jsonl"])
def test_who_lost_its_lease_writes_nothing_more(artifact, environment, tmp_path, name):
    path, output = tmp_path / "in.jsonl", tmp_path / name
    rows = good(40)
    path.write_text("\n".join(rows[:20]) + "\n")
    paused = start(environment, artifact, path, output, "--follow")
    try:
        wait_until(lambda: count(output) == 20)
        time.sleep(0.5)  # lines stand in the file a moment before they are committed
        paused.send_signal(signal.SIGSTOP)
        lease_of(output).unlink()  # as an operator does who believes that it is dead
        with path.open("a") as file:
            file.write("\n".join(rows[20:]) + "\n")
        assert run_stream(artifact, str(path), output) == 0
        paused.send_signal(signal.SIGCONT)
        assert paused.wait(30) == 75
        assert "no longer held by this run" in paused.stderr.read()
    finally:
        paused.kill()
        paused.communicate()
    assert len(positions(output)) == len(set(positions(output))) == 40


@pytest.mark.parametrize("name", ["o.db", "o.jsonl"])
def test_a_cursor_that_another_moved_is_never_moved_back(tmp_path, name):
    """Compare and set, should two ever write without a lease."""
    score = {"source": "q", "position": 1, "anomaly_score": 1.0, "is_anomaly": False}
    one, other = open_sink(tmp_path / name), open_sink(tmp_path / name)
    stamp = ("1", "now")
    one.commit(Commit("queue:a", {}, {"id": 1}, [score], [], stamp))
    with pytest.raises(TemporaryError, match="another stream has moved the position of queue:a"):
        other.commit(Commit("queue:a", {}, {"id": 9}, [score | {"position": 9}], [], stamp))
    other.commit(Commit("queue:a", {"id": 1}, {"id": 2}, [score | {"position": 2}], [], stamp))
    one.commit(Commit("queue:a", {"id": 2}, {"id": 3}, [score | {"position": 3}], [], stamp))
    assert one.cursors() == {"queue:a": {"id": 3}}
    one.close(), other.close()
    assert [p for _, p in positions(tmp_path / name)] == [1, 2, 3]


# ---------------------------------------------------------------- hostile records
HOSTILE = [
    b'{"a":' * 973 + b"1" + b"}" * 973, b"[" * 100_000, b"\xff\xfe", b"\x00", b'"\xed\xa0\x80"', b"", b" ", b"null",
    b"1e999", b"9" * 5000, b'{"amount": ' + b"9" * 5000 + b"}", b"{" + b'"a":1,' * 50_000 + b'"b":2}',
]  # fmt: skip


@pytest.mark.parametrize("name", ["o.db", "o.jsonl"])
def test_hostile_records_are_dead_letters_and_stop_nothing(artifact, tmp_path, name):
    fine = good(6)
    deep = json.dumps({**json.loads(fine[0]), "extra": 0}).replace(": 0}", ": " + "[" * 950 + "]" * 950 + "}")
    bodies = [*HOSTILE, deep.encode(), *(f.encode() for f in fine)]
    fill(tmp_path / "q.db", [])
    with sqlite3.connect(tmp_path / "q.db") as db:
        db.executemany("INSERT INTO queue(body) VALUES (?)", [(b,) for b in bodies])
    for _ in range(2):
        assert run_stream(artifact, f"sqlite:{tmp_path / 'q.db'}", tmp_path / name) == 0
    found = positions(tmp_path / name)
    assert sorted(p for _, p in found) == list(range(1, len(bodies) + 1))


record_bytes = st.one_of(
    st.binary(max_size=80),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    ).map(lambda value: json.dumps(value).encode()),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=st.lists(record_bytes, max_size=8), broken=st.dictionaries(
    st.sampled_from(["amount", "count", "flag", "kind", "when"]),
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
                 lambda inner: st.lists(inner, max_size=3), max_leaves=4), max_size=3))  # fmt: skip
def test_each_record_is_scored_or_kept(artifact, tmp_path_factory, bodies, broken):
    folder = tmp_path_factory.mktemp("law")
    fine = json.loads(good(1)[0])
    bodies = [*bodies, json.dumps({**fine, **broken}).encode(), json.dumps(fine).encode()]
    with sqlite3.connect(folder / "q.db") as db:
        db.execute(QUEUE_TABLE)
        db.executemany("INSERT INTO queue(body) VALUES (?)", [(b,) for b in bodies])
    assert run_stream(artifact, f"sqlite:{folder / 'q.db'}", folder / "o.jsonl") == 0
    assert sorted(p for _, p in positions(folder / "o.jsonl")) == list(range(1, len(bodies) + 1))
    scored = [json.loads(line) for line in (folder / "o.jsonl").read_text().splitlines()]
    assert scored and all(isinstance(row["record"], dict | str) for row in scored)


def test_a_record_stands_in_the_line_letter_by_letter(artifact, tmp_path):
    fine = good(3)
    pretty = json.dumps(json.loads(fine[1]), indent=2)
    exact = fine[0][:-1] + ', "more": {"x": 1.50, "y": 1e2, "x": "\\u00e9 \u2028"}}'
    odd = fine[2][:-1] + ', "more": NaN}'
    fill(tmp_path / "q.db", [exact, pretty, odd])
    assert run_stream(artifact, f"sqlite:{tmp_path / 'q.db'}", tmp_path / "o.jsonl", explain=True) == 0
    lines = (tmp_path / "o.jsonl").read_text().split("\n")[:-1]
    assert lines[0].endswith(f'"record": {exact}}}') and json.loads(lines[1])["record"] == json.loads(pretty)
    assert json.loads(lines[2])["record"] == odd
    assert isinstance(json.loads(lines[0])["contributions"], dict)


# ---------------------------------------------------------------- several sources, gaps, pipes
@pytest.mark.parametrize("name", ["o.db", "o.jsonl"])
def test_two_queues_of_one_name_keep_their_records_apart(artifact, tmp_path, name):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        fill(tmp_path / folder / "q.db", [*good(3), "broken"])
        run_stream(artifact, f"sqlite:{tmp_path / folder / 'q.db'}", tmp_path / name)
    found = positions(tmp_path / name)
    assert len(found) == len(set(found)) == 8
    sources = collections.Counter(source for source, _ in found)
    assert sources.pop("q.db") == 4 and list(sources.values()) == [4] and next(iter(sources)).startswith("q.db@")


def test_a_gap_is_recorded_said_and_ends_with_4(artifact, tmp_path, capsys):
    path, output = tmp_path / "in.jsonl", tmp_path / "o.db"
    path.write_text("\n".join(good(5)) + "\n")
    assert run_stream(artifact, str(path), output) == 0
    path.write_text("\n".join(good(3, seed=3)) + "\n")
    assert run_stream(artifact, str(path), output) == 4
    said = capsys.readouterr()
    assert "warning: records may be lost:" in said.err and "3 scored, 0 anomalies, 0 dead letters, 1 gap" in said.out
    with sqlite3.connect(output) as db:
        assert db.execute("SELECT source, reason LIKE '%was replaced%' FROM gaps").fetchall() == [("in.jsonl", 1)]
    assert run_stream(artifact, str(path), output) == 0
    assert len(positions(output)) == 8


def test_blank_lines_count_and_half_a_line_of_a_killed_sender_is_not_safe(artifact, environment, tmp_path):
    rows, output = good(6), tmp_path / "o.db"
    text = f"{rows[0]}\n\n{rows[1]}\n   \n{rows[2]}\n{rows[3][:30]}"
    done = subprocess.run(
        command(artifact, "-", output), input=text, env=environment, capture_output=True, text=True, check=True
    )
    assert "cut off after 30 bytes and not taken" in done.stderr
    sent = text.count("\n")
    rest = "\n".join([*text.split("\n")[:sent], *rows[3:]]).split("\n")[sent:]
    done = subprocess.run(
        command(artifact, "-", output), input="\n".join(rest), env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert f"stdin: {sent} lines ({len(text) - 30:,} bytes) are safely in" in done.stderr
    with sqlite3.connect(output) as db:
        scored = db.execute("SELECT position, record FROM scores ORDER BY position").fetchall()
        assert db.execute("SELECT COUNT(*) FROM inbox").fetchone() == (0,), "what is scored leaves the inbox"
    assert [p for p, _ in scored] == [1, 3, 5, 6, 7, 8] and [r for _, r in scored] == rows


@pytest.mark.parametrize("follow", [False, True])
def test_a_fifo_is_read_as_a_pipe(artifact, environment, tmp_path, follow):
    rows, output, fifo = good(8), tmp_path / "o.db", tmp_path / "pipe"
    os.mkfifo(fifo)
    process = start(environment, artifact, fifo, output, *(["--follow"] * follow))
    try:
        for part in (rows[:4], rows[4:]) if follow else (rows,):
            with fifo.open("w") as writer:
                writer.write("\n".join(part) + "\n")
        wait_until(lambda: count(output) == 8)
        if follow:
            process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()
    assert [p for _, p in sorted(positions(output))] == list(range(1, 9))


# ---------------------------------------------------------------- events
def test_events_as_json(artifact, environment, tmp_path):
    fill(tmp_path / "q.db", good(5))
    source, output = f"sqlite:{tmp_path / 'q.db'}", tmp_path / "o.db"
    done = subprocess.run(
        command(artifact, source, output, "--log-format", "json"), env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert [e["event"] for e in events] == ["start", "end"]
    assert events[0]["input"] == source and events[0]["cursor"] == {} and events[1]["scored"] == 5
    refused = subprocess.run(
        command(artifact, source, output, "--log-format", "xml"), env=environment, capture_output=True, text=True
    )
    assert refused.returncode == 2 and "--log-format is text or json" in refused.stderr


def test_a_minute_without_news_is_news(artifact, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("serving.events.EVERY", 0.0)
    fill(tmp_path / "q.db", good(5))
    run_stream(artifact, f"sqlite:{tmp_path / 'q.db'}", tmp_path / "o.db", max_rows=2)
    assert "alive: 2 scored" in capsys.readouterr().err


def test_the_lease_of_a_stream_that_was_killed_is_taken_over(artifact, environment, tmp_path):
    fill(tmp_path / "q.db", good(5))
    source, output = f"sqlite:{tmp_path / 'q.db'}", tmp_path / "o.db"
    killed = subprocess.run(
        command(artifact, source, output), env={**environment, "GANLIB_CRASH_AT": "batch_scored"}, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL and lease_of(output).exists()
    with Lease(lease_of(output)):
        pass
    assert run_stream(artifact, source, output) == 0 and count(output) == 5


def test_a_letter_of_a_huge_record_says_how_much_was_kept(artifact, tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"x": "' + b"y" * (70 << 20) + b'"}\n' + good(1)[0].encode() + b"\n")
    assert run_stream(artifact, str(path), tmp_path / "o.db") == 0
    with sqlite3.connect(tmp_path / "o.db") as db:
        ((reason, size),) = db.execute("SELECT reason, LENGTH(body) FROM dead_letters").fetchall()
    assert size == 64 << 20 and f"the first {size:,} of {(70 << 20) + 10:,} are kept" in reason
    assert count(tmp_path / "o.db") == 2
