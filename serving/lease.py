"""One writer at a time: a lease file with a token, its holder and a heartbeat (docs/delivery.md, "The lease")."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from serving.errors import TemporaryError, UsageError
from serving.files import disk_errors, sync_folder

HEARTBEAT = 10.0
STALE = 60.0
# Seconds to wait for the file lock: as the holder of the lease, and as a run that wants it.
PATIENCE, IMPATIENCE = 30.0, 1.0
ENDED = -1

Record = dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """The right to write while the lease file holds ``token``. Can be sent to other processes."""

    path: Path
    token: str
    what: str

    def check(self) -> None:
        """Raise TemporaryError, naming the new holder, if this run no longer holds the lease."""
        if (holder := _read(self.path)).get("token") != self.token:
            raise self._lost(holder)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """``check``, and prevent takeover until the block ends; for steps that must not be done twice."""
        with _locked(self.path) as file:
            holder = {} if file is None else file.read()
            if holder.get("token") != self.token:
                raise self._lost(holder)
            yield

    def _lost(self, holder: Record) -> TemporaryError:
        how = f"was taken over by {_name(holder)}" if holder else f"is no longer held by this run: {self.path} is gone"
        return TemporaryError(f"{self.what} {how}; this run has stopped writing. Run the same command again later")


class Lease:
    """Hold ``path`` inside a ``with``; raises TemporaryError (exit 75) if another process holds it beyond ``wait``.

    ``what`` names the output in messages (default: the folder of ``path``). If the holder's process has ended on this
    machine, the lease is taken over at once. If the holder runs elsewhere, or the file is unreadable, it is taken over
    once the file's time is more than ``stale`` seconds of ``clock`` in the past or future.

    Every change of the file happens under a file lock, so exactly one contender gets the lease. If the block fails
    after another process took over, TemporaryError is raised instead.
    """

    def __init__(
        self,
        path: Path,
        wait: float = 0.0,
        *,
        what: str = "",
        stale: float = STALE,
        heartbeat: float = HEARTBEAT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path, self.wait, self.stale, self.heartbeat, self.clock = path, wait, stale, heartbeat, clock
        self.claim = Claim(path, secrets.token_hex(16), what or str(path.parent))
        self._stop = threading.Event()

    @property
    def token(self) -> str:
        """The token that the file holds while this run has the lease."""
        return self.claim.token

    def check(self) -> None:
        """As ``Claim.check``."""
        self.claim.check()

    def __enter__(self) -> Self:
        deadline = time.monotonic() + self.wait
        while (holder := self._take(deadline)) is not None:
            if time.monotonic() >= deadline:
                raise TemporaryError(
                    f"{self.claim.what} is being written by {_name(holder)}; wait for it (--wait SECONDS), or stop it"
                )
            time.sleep(0.2)
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._stop.set()
        if isinstance(error, Exception):
            self.check()
        # Delete only our own lease file; the folder itself may be gone.
        with suppress(TemporaryError, UsageError, OSError), self.claim.guard():
            self.path.unlink()

    def _take(self, deadline: float) -> Record | None:
        """Write our record; if another process holds the lease, return its record instead."""
        with _locked(self.path, create=True, patience=max(IMPATIENCE, deadline - time.monotonic())) as file:
            assert file is not None
            if not file.created and _alive(holder := file.read(), self.clock() - file.touched(), self.stale):
                return holder
            file.write({**_process(), "token": self.token, "since": self.clock()})
            file.touch(self.clock())
            return None

    def _beat(self) -> None:
        while not self._stop.wait(self.heartbeat):
            with suppress(TemporaryError, UsageError, OSError), _locked(self.path) as file:
                if file is None or file.read().get("token") != self.token:
                    return
                file.touch(self.clock())


@dataclass(frozen=True)
class Holder:
    """The holder of a lease: name for messages, seconds since its last heartbeat, and whether it may still write."""

    name: str
    age: float
    alive: bool


def holder_of(path: Path, now: float | None = None, stale: float = STALE) -> Holder | None:
    """The holder of a lease, or None; only reads."""
    try:
        age = (time.time() if now is None else now) - path.stat().st_mtime
    except OSError:
        return None
    record = _read(path)
    return Holder(_name(record), age, _alive(record, age, stale))


class _File:
    """The lease file while it is locked; ``created`` is True if it did not exist before."""

    def __init__(self, path: Path, descriptor: int, created: bool) -> None:
        self.path, self.descriptor, self.created = path, descriptor, created

    def read(self) -> Record:
        return _record(os.pread(self.descriptor, 1 << 16, 0))

    def write(self, record: Record) -> None:
        with disk_errors(str(self.path)):
            try:
                os.ftruncate(self.descriptor, 0)
                os.pwrite(self.descriptor, json.dumps(record, indent=1).encode(), 0)
                os.fsync(self.descriptor)
                sync_folder(self.path.parent)
            except OSError:
                self.path.unlink(missing_ok=True)
                raise

    def touched(self) -> float:
        return os.fstat(self.descriptor).st_mtime

    def touch(self, now: float) -> None:
        os.utime(self.descriptor, (now, now))


@contextmanager
def _locked(path: Path, create: bool = False, patience: float = PATIENCE) -> Iterator[_File | None]:
    """The file under an exclusive lock of the operating system; None if it does not exist."""
    deadline = time.monotonic() + patience
    while True:
        with disk_errors(str(path)):
            descriptor, created = _opened(path, create)
        if descriptor is None:
            break
        try:
            _lock(path, descriptor, deadline)
            if _is_still(path, descriptor):
                yield _File(path, descriptor, created)
                return
        finally:
            os.close(descriptor)
    yield None


def _opened(path: Path, create: bool) -> tuple[int | None, bool]:
    """A descriptor (None if the file does not exist) and whether the file was created."""
    while True:
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR), False
        if not create:
            return None, False
        with suppress(FileExistsError):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
        if path.is_symlink():
            raise FileNotFoundError(errno.ENOENT, "a link to nothing")


def _lock(path: Path, descriptor: int, deadline: float) -> None:
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise TemporaryError(f"{path} is locked by another process; wait for it, or stop it") from None
            time.sleep(0.005)
        except OSError as error:
            raise UsageError(
                f"{path.parent} lies on a file system without file locks ({error.strerror}); choose another --output"
            ) from error


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the path still names the locked file; its holder may have deleted it meanwhile."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _read(path: Path) -> Record:
    try:
        return _record(path.read_bytes())
    except OSError:
        return {}


def _record(content: bytes) -> Record:
    """A holder's record; empty if it cannot be read."""
    try:
        value = json.loads(content)
        return value if isinstance(value["host"], str) and isinstance(value["pid"], int) else {}
    except (ValueError, TypeError, KeyError):
        return {}


def _name(holder: Record) -> str:
    return f"process {holder['pid']} on {holder['host']}" if holder else "another process"


def _process() -> Record:
    """The identity of this process. Includes its start time, because process numbers are reused."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "machine": _machine(), "pid": pid, "process_start": _process_start(pid)}


def _machine() -> str:
    """Identifies this boot and its process namespace; host names are not enough, because containers may share one."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _alive(holder: Record, age: float, stale: float) -> bool:
    """Whether a holder may still write: judged by its process if visible, and by its heartbeat otherwise."""
    fresh = abs(age) < stale
    # Earlier releases recorded the host alone.
    if not holder or holder.get("machine", holder["host"]) not in (_machine(), socket.gethostname()):
        return fresh
    known, start = holder.get("process_start"), _process_start(holder["pid"])
    if start is None:
        return fresh and _answers(holder["pid"])
    return start == known or (known is None and start != ENDED and fresh)


def _process_start(pid: int) -> int | None:
    """Start time of a local process in ticks since boot; ENDED for a zombie, None if it is not visible."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return ENDED if fields[0] in "ZX" else int(fields[19])


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
