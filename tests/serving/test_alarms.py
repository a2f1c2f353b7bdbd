"""The alarm hook: each anomaly reaches it at least once, whatever it answers, and scoring never waits for it."""

import base64
import http.server
import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from serving_data import table

from serving import alarms
from serving.alarms import Delivery, hook_of
from serving.errors import UsageError
from serving.events import Events
from serving.sinks.state import StateDatabase
from serving.status import status, text
from serving.stream import run_stream


def records(count=40, seed=2):
    return table(count, seed).to_json(orient="records", date_format="iso", lines=True).splitlines()


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(records()) + "\n")
    return path


def script(folder, body):
    """A hook as a program: ``lines`` are the alarms it was given."""
    path = folder / "hook.py"
    path.write_text(f"import json, os, sys, time\nlines = [json.loads(line) for line in sys.stdin]\n{body}\n")
    return f"{sys.executable} {path}"


def keeper(folder, more=""):
    return script(
        folder, f"open({str(folder / 'kept')!r}, 'a').writelines(json.dumps(a) + '\\n' for a in lines)\n{more}"
    )


def kept(folder):
    path = folder / "kept"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def state_of(output):
    return output if output.suffix == ".db" else output.with_name(output.name + ".state.db")


def anomalies(output):
    if output.suffix == ".db":
        with sqlite3.connect(output) as db:
            return set(db.execute("SELECT source, position FROM scores WHERE is_anomaly"))
    return {(r["source"], r["position"]) for r in map(json.loads, output.read_text().splitlines()) if r["is_anomaly"]}


def places(given):
    return {(alarm["source"], alarm["position"]) for alarm in given}


def outbox(output):
    with sqlite3.connect(state_of(output)) as db:
        return db.execute("SELECT COUNT(*), COUNT(dead_at), MAX(reason) FROM alarms").fetchone()


@pytest.fixture
def quick(monkeypatch):
    for name, seconds in {"PAUSE": 0.01, "LIMIT": 1.0, "LAST": 3.0, "EVERY": 0.05}.items():
        monkeypatch.setattr(alarms, name, seconds)


@contextmanager
def server(answer):
    """An HTTP server; ``answer(handler, body)`` returns the status."""
    got = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((dict(self.headers), self.path, json.loads(body)))
            code = answer(self, len(got))
            self.send_response(code)
            if code in (301, 302, 303):
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_):
            pass

    service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{service.server_address[1]}", got
    finally:
        service.shutdown()


# ---------------------------------------------------------------- delivered
@pytest.mark.parametrize("name", ["o.db", "o.jsonl"])
def test_a_program_is_given_each_anomaly_and_nothing_stays(artifact, log, tmp_path, capsys, name):
    output = tmp_path / name
    assert run_stream(artifact, str(log), output, alpha=0.3, on_alarm=keeper(tmp_path), as_json=True) == 0
    found, given = anomalies(output), kept(tmp_path)
    assert found and places(given) == found and len(given) == len(found) and outbox(output)[0] == 0
    assert all(alarm["is_anomaly"] and alarm["record"]["kind"] for alarm in given)
    summary = json.loads(capsys.readouterr().out)
    assert summary["alarms"] == {"delivered": len(found), "waiting": 0, "dead": 0}


def test_a_url_is_sent_lists_of_at_most_a_hundred(artifact, tmp_path):
    log, output = tmp_path / "in.jsonl", tmp_path / "o.db"
    log.write_text("\n".join(records(400)) + "\n")
    with server(lambda handler, calls: 204) as (place, got):
        hook = f"http://me:p%40ss@{place}/hook?token=t"
        assert run_stream(artifact, str(log), output, alpha=0.5, on_alarm=hook) == 0
    sizes = [len(alarms) for *_, alarms in got]
    assert max(sizes) <= 100 and len(sizes) > 1 and {path for _, path, _ in got} == {"/hook?token=t"}
    assert places(a for *_, alarms in got for a in alarms) == anomalies(output) and sum(sizes) == len(anomalies(output))
    assert base64.b64decode(got[0][0]["Authorization"].split()[1]) == b"me:p@ss"


def test_alarms_come_within_a_second_while_the_stream_goes_on(artifact, environment, tmp_path):
    log, output = tmp_path / "in.jsonl", tmp_path / "o.db"
    log.write_text("\n".join(records()) + "\n")
    with server(lambda handler, calls: 200) as (place, got):
        command = [sys.executable, "-m", "serving", "stream", "--model", artifact, "--input", log, "--output", output]
        command += ["--alpha", "0.3", "--follow", "--on-alarm", f"http://{place}"]
        process = subprocess.Popen(list(map(str, command)), env=environment, stderr=subprocess.PIPE, text=True)
        try:
            until = time.monotonic() + 60
            while not (output.exists() and _scored(output)):
                assert time.monotonic() < until
                time.sleep(0.02)
            time.sleep(1.5)
            assert places(a for *_, alarms in got for a in alarms) == anomalies(output)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.communicate()


def _scored(output):
    try:
        with sqlite3.connect(output) as db:
            return db.execute("SELECT COUNT(*) FROM scores").fetchone()[0] == 40
    except sqlite3.OperationalError:
        return False


def test_replayed_records_alarm_too(artifact, log, tmp_path):
    output = tmp_path / "o.db"
    with log.open("a") as file:
        file.write(records(1, seed=9)[0][:-1] + "\n")
    run_stream(artifact, str(log), output, alpha=0.3)
    with sqlite3.connect(output) as db:
        assert db.execute("UPDATE dead_letters SET body = CAST(body || '}' AS BLOB)").rowcount == 1
    assert run_stream(artifact, "-", output, alpha=0.9999, replay=True, on_alarm=keeper(tmp_path)) == 0
    (alarm,) = kept(tmp_path)
    assert (alarm["source"], alarm["position"]) in anomalies(output) and outbox(output)[0] == 0


def test_without_a_hook_nothing_is_kept_for_one(artifact, log, tmp_path):
    run_stream(artifact, str(log), tmp_path / "o.db", alpha=0.3)
    assert outbox(tmp_path / "o.db")[0] == 0 and anomalies(tmp_path / "o.db")


# ---------------------------------------------------------------- killed
@pytest.mark.parametrize(
    ("name", "point"),
    [("o.db", "sink_written"), ("o.jsonl", "cursor_committed"), ("o.db", "alarms_delivered"),
     ("o.jsonl", "alarms_delivered")],
)  # fmt: skip
def test_killed_anywhere_each_alarm_arrives(artifact, environment, log, tmp_path, name, point):
    output, hook = tmp_path / name, keeper(tmp_path)
    command = [sys.executable, "-m", "serving", "stream", "--model", artifact, "--input", log, "--output", output]
    command = [*map(str, command), "--alpha", "0.3", "--max-rows", "10", "--on-alarm", hook]
    killed = subprocess.run(command, env={**environment, "GANLIB_CRASH_AT": point}, capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    given = kept(tmp_path)
    assert places(given) == anomalies(output) and outbox(output)[0] == 0
    repeated = len(given) - len(places(given))
    assert (repeated > 0) == (point == "alarms_delivered"), "a delivery that was not settled is repeated, and no other"


# ---------------------------------------------------------------- hooks that fail
FAULTS = {
    "exit code": "print('no way'); sys.exit(3)",
    "in time": "time.sleep(60)",
    "killed": "os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_hook_that_fails_is_given_up_with_its_reason_and_tried_again_at_the_next_start(
    artifact, log, tmp_path, quick, monkeypatch, capsys, fault
):
    monkeypatch.setattr(alarms, "LIMIT", 0.3)
    output = tmp_path / "o.db"
    began = time.monotonic()
    assert run_stream(artifact, str(log), output, alpha=0.3, on_alarm=script(tmp_path, FAULTS[fault])) == 0
    assert time.monotonic() - began < 20
    found, (count, dead, reason) = anomalies(output), outbox(output)
    said = {"exit code": "exit code 3: no way", "in time": "in time", "killed": "exit code -9"}[fault]
    assert (count, dead) == (len(found), len(found)) and said in reason
    err = capsys.readouterr().err
    assert err.count("could not be delivered") == 1 and f"{len(found)} alarms could not be delivered" in err
    shown = status(output)
    assert shown["alarms"]["dead"] == len(found) and f"{len(found)} alarms undelivered" in text(shown)
    assert run_stream(artifact, str(log), output, alpha=0.3) == 0
    assert f"{len(found)} alarms of an earlier run not delivered" in capsys.readouterr().err
    assert run_stream(artifact, str(log), output, alpha=0.3, on_alarm=keeper(tmp_path)) == 0
    assert places(kept(tmp_path)) == found and outbox(output)[0] == 0


@pytest.mark.parametrize("code", [302, 400, 404, 500, 503])
def test_an_answer_that_is_no_2xx_is_a_failure_and_a_later_one_settles(artifact, log, tmp_path, quick, code):
    with server(lambda handler, calls: code if calls < 3 else 200) as (place, got):
        assert run_stream(artifact, str(log), tmp_path / "o.db", alpha=0.3, on_alarm=f"http://{place}") == 0
    assert len(got) == 3 and outbox(tmp_path / "o.db")[0] == 0, "a redirect must not be followed as a GET"
    assert places(got[-1][2]) == anomalies(tmp_path / "o.db")


@pytest.mark.parametrize("kind", ["program", "url"])
def test_a_hook_that_hangs_never_stops_scoring_nor_the_end(artifact, log, tmp_path, quick, monkeypatch, capsys, kind):
    monkeypatch.setattr(alarms, "LIMIT", 60.0)
    monkeypatch.setattr(alarms, "LAST", 0.5)
    hanging = threading.Event()
    with server(lambda handler, calls: hanging.wait(20) or 200) as (place, _):
        hook = f"http://{place}" if kind == "url" else script(tmp_path, "time.sleep(60)")
        began = time.monotonic()
        assert run_stream(artifact, str(log), tmp_path / "o.db", alpha=0.3, max_rows=5, on_alarm=hook) == 0
        assert time.monotonic() - began < 15
        hanging.set()
    found = anomalies(tmp_path / "o.db")
    assert outbox(tmp_path / "o.db")[:2] == (len(found), 0), "what was cut short waits; it is no failure of the hook"
    assert f"{len(found)} alarms not delivered in time, left to the next run" in capsys.readouterr().err


def test_what_a_dead_hook_started_is_gone_with_it(tmp_path, quick, monkeypatch):
    monkeypatch.setattr(alarms, "LIMIT", 0.5)
    mark = tmp_path / "child"
    hook = hook_of(script(tmp_path, f"os.system('sleep 1.5; touch {mark}')"))
    until = time.monotonic() + 0.5
    assert "in time" in hook.send(["{}"], lambda: time.monotonic() > until)
    time.sleep(1.8)
    assert not mark.exists()


# ---------------------------------------------------------------- refused, and never shown
@pytest.mark.parametrize(
    ("hook", "said"),
    [
        ("", "empty"), ("no-such-program-here -x", "no program 'no-such-program-here'"), ("echo 'open", "quotes"),
        ("ftp://host/x", "ftp://"), ("http://", "no valid host"), ("http://user:hush/hush@host", "no valid host"),
        ("https://host:port/", "no valid host"),
    ],
)  # fmt: skip
def test_a_hook_that_cannot_be_is_refused_before_anything_is_made(artifact, log, tmp_path, hook, said):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError, match=said) as refused:
        run_stream(artifact, str(log), tmp_path / "o.db", on_alarm=hook)
    assert "hush" not in str(refused.value) and sorted(tmp_path.iterdir()) == before


def test_secrets_are_never_shown(artifact, log, tmp_path, quick, capsys):
    with server(lambda handler, calls: 500) as (place, _):
        run_stream(artifact, str(log), tmp_path / "o.db", alpha=0.3, on_alarm=f"http://me:hush1@{place}/hush2?k=hush3")
    hook = script(tmp_path, "sys.exit(1)") + " --token hush4"
    run_stream(artifact, str(log), tmp_path / "p.db", alpha=0.3, on_alarm=hook)
    out, err = capsys.readouterr()
    assert "could not be delivered" in err and "hush" not in out + err + text(status(tmp_path / "o.db"))
    assert b"hush" not in (tmp_path / "o.db").read_bytes()


def test_a_state_that_is_locked_for_a_while_ends_no_thread(tmp_path, quick, capsys):
    state = StateDatabase(tmp_path / "s.db")
    state.connection.execute('INSERT INTO alarms(body) VALUES (\'{"source": "q", "position": 1}\')')
    with Delivery(hook_of(keeper(tmp_path)), Events()) as delivery:
        delivery.start(state.path)
        delivery._database.execute("PRAGMA busy_timeout = 50")
        state.connection.execute("BEGIN IMMEDIATE")
        until = time.monotonic() + 10
        while not (tmp_path / "kept").exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        time.sleep(0.5)
        state.connection.execute("ROLLBACK")
        delivery.finish()
    assert delivery.counts == {"delivered": 1, "waiting": 0, "dead": 0}
    assert "tried again" in capsys.readouterr().err
    state.close()


def test_a_batch_is_bounded_in_bytes_and_one_that_is_larger_goes_alone(tmp_path, quick, monkeypatch):
    monkeypatch.setattr(alarms, "LARGEST", 100)
    state = StateDatabase(tmp_path / "s.db")
    bodies = [json.dumps({"source": "q", "position": i, "text": "x" * (200 if i == 3 else 1)}) for i in range(6)]
    state.connection.executemany("INSERT INTO alarms(body) VALUES (?)", [(body,) for body in bodies])
    with server(lambda handler, calls: 200) as (place, got), Delivery(hook_of(f"http://{place}"), Events()) as delivery:
        delivery.start(state.path)
        delivery.finish()
    assert [[a["position"] for a in alarms] for *_, alarms in got] == [[0, 1], [2], [3], [4, 5]]
    state.close()
