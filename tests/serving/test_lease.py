"""The lease: one writer at a time, whoever is killed, paused, copied or restarted, and whatever the clock does."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError, Event

import pytest

from serving import lease
from serving.errors import TemporaryError, UsageError
from serving.lease import Lease, _machine, _process, _process_start

NOW = 1_000_000_000.0


def put(path, record, age=0.0, now=NOW):
    path.write_text(record if isinstance(record, str) else json.dumps(record))
    os.utime(path, (now - age, now - age))


def take(path, **options):
    """Whether a lease can be had; it is given back at once."""
    try:
        with Lease(path, clock=lambda: NOW, **options) as held:
            assert json.loads(path.read_text())["token"] == held.token
            return True
    except TemporaryError:
        return False


def ours(**changed):
    return _process() | {"token": "another", "since": NOW} | changed


def earlier(**changed):
    """As earlier releases wrote it."""
    return {"host": socket.gethostname(), "pid": os.getppid(), "started": 0} | changed


def ended():
    """The number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


ELSEWHERE = {"host": "elsewhere", "machine": "another boot", "pid": os.getpid(), "process_start": 5}
TWIN = ours(machine="another boot")  # a container of the same name, the same numbers

# record, age of the heartbeat in seconds, and whether another may take the lease
STATES = {
    "a living process of this machine, however old its heartbeat": (lambda: ours(pid=os.getppid(),
        process_start=_process_start(os.getppid())), 9e6, False),
    "this very process": (ours, 9e6, False),
    "an ended process": (lambda: ours(pid=ended()), 0, True),
    "a process whose number was given to another": (lambda: ours(process_start=5), 0, True),
    "elsewhere, heartbeat fresh": (lambda: ELSEWHERE, 59, False),
    "elsewhere, heartbeat old": (lambda: ELSEWHERE, 61, True),
    "elsewhere, clock a little ahead": (lambda: ELSEWHERE, -59, False),
    "elsewhere, clock far ahead": (lambda: ELSEWHERE, -61, True),
    "a container of the same name, fresh": (lambda: TWIN, 59, False),
    "a container of the same name, old": (lambda: TWIN, 61, True),
    "an earlier release's, alive": (earlier, 0, False),
    "an earlier release's, ended": (lambda: earlier(pid=ended()), 0, True),
    "an earlier release's elsewhere": (lambda: earlier(host="elsewhere"), 61, True),
    **{f"{name}, {'old' if old else 'fresh'}": (lambda content=content: content, 61 if old else 59, old)
       for name, content in {"empty": "", "cut": '{"host": "here", "pi', "a list": "[1]", "no host": '{"pid": 1}',
                             "odd pid": '{"host": "here", "pid": "x"}'}.items() for old in (False, True)},
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
def test_who_may_take_a_lease(tmp_path, state):
    record, age, free = STATES[state]
    put(tmp_path / "lease", record(), age)
    before = (tmp_path / "lease").read_bytes()
    assert take(tmp_path / "lease") is free
    assert (tmp_path / "lease").exists() is not free
    assert free or (tmp_path / "lease").read_bytes() == before


def test_staleness_and_waiting_are_settings(tmp_path):
    put(tmp_path / "lease", ELSEWHERE, 59)
    assert take(tmp_path / "lease", stale=50)
    put(tmp_path / "lease", ELSEWHERE, 0, now=time.time())
    began = time.monotonic()
    with pytest.raises(TemporaryError, match=f"process {os.getpid()} on elsewhere"), Lease(tmp_path / "lease", 0.5):
        pass
    assert time.monotonic() - began >= 0.5
    with Lease(tmp_path / "lease", wait=5, stale=1):
        pass


def test_a_lost_lease_is_named_and_never_touched(tmp_path):
    path = tmp_path / "lease"
    with Lease(path, heartbeat=0.01) as lease:
        lease.check()
        put(path, ELSEWHERE | {"token": "new"}, 0)
        for refused in (lease.check, lambda: lease.claim.guard().__enter__()):
            with pytest.raises(TemporaryError, match=f"taken over by process {os.getpid()} on elsewhere") as caught:
                refused()
            assert caught.value.exit_code == 75
        time.sleep(0.1)
        assert path.stat().st_mtime == NOW  # no heartbeat for a lease that is not ours
    assert json.loads(path.read_text())["token"] == "new" and path.stat().st_mtime == NOW
    path.unlink()
    with pytest.raises(TemporaryError, match="is gone"):
        lease.check()


def test_what_fails_after_another_took_over_is_temporary(tmp_path):
    with pytest.raises(TemporaryError, match="taken over") as caught, Lease(tmp_path / "lease"):
        put(tmp_path / "lease", ELSEWHERE)
        raise FileNotFoundError("a file that the other has swept")
    assert isinstance(caught.value.__context__, FileNotFoundError)
    (tmp_path / "lease").unlink()
    with pytest.raises(ZeroDivisionError), Lease(tmp_path / "lease"):
        raise ZeroDivisionError
    assert not (tmp_path / "lease").exists()


def test_a_heartbeat_keeps_a_lease(tmp_path):
    path = tmp_path / "lease"
    with Lease(path, heartbeat=0.01):
        os.utime(path, (0, 0))
        time.sleep(0.2)
        assert abs(time.time() - path.stat().st_mtime) < 5


def test_nobody_takes_over_inside_a_guard(tmp_path):
    path = tmp_path / "lease"
    with Lease(path) as lease, ThreadPoolExecutor(1) as pool:
        with lease.claim.guard():
            os.utime(path, (0, 0))
            path.write_text(json.dumps(ELSEWHERE))
            other = pool.submit(lambda: Lease(path, wait=5, stale=0).__enter__())
            time.sleep(0.3)
            assert not other.done()
        successor = other.result()
        assert json.loads(path.read_text())["token"] == successor.token
        successor.__exit__(None, None, None)


def outcome(path, wait, done):
    """What a contender gets: its lease, held until ``done``, or the refusal."""
    try:
        with Lease(path, wait):
            done.wait(10)
            return "in"
    except TemporaryError:
        done.set()
        return "refused"


@pytest.mark.parametrize("left", ["stale", "nothing"])
def test_of_two_that_judge_at_once_one_is_in(tmp_path, monkeypatch, left):
    """Both have opened the file before either writes."""
    path, done, opened = tmp_path / "lease", Event(), Barrier(2)
    if left == "stale":
        put(path, ELSEWHERE, 0, now=0)
    lock = lease._lock

    def together(*arguments):
        with suppress(BrokenBarrierError):
            opened.wait(0.5)
        lock(*arguments)

    def slowly(*arguments):
        alive = judge(*arguments)
        time.sleep(0.2)
        return alive

    judge = lease._alive
    monkeypatch.setattr(lease, "_lock", together)
    monkeypatch.setattr(lease, "_alive", slowly)
    with ThreadPoolExecutor(2) as pool:
        two = [pool.submit(outcome, path, 0.0, done) for _ in range(2)]
    assert sorted(one.result() for one in two) == ["in", "refused"]


def test_who_waits_for_a_file_that_is_deleted_does_not_get_it(tmp_path):
    """A holder ends and the next one begins while a third has the old file open."""
    path = tmp_path / "lease"
    with ThreadPoolExecutor(1) as pool, Lease(path) as first:
        with first.claim.guard():
            third = pool.submit(outcome, path, 0.5, Event())
            time.sleep(0.2)
            put(path, ELSEWHERE, 0, now=0)  # in the old file the holder seems to have ended
            path.unlink()
            put(path, ELSEWHERE, 0, now=time.time())
        assert third.result() == "refused"
    assert json.loads(path.read_text()) == ELSEWHERE


CONTENDER = """
import sys, time
from pathlib import Path
from serving.errors import TemporaryError
from serving.lease import Lease
folder, until = Path(sys.argv[1]), float(sys.argv[2])
time.sleep(max(0.0, until - time.time()))
for _ in range(8):
    try:
        with Lease(folder / "lease", wait=60) as lease, lease.claim.guard():
            inside = folder / "inside"
            inside.open("x").close()  # fails if another is in
            count = int((folder / "count").read_text())
            (folder / "count").write_text(str(count + 1))
            inside.unlink()
    except TemporaryError as error:
        print("lost", error)
"""


@pytest.mark.parametrize("left", [None, json.dumps(ELSEWHERE)], ids=["none", "stale"])
def test_of_many_contenders_one_is_in(tmp_path, environment, left):
    """All begin at once beside nothing, or a lease that each of them finds stale."""
    if left is not None:
        put(tmp_path / "lease", left)
    (tmp_path / "count").write_text("0")
    command = [sys.executable, "-c", CONTENDER, str(tmp_path), str(time.time() + 1.5)]
    many = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for _ in range(4)]  # fmt: skip
    said = [process.communicate(timeout=60)[0].decode() for process in many]
    assert [process.returncode for process in many] == [0] * 4, said
    assert int((tmp_path / "count").read_text()) == 32, said
    assert not (tmp_path / "lease").exists()


HOLDER = """
import sys, time
from pathlib import Path
from serving.lease import Lease
with Lease(Path(sys.argv[1])) as lease:
    print("in", flush=True)
    time.sleep(60)
"""


def test_a_killed_holder_is_taken_over_and_a_paused_one_is_not(tmp_path, environment):
    path = tmp_path / "lease"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], env=environment, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"in\n"
    os.kill(holder.pid, signal.SIGSTOP)
    os.utime(path, (0, 0))
    assert not take(path)
    os.kill(holder.pid, signal.SIGKILL)
    until = time.monotonic() + 5
    while not take(path) and time.monotonic() < until:  # it is a zombie by then: nobody has waited for it
        time.sleep(0.05)
    assert not path.exists()
    holder.communicate()


def test_a_place_without_a_lease_is_refused_by_name(tmp_path):
    (tmp_path / "lease").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "lease")
    for path in (tmp_path / "lease", tmp_path / "nowhere" / "lease", tmp_path / "link"):
        with pytest.raises(UsageError, match=f"cannot write {path}"), Lease(path):
            pass


def test_a_full_disk_leaves_no_lease(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("serving.lease.os.pwrite", full)
    with pytest.raises(TemporaryError, match="no space left"), Lease(tmp_path / "lease"):
        pass
    assert not (tmp_path / "lease").exists()


def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("serving.lease.fcntl.flock", none)
    with pytest.raises(UsageError, match="without file locks"), Lease(tmp_path / "lease"):
        pass


def test_a_claim_can_be_sent(tmp_path):
    from multiprocessing.reduction import ForkingPickler

    with Lease(tmp_path / "lease") as lease:
        assert str(lease.token).encode() in bytes(ForkingPickler.dumps(lease.claim))
    assert _machine()
