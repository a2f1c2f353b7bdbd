"""A Redis stream as input: each entry once, what was removed is a gap, another stream is rejected."""

import json
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving_data import command, good
from test_sources import Reader
from test_stream import BAD, check_exactly_once, lines, read_output, run, wait_for
from test_stream_faults import start, wait_until

from serving.errors import DataError, DependencyError, ServingError, UsageError
from serving.redis import server as redis_server
from serving.redis.entries import position_of
from serving.redis.server import parse
from serving.sources import find_source, standing
from serving.stream import run_stream

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


def add(server, count, key="in", first=0):
    for number in range(first, first + count):
        server.client.xadd(key, {"record": json.dumps({"n": number})})


def numbers(reader):
    return [json.loads(body)["n"] for body in reader.bodies]


# ---------------------------------------------------------------- the whole command
@pytest.mark.parametrize(
    ("point", "ending"),
    [("batch_polled", "db"), ("batch_scored:2", "db"), ("sink_written:2", "jsonl"), ("cursor_committed", "db")],
)
def test_killed_anywhere_each_entry_comes_out_once(server, artifact, environment, tmp_path, point, ending):
    bodies, output = lines(), tmp_path / f"out.{ending}"
    for body in bodies:
        server.client.xadd("in", {"record": body, "by": "a producer"})
    killed = run(environment, artifact, server.url("in"), output, crash=point)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    finished = run(environment, artifact, server.url("in"), output)
    assert finished.returncode == 0, finished.stderr
    check_exactly_once(output, bodies)
    assert len(read_output(output)[1]) == BAD


def test_fields_are_the_record_if_there_is_no_field_with_one(server, artifact, tmp_path):
    record = json.loads(good(2)[1])
    server.client.xadd("in", {name: str(value) for name, value in record.items() if value is not None})
    server.client.xadd("in", {"body": json.dumps(record)})
    assert run_stream(artifact, server.url("in") + "?field=body", tmp_path / "o.db") == 0
    with sqlite3.connect(tmp_path / "o.db") as db:
        scored = db.execute("SELECT position, record FROM scores").fetchall()
    assert json.loads(scored[0][1]) == {name: str(value) for name, value in record.items()}
    assert json.loads(scored[1][1]) == record
    milliseconds, sequence = server.client.xrange("in")[0][0].split("-")
    assert scored[0][0] == int(milliseconds) * 1_000_000 + int(sequence)


def test_following_survives_a_server_that_restarts_and_ends_on_sigterm(own_server, artifact, environment, tmp_path):
    server, rows, output = own_server(), good(30), tmp_path / "o.db"
    for row in rows[:10]:
        server.client.xadd("in", {"record": row})
    process = start(environment, artifact, server.url("in"), output, "--follow")
    try:
        wait_for(10, output)
        server.stop()
        time.sleep(1)
        server.start()
        for row in rows[10:]:
            server.client.xadd("in", {"record": row})
        wait_for(30, output)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=30)[1]
    finally:
        process.kill()
    assert process.returncode == 0 and said.count("does not answer") == 1 and said.count("answers again") == 1, said
    assert [record for *_, record in read_output(output)[0]] == rows


def test_tls_with_a_private_authority(own_server, tmp_path, monkeypatch):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    line = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    line += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([str(part) for part in line], check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    files = ["--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(certificate)]
    server = own_server("--tls-port", port, "--tls-auth-clients", "no", *files)
    add(server, 3)
    url = f"rediss://127.0.0.1:{port}/0/in"
    monkeypatch.setattr(redis_server, "FIRST_WAIT", 0.01)
    with pytest.raises(DependencyError, match="certificate"):
        find_source(url, False)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert numbers(Reader(url).run()) == [0, 1, 2]


# ---------------------------------------------------------------- the source alone
def test_an_empty_stream_has_nothing_to_score(server):
    server.client.xgroup_create("in", "g", "0", mkstream=True)
    assert not Reader(server.url("in")).run().got


def test_a_run_ends_at_the_id_that_was_last_when_it_started(server):
    add(server, 5)
    source = find_source(server.url("in"), False)
    source.resume({}, None)
    add(server, 5, first=5)
    got = source.poll(3) + source.poll(3)
    assert len(got) == 5 and source.finished()
    source.close()


def test_entries_removed_unread_are_counted_whatever_removed_them(server):
    add(server, 10)
    reader = Reader(server.url("in")).run(polls=1)
    assert numbers(reader) == [0, 1, 2]
    server.client.xtrim("in", maxlen=5, approximate=False)  # 3 and 4 are lost
    ids = [name for name, _ in server.client.xrange("in")]
    server.client.xdel("in", ids[1], ids[3])
    reader.run()
    assert numbers(reader) == [0, 1, 2, 5, 7, 9]
    assert sum(int(gap.reason.split(": ")[1].split()[0]) for gap in reader.gaps) == 4
    again = Reader(server.url("in"))
    again.cursors = reader.cursors
    again.run()
    assert not again.got and not again.gaps


def test_a_stream_emptied_to_its_last_entry_is_a_gap(server):
    add(server, 4)
    reader = Reader(server.url("in")).run(polls=1)
    server.client.xtrim("in", maxlen=0, approximate=False)
    reader.run()
    assert [gap.reason for gap in reader.gaps] and "1 entry after" in reader.gaps[0].reason


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["add", "add", "add", "read", "trim", "delete", "restart"]), max_size=25))
def test_read_and_lost_entries_add_up_to_those_that_were_added(server, steps):
    server.client.flushall()
    server.client.xadd("in", {"record": '{"n": 0}'})
    reader, count = Reader(server.url("in")), 1
    source = find_source(server.url("in"), True)
    source.resume({}, None)
    try:
        for step in [*steps, "read", "read", "read", "read", "read", "read", "read", "read", "read"]:
            if step == "add":
                add(server, 1, first=count)
                count += 1
            elif step == "trim":
                server.client.xtrim("in", maxlen=2, approximate=False)
            elif step == "delete":
                server.client.xdel("in", *[name for name, _ in server.client.xrange("in")[1:2]] or ["1-1"])
            elif step == "restart":
                source.close()
                source = find_source(server.url("in"), True)
                source.resume(reader.cursors, None)
            else:
                reader.step(source)
            # A restart before the first commit begins where the stream begins then.
            if not reader.cursors:
                reader.step(source)
    finally:
        source.close()
    lost = sum(int(gap.reason.split(": ")[1].split()[0].replace(",", "")) for gap in reader.gaps)
    assert numbers(reader) == sorted(set(numbers(reader)))
    assert len(reader.got) + lost == count


def recreate(server):
    server.client.delete("in")
    add(server, 3)


def older_backup(server):
    server.client.delete("in")
    for number in range(9):
        server.client.xadd("in", {"record": json.dumps({"n": number})}, id=f"1-{number + 1}")


def same_ids(server):
    kept = server.client.xrange("in")
    server.client.delete("in")
    for name, _ in kept:
        server.client.xadd("in", {"record": '{"n": -1}'}, id=name)


def gone(server):
    server.client.delete("in")


def interleaved(server):
    kept = server.client.xrange("in")
    server.client.delete("in")
    for name, fields in kept[:-1]:
        server.client.xadd("in", fields, id=name)
    add(server, 5)


@pytest.mark.parametrize("change", [recreate, older_backup, same_ids, gone, interleaved])
def test_another_stream_under_the_address_is_rejected(server, change):
    add(server, 6)
    reader = Reader(server.url("in")).run()
    change(server)
    with pytest.raises((DataError, UsageError), match=r"was read up to|there is no stream"):
        reader.run()
    with pytest.raises(DataError, match="choose a new --output"):
        reader.run(follow=True, polls=1)


def test_another_server_with_the_same_address_is_rejected(own_server, tmp_path):
    first = own_server(folder="one")
    add(first, 6)
    reader = Reader(first.url("in")).run()
    first.stop()
    first.folder = tmp_path
    first.start()
    add(first, 6)
    with pytest.raises(DataError, match="another server"):
        reader.run()


def test_a_moved_stream_goes_on(own_server):
    server, replica = own_server(folder="one"), own_server(folder="two")
    add(server, 6)
    reader = Reader(server.url("in")).run()
    replica.client.replicaof("127.0.0.1", server.port)
    for _ in range(200):
        if replica.client.xlen("in") == 6 if replica.client.exists("in") else False:
            break
        time.sleep(0.05)
    replica.client.replicaof("NO", "ONE")
    add(replica, 3, first=6)
    reader.url = replica.url("in")
    assert numbers(reader.run()) == list(range(9)) and len(reader.cursors) == 1


def test_status_counts_the_entries_behind(server, artifact, tmp_path):
    for row in good(7):
        server.client.xadd("in", {"record": row})
    run_stream(artifact, server.url("in"), tmp_path / "o.db")
    server.client.xadd("in", {"record": "{}"})
    with sqlite3.connect(tmp_path / "o.db") as db:
        cursor = json.loads(db.execute("SELECT state FROM cursor").fetchone()[0])
    found = standing(cursor, tmp_path / "o.db")
    assert (found.behind, found.unit) == (1, "record") and found.position.startswith("id ")
    server.client.delete("in")
    assert "gone" in standing(cursor, tmp_path / "o.db").note


def test_positions_increase_and_show_the_id():
    address = parse("redis", "h/0/k")
    assert position_of(address, (1795908000123, 7)) == 1795908000123000007
    for wrong in ((1, 1_000_000), (1 << 60, 0)):
        with pytest.raises(DataError, match="id"):
            position_of(address, wrong)


# ---------------------------------------------------------------- wrong addresses and servers
@pytest.mark.parametrize(
    "url",
    ["redis:x", "redis://h", "redis://h/0", "redis://h/x/k", "redis://h:99999/0/k", "redis://h/0/k?x=1", "redis://h/0/k#f",
     "redis://:se/cret@h/0/k", "redis://u:1/0/cret@h/0/k", "redis://h/0/k?field="],
)  # fmt: skip
def test_a_malformed_url_is_one_line_without_secrets(url):
    with pytest.raises(UsageError) as caught:
        find_source(url, False)
    assert "cret" not in str(caught.value) and "\n" not in str(caught.value)


def said(environment, artifact, url, folder, *extra, **variables):
    done = subprocess.run(
        command(artifact, url, folder / "o.db", *extra), env={**environment, **variables}, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_each_fault_of_a_server_is_one_line_and_its_exit_code(own_server, artifact, environment, tmp_path, monkeypatch):
    monkeypatch.setattr(redis_server, "FIRST_WAIT", 0.01)
    server = own_server()
    server.client.set("text", "x")
    add(server, 1)
    base = server.url("in")
    for url, code, words in (
        (server.url("absent"), 2, "there is no stream"),
        (server.url("text"), 4, "another type"),
        (base.replace("/0/in", "/99/in"), 2, "no database 99"),
        (base.replace(str(server.port), "1"), 5, "redis at 127.0.0.1:1 does not answer"),
    ):
        with pytest.raises(ServingError, match=words) as caught:
            find_source(url, False)
        assert caught.value.exit_code == code
    server.client.config_set("requirepass", "canary-secret")
    got, text = said(environment, artifact, base, tmp_path, REDIS_PASSWORD="canary-wrong")
    assert got == 2 and "REDIS_PASSWORD" in text and "canary" not in text and len(text.splitlines()) == 1
    with pytest.raises(UsageError, match="REDIS_PASSWORD"):
        find_source(base, False)
    assert not (tmp_path / "o.db").exists()


def test_a_password_is_in_no_output_and_no_file(own_server, artifact, environment, tmp_path):
    server = own_server("--requirepass", "canary-secret")
    server.client.auth("canary-secret")
    (tmp_path / "out").mkdir()
    for row in good(3):
        server.client.xadd("in", {"record": row})
    url = server.url("in", user="default:canary-secret@")
    for address, extra in ((url, {}), (server.url("in"), {"REDIS_PASSWORD": "canary-secret"})):
        code, text = said(environment, artifact, address, tmp_path / "out", "--log-format", "json", **extra)
        assert code == 0 and "canary" not in text
    shown = subprocess.run(
        [sys.executable, "-m", "serving", "status", tmp_path / "out" / "o.db"], capture_output=True, text=True,
        env={**environment, "REDIS_PASSWORD": "canary-secret"},
    )  # fmt: skip
    assert "0 records behind" in shown.stdout and "canary" not in shown.stdout + shown.stderr
    for path in (tmp_path / "out").iterdir():
        assert b"canary" not in path.read_bytes()


def test_a_missing_stream_is_waited_for(server, artifact, environment, tmp_path):
    process = start(environment, artifact, server.url("late"), tmp_path / "o.db", "--follow")
    try:
        wait_until((tmp_path / "o.db").exists)
        for row in good(4):
            server.client.xadd("late", {"record": row})
        wait_for(4, tmp_path / "o.db")
        process.send_signal(signal.SIGTERM)
        assert "waiting for it" in process.communicate(timeout=30)[1] and process.returncode == 0
    finally:
        process.kill()


def test_the_extra_is_named_if_it_is_missing(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("serving.redis") or "redis_stream" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(UsageError, match=r"ganlib\[redis\]"):
        find_source("redis://h/0/k", False)
