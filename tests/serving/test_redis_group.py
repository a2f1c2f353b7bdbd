"""Workers that share a Redis stream: each entry one score or one dead letter, whatever worker is killed."""

import collections
import json
import signal
import subprocess
import sys
import time

import pytest
from serving_data import command, good
from test_stream import BAD, lines, make_queue
from test_stream_faults import wait_until

from serving.errors import DataError, UsageError
from serving.records import Outcome
from serving.redis.group import Group, Sharing, addresses
from serving.redis.report import verify
from serving.sinks import DeadLetter
from serving.stream import run_stream

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]
FAST = ("--max-rows", "10", "--min-idle", "0.3")


def fill(server, bodies, key="in"):
    for body in bodies:
        server.client.xadd(key, {"record": body})


def worker(environment, artifact, server, *extra, crash=None):
    env = {**environment, **({"GANLIB_CRASH_AT": crash} if crash else {})}
    line = command(artifact, server.url("in"), server.url("out"), *FAST, *extra)
    return subprocess.Popen(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process, code=0):
    said = process.communicate(timeout=60)[1]
    assert process.returncode == code, said
    return said


def outputs(server):
    """(input ids scored, input ids dead)."""
    scored = [fields["id"] for _, fields in server.client.xrange("out")]
    return scored, [fields["id"] for _, fields in server.client.xrange("out:dead")]


def check_once(server, bodies, bad=BAD):
    scored, dead = outputs(server)
    assert collections.Counter(scored + dead) == collections.Counter(name for name, _ in server.client.xrange("in"))
    assert len(dead) == bad and len(scored) == len(bodies) - bad
    records = [json.loads(fields["score"])["record"] for _, fields in server.client.xrange("out")]
    valid = collections.Counter(map(json.dumps, records))
    assert sum(valid.values()) == len(scored)
    held = server.client.hgetall("out:counts")
    counts = {name: int(held.get(name, 0)) for name in ("read", "scored", "dead", "deleted")}
    verified = verify(server.url("out"))
    assert (verified["read"], verified["pending"], verified["checked"]) == (len(bodies), 0, len(bodies))
    assert counts == {"read": len(bodies), "scored": len(scored), "dead": len(dead), "deleted": 0}
    assert server.client.xpending("in", "ganlib-out")["pending"] == 0


POINTS = ["batch_polled:2", "batch_scored:2", "outcomes_committed"]


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_anywhere_leaves_each_entry_to_another(server, artifact, environment, point):
    bodies = lines()
    fill(server, bodies)
    killed = worker(environment, artifact, server, crash=point)
    if ":" in point:  # else both run at the same time
        ended(killed, -signal.SIGKILL)
    ended(worker(environment, artifact, server))
    assert killed.wait(60) == -signal.SIGKILL
    check_once(server, bodies)


def test_three_workers_two_killed_one_while_it_takes_over(server, artifact, environment):
    bodies = lines(120)
    fill(server, bodies)
    many = ("--max-deliveries", "9")  # a busy machine may be silent for longer than --min-idle
    ended(worker(environment, artifact, server, *many, crash="batch_scored"), -signal.SIGKILL)
    time.sleep(0.4)
    ended(worker(environment, artifact, server, *many, crash="entry_reclaimed:2"), -signal.SIGKILL)
    for process in [worker(environment, artifact, server, *many) for _ in range(2)]:
        ended(process)
    check_once(server, bodies)


def test_following_workers_share_and_end_on_sigterm(server, artifact, environment):
    bodies = good(200)
    workers = [worker(environment, artifact, server, "--follow", "--consumer", f"w{n}") for n in range(2)]
    try:
        wait_until(lambda: server.client.exists("in"))
        fill(server, bodies)
        wait_until(lambda: server.client.xlen("out") == 200)
        for process in workers:
            process.send_signal(signal.SIGTERM)
        for process in workers:
            ended(process)
    finally:
        for process in workers:
            process.kill()
    check_once(server, bodies, bad=0)
    assert not server.client.xinfo_consumers("in", "ganlib-out")


def test_a_paused_worker_writes_nothing_of_what_was_taken_over(server, artifact, environment):
    bodies = lines()
    fill(server, bodies)
    first = opened(server, "first", min_idle=60)
    records = first.poll(10)
    time.sleep(0.4)
    ended(worker(environment, artifact, server))
    check_once(server, bodies)
    letters = [DeadLetter(r.source, r.position, r.body, "late") for r in records]
    done = first.commit(Outcome([], letters), ("1", "now"), {})
    assert (done.dead, done.skipped) == (0, 10)
    first.close()
    check_once(server, bodies)


def opened(server, consumer, follow=False, **options):
    return Group(*addresses(server.url("in"), server.url("out")), Sharing(consumer=consumer, **options), follow)


def letters(records):
    return Outcome([], [DeadLetter(r.source, r.position, r.body, "for a test") for r in records])


def test_a_commit_that_is_repeated_writes_nothing_twice(server):
    fill(server, good(5))
    group = opened(server, "a")
    done = letters(group.poll(5))
    assert [group.commit(done, ("1", "now"), {}).dead for _ in range(2)] == [5, 0]
    assert len(outputs(server)[1]) == 5
    group.close()


def test_an_entry_that_ends_its_workers_becomes_a_dead_letter_alone(server):
    fill(server, good(6))
    poison = server.client.xrange("in")[2][0]
    group = opened(server, "w0")
    group.poll(6)  # the first worker ends with its whole batch
    for attempt in range(1, 9):
        group = opened(server, f"w{attempt}", min_idle=0.05)
        time.sleep(0.06)
        while (one := group.pending()) is not None:
            name = f"{one.record.position // 1_000_000}-{one.record.position % 1_000_000}"
            if name == poison and one.times < 3:
                break  # and each other one with this entry alone
            assert (one.times >= 3) == (name == poison)
            group.commit(letters([one.record]), ("1", "now"), {})
    assert collections.Counter(outputs(server)[1]) == collections.Counter(n for n, _ in server.client.xrange("in"))
    group.close()


def test_the_reason_of_poison_names_the_option(server, artifact):
    fill(server, good(1))
    dead = opened(server, "dead")
    dead.poll(1)
    time.sleep(0.06)
    sharing = {"min_idle": 0.05, "max_deliveries": 1}
    assert run_stream(artifact, server.url("in"), server.url("out"), sharing=sharing) == 0
    ((_, fields),) = server.client.xrange("out:dead")
    assert "delivered 1 time without a result" in fields["reason"] and fields["record"] == good(1)[0]


def test_own_entries_come_first_after_a_restart_under_the_same_name(server):
    fill(server, good(4))
    opened(server, "same").poll(3)
    again = opened(server, "same", min_idle=1000)
    got = [again.pending() for _ in range(1)]
    assert got[0].times == 1
    again.close()


def test_entries_deleted_while_pending_or_unread_are_counted(server, artifact):
    fill(server, good(8))
    opened(server, "dead").poll(3)
    names = [name for name, _ in server.client.xrange("in")]
    server.client.xdel("in", names[0], names[5])
    code = run_stream(artifact, server.url("in"), server.url("out"), sharing={"min_idle": 0.05})
    held = server.client.hgetall("out:counts")
    assert code == 4 and (held["read"], held["scored"], held["deleted"], held["lost"]) == ("7", "6", "1", "1")
    assert run_stream(artifact, server.url("in"), server.url("out")) == 0


def test_a_server_that_crashes_and_returns_changes_nothing(own_server, artifact, environment):
    server, bodies = own_server(), lines(60)
    fill(server, bodies)
    workers = [worker(environment, artifact, server, "--follow") for _ in range(2)]
    try:
        wait_until(lambda: server.client.xlen("out") >= 10)
        server.stop()
        time.sleep(0.5)
        server.start()
        fill(server, good(20))
        wait_until(lambda: server.client.xlen("out") + server.client.xlen("out:dead") == len(bodies) + 20)
        for process in workers:
            process.send_signal(signal.SIGTERM)
        said = [ended(process) for process in workers]
    finally:
        for process in workers:
            process.kill()
    assert all(text.count("does not answer") <= 1 for text in said)
    check_once(server, bodies + good(20))


def test_an_empty_stream_has_nothing_to_settle(server, artifact):
    server.client.xgroup_create("in", "other", "0", mkstream=True)
    assert run_stream(artifact, server.url("in"), server.url("out")) == 0
    assert verify(server.url("out"))["read"] == 0


def test_an_idle_worker_writes_nothing(server):
    fill(server, good(1))
    group = opened(server, "a", follow=True)
    group.commit(letters(group.poll(1)), ("1", "now"), {})

    def changes():
        return server.client.info("persistence")["rdb_changes_since_last_save"]

    before = changes()
    for _ in range(5):
        assert (group.poll(5), group.pending(), group.lost()) == ([], None, 0)
        group.wait()
    assert changes() == before
    group.close()


def test_a_password_is_in_no_output_of_a_worker_and_in_no_key(own_server, artifact, environment):
    server = own_server("--requirepass", "canary-secret")
    server.client.auth("canary-secret")
    fill(server, lines(5))
    hidden = {"IN": server.url("in", user="default:canary-secret@"), "OUT": server.url("out", user=":canary-secret@")}
    line = [sys.executable, "-m", "pipelines.cli"]
    stream = [*line, "stream", "--model", artifact, "--input", "env:IN", "--output", "env:OUT", "--log-format", "json"]
    env = {**environment, **hidden}
    for arguments in (stream, [*line, "verify", hidden["OUT"]], [*line, "dlq", "show", hidden["OUT"]]):
        done = subprocess.run(list(map(str, arguments)), env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and "canary" not in done.stdout + done.stderr, done.stderr
    for key in ("out", "out:dead"):
        assert "canary" not in str(server.client.xrange(key))
    assert "canary" not in str(server.client.hgetall("out:counts"))


# ---------------------------------------------------------------- what is rejected
def test_options_that_need_a_state_are_rejected(server, artifact, windowed, tmp_path):
    fill(server, good(1))
    one, other = server.url("in"), server.url("out")
    for given in ({"fdr": 0.1}, {"replay": True}, {"on_alarm": sys.executable}, {"wait": 1.0}):
        with pytest.raises(UsageError, match=r"--.*FILE\.db"):
            run_stream(artifact, one, other, **given)
    with pytest.raises(UsageError, match=r"windows.*FILE\.db"):
        run_stream(windowed[1], one, other)
    with pytest.raises(UsageError, match="--group is for a redis"):
        run_stream(artifact, one, tmp_path / "o.db", sharing={"group": "g"})
    with pytest.raises(UsageError, match="min-idle"):
        run_stream(artifact, one, other, sharing={"min_idle": 0})
    make_queue(tmp_path / "q.db", lines())
    with pytest.raises(UsageError, match=r"same Redis.*FILE\.db"):
        run_stream(artifact, f"sqlite:{tmp_path / 'q.db'}", other)
    for wrong in (server.url("in"), other.replace("/0/", "/1/"), other.replace("127.0.0.1", "localhost")):
        with pytest.raises(UsageError):
            run_stream(artifact, one, wrong)
    assert not server.client.exists("out:counts")


def test_outputs_of_others_are_rejected(server, artifact):
    one, other = server.url("in"), server.url("out")
    with pytest.raises(UsageError, match="there is no stream"):
        run_stream(artifact, one, other)
    fill(server, good(2))
    fill(server, good(2), "elsewhere")
    server.client.set("text", "x")
    with pytest.raises(DataError, match="is a string"):
        run_stream(artifact, one, server.url("text"))
    with pytest.raises(UsageError, match="not written by a stream"):
        run_stream(artifact, one, server.url("elsewhere"))
    assert run_stream(artifact, one, other) == 0
    for given in ({"input": server.url("elsewhere")}, {"input": one, "sharing": {"group": "g"}}):
        with pytest.raises(UsageError, match="holds scores of 'in' by group 'ganlib-out'"):
            run_stream(artifact, output=other, **given)
    opened_again = opened(server, "stays", follow=True)
    fill(server, good(1))
    opened_again.poll(1)
    with pytest.raises(UsageError, match="in use by another output"):
        run_stream(artifact, one, server.url("second"), sharing={"group": "ganlib-out"})
    server.client.delete("in")
    with pytest.raises(DataError, match="was deleted"):
        opened_again.poll(1)
    fill(server, good(1))
    with pytest.raises(DataError, match="is gone"):
        run_stream(artifact, one, other)


def test_a_full_memory_writes_nothing_by_halves(server, artifact):
    bodies = lines()
    fill(server, bodies)
    group = opened(server, "a", min_idle=0.05)
    records = group.poll(10)
    server.client.config_set("maxmemory", 1)
    for step in (lambda: group.commit(letters(records), ("1", "now"), {}), lambda: group.poll(5)):
        with pytest.raises(Exception, match="maxmemory") as caught:
            step()
        assert caught.value.exit_code == 75
    server.client.config_set("maxmemory", 0)
    assert outputs(server) == ([], []) and server.client.xpending("in", "ganlib-out")["pending"] == 10
    time.sleep(0.06)
    assert run_stream(artifact, server.url("in"), server.url("out"), sharing={"min_idle": 0.05}) == 0
    check_once(server, bodies)


@pytest.mark.parametrize("denied", ["-xadd", "-xack", "-hincrby", "-xpending", "-xreadgroup"])
def test_a_command_that_a_user_may_not_run_writes_nothing_by_halves(server, artifact, denied):
    fill(server, good(5))
    server.client.execute_command("ACL", "SETUSER", "u", "on", ">pw", "~*", "+@all", denied)
    try:
        with pytest.raises(UsageError, match="denies a command"):
            user = server.url("in", user="u:pw@")
            run_stream(artifact, user, server.url("out"))
        assert outputs(server) == ([], [])
    finally:
        server.client.execute_command("ACL", "DELUSER", "u")
    sharing = {"min_idle": 0.001}
    time.sleep(0.01)
    assert run_stream(artifact, server.url("in"), server.url("out"), sharing=sharing) == 0
    check_once(server, good(5), bad=0)


def test_warnings_name_how_scores_could_be_lost(own_server):
    server = own_server("--appendonly", "no")
    fill(server, good(1))
    assert "appendonly off" in " ".join(opened(server, "a").warnings())
    server.client.config_set("appendonly", "yes")
    server.client.config_set("appendfsync", "everysec")
    assert "last second" in " ".join(opened(server, "b").warnings())
    server.client.execute_command("ACL", "SETUSER", "u", "on", ">pw", "~*", "+@all", "-config")
    source = server.url("in", user="u:pw@")
    group = Group(*addresses(source, server.url("out")), Sharing(), False)
    assert "unknown" in " ".join(group.warnings())
