"""The alarm hook of a stream: a program or URL that receives each anomaly at least once (docs/delivery.md).

Alarms are committed to the table ``alarms`` together with their scores. A thread delivers them in batches and deletes
each batch after the hook accepted it. A crash can repeat a batch but never loses one.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit, urlunsplit

from serving.crash import crash_point
from serving.errors import UsageError
from serving.events import Events
from serving.files import disk_errors
from serving.sinks.lines import line_of
from serving.wording import counted

MOST, LARGEST, EVERY = 100, 1 << 20, 0.5  # alarms and characters per batch; seconds between two polls of the table
LIMIT, ATTEMPTS, PAUSE = 30.0, 5, 1.0  # seconds per attempt; attempts per batch; the first pause, doubled each time
LAST = 10.0  # seconds to deliver the rest at the end of a run
Expired = Callable[[], bool]


class Hook(Protocol):
    """Where alarms are sent. ``name`` is shown in messages and contains no secret."""

    name: str

    def send(self, bodies: Sequence[str], expired: Expired) -> str:
        """Deliver JSON objects. Returns the reason of a failure, or an empty string; gives up once ``expired()``."""


def hook_of(text: str) -> Hook:
    """The hook for a value of ``--on-alarm``; raises UsageError if there is no such program or URL."""
    if re.match(r"https?://", text, re.I):
        return Url(text)
    if found := re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text):
        raise UsageError(f"--on-alarm takes a program, http:// or https://, not {found[1]}://")
    return Command(text)


class Command:
    """A program, started without a shell. It reads one JSON object per line on stdin and must exit with 0."""

    def __init__(self, text: str) -> None:
        try:
            self.arguments = shlex.split(text)
        except ValueError as error:
            raise UsageError(f"--on-alarm cannot be read as a command ({error}); close its quotes") from error
        if not self.arguments:
            raise UsageError("--on-alarm is empty; give a program, or a URL")
        self.name = Path(self.arguments[0]).name  # arguments may be secrets
        if shutil.which(self.arguments[0]) is None:
            raise UsageError(f"--on-alarm: there is no program {self.arguments[0]!r}; give its path")

    def send(self, bodies: Sequence[str], expired: Expired) -> str:
        """As ``Hook.send``."""
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
            given.write("".join(f"{body}\n" for body in bodies).encode())
            given.seek(0)
            process = subprocess.Popen(
                self.arguments, stdin=given, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                while process.poll() is None:
                    if expired():
                        return "it did not end in time"
                    time.sleep(0.02)
            finally:
                _end(process)
            return "" if process.returncode == 0 else f"exit code {process.returncode}{_last_line(said)}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a running program and its children."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_line(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 4096))
    lines = file.read().decode("utf-8", "replace").split("\n")
    return next((f": {line.strip()[:200]}" for line in reversed(lines) if line.strip()), "")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Treats redirects as failures: a redirected POST would arrive as a GET, without the alarms."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Url:
    """A URL that receives a JSON list by POST and must answer 2xx; redirects are failures."""

    def __init__(self, text: str) -> None:
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            parts, host, port = urlsplit(""), None, None
        if not host:
            raise UsageError("--on-alarm: the URL has no valid host and port; write a password percent-encoded")
        place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
        # The path or query may hold a secret, too.
        self.name = f"{parts.scheme}://{place}"
        self._url = urlunsplit((parts.scheme, place, parts.path or "/", parts.query, ""))
        self._headers = {"Content-Type": "application/json", "User-Agent": "ganlib"}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()

    def send(self, bodies: Sequence[str], expired: Expired) -> str:
        """As ``Hook.send``. Runs in a thread that can be abandoned, because a server may never finish its answer."""
        answer: list[str] = []
        data = f"[{','.join(bodies)}]".encode()
        thread = threading.Thread(target=lambda: answer.append(self._post(data)), daemon=True)
        thread.start()
        while thread.is_alive():
            if expired():
                return "it did not answer in time"
            thread.join(0.02)
        return answer[0] if answer else "the request failed"

    def _post(self, data: bytes) -> str:
        request = urllib.request.Request(self._url, data, self._headers, method="POST")
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=LIMIT):
                return ""
        except HTTPError as error:
            return f"it answered {error.code}"
        except Exception as error:  # urllib, http.client, ssl and sockets raise unrelated types
            reason = getattr(error, "reason", None) or type(error).__name__
            return f"it cannot be reached ({reason})"


class Delivery:
    """Delivers the alarms of a stream inside a ``with`` block.

    After ``finish``, ``counts`` holds the alarms that this run delivered, that are waiting, and that it gave up on.
    Without a hook, ``counts`` is None, and undelivered alarms of an earlier run only cause a warning.
    """

    def __init__(self, hook: Hook | None, events: Events) -> None:
        self.hook, self.events = hook, events
        self.delivered = 0
        self.counts: dict[str, int] | None = None
        self._stop = threading.Event()
        self._until = float("inf")  # when the last attempt must have ended, by time.monotonic
        self._database: sqlite3.Connection | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        return self

    def start(self, state: Path) -> None:
        """Start delivering the alarms in a database, including those that an earlier run gave up on."""
        with disk_errors(str(state)):
            database = sqlite3.connect(state, timeout=30, isolation_level=None, check_same_thread=False)
            if self.hook is None:
                left = database.execute("SELECT COUNT(*) FROM alarms").fetchone()[0]
                database.close()
                self._say_left(left, "of an earlier run not delivered; --on-alarm delivers what is left")
                return
            database.execute("UPDATE alarms SET dead_at = NULL WHERE dead_at IS NOT NULL")
        self._database = database
        self._thread.start()

    def _say_left(self, count: int, what: str) -> None:
        if count:
            self.events.say("warning", f"{counted(count, 'alarm')} {what}", alarms=count)

    def of(self, scores: Sequence[dict[str, Any]]) -> list[str]:
        """The anomalies among score rows as JSON objects for the hook, each with its source and position."""
        return [line_of(score).decode() for score in scores if score["is_anomaly"]] if self.hook else []

    def finish(self) -> None:
        """Deliver the remaining alarms for at most ``LAST`` seconds; the next run delivers the rest."""
        if self._database is None:
            return
        self._until = time.monotonic() + LAST
        self._stop.set()
        self._thread.join(LAST + 1)
        with disk_errors("alarms"):
            question = "SELECT COUNT(*), COUNT(dead_at), MAX(reason) FROM alarms"
            rest, dead, reason = self._database.execute(question).fetchone()
        self.counts = {"delivered": self.delivered, "waiting": rest - dead, "dead": dead}
        self._say_left(rest - dead, f"not delivered in time, left to the next run{f' ({reason})' if reason else ''}")

    def line(self) -> str:
        """The counts as text for the log; empty without a hook."""
        if self.counts is None:
            return ""
        said = [f"{counted(self.counts['delivered'], 'alarm')} delivered"]
        said += [f"{self.counts[key]:,} {key}" for key in ("waiting", "dead") if self.counts[key]]
        return ", " + ", ".join(said)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After ``finish`` the thread has ended. A failed run leaves its alarms to the next run at once.
        self._until = min(self._until, time.monotonic())
        self._stop.set()
        if self._database is not None:
            self._thread.join(2)
            if not self._thread.is_alive():
                self._database.close()

    # ---------------------------------------------------------------- the thread
    def _run(self) -> None:
        while True:
            ending = self._stop.wait(EVERY)  # read before polling, so that the last commits are still seen
            try:
                while not self._over() and (batch := self._pending()):
                    self._deliver(batch)
                if ending:
                    return
            except Exception as error:  # survive errors such as a database that stays locked
                said = f"alarms could not be read or settled, and are tried again: {type(error).__name__}: {error}"
                self.events.say("warning", said)
                if ending:
                    return
                self._stop.wait(LIMIT)

    def _over(self) -> bool:
        return time.monotonic() >= self._until

    def _pending(self) -> list[tuple[int, str]]:
        assert self._database is not None
        question = "SELECT id, body FROM alarms WHERE dead_at IS NULL ORDER BY id LIMIT ?"
        batch: list[tuple[int, str]] = []
        size = 0
        for number, body in self._database.execute(question, (MOST,)):
            size += len(body)
            if batch and size > LARGEST:
                break
            batch.append((number, body))
        return batch

    def _deliver(self, batch: list[tuple[int, str]]) -> None:
        """Try one batch until it is delivered, given up, or the run is over."""
        for attempt in range(1, ATTEMPTS + 1):
            reason = self._attempt([body for _, body in batch])
            if not reason:
                crash_point("alarms_delivered")
                self._settle("DELETE FROM alarms WHERE id = ?", [(number,) for number, _ in batch])
                self.delivered += len(batch)
                return
            if self._over():
                return  # interrupted by the end of the run, so not a failure of the hook
            self._settle("UPDATE alarms SET attempts = attempts + 1, reason = ? WHERE id = ?", _each(batch, reason))
            if attempt < ATTEMPTS:
                self._pause(PAUSE * 2 ** (attempt - 1))
                if self._over():
                    return
        now = datetime.now(UTC).isoformat()
        self._settle("UPDATE alarms SET dead_at = ? WHERE id = ?", _each(batch, now))
        assert self.hook is not None
        self.events.say(
            "warning", f"{counted(len(batch), 'alarm')} could not be delivered to {self.hook.name}: {reason}; the next "
            "start tries again", alarms=len(batch), hook=self.hook.name, reason=reason,
        )  # fmt: skip

    def _attempt(self, bodies: list[str]) -> str:
        assert self.hook is not None
        until = time.monotonic() + LIMIT
        try:
            return self.hook.send(bodies, lambda: time.monotonic() >= min(until, self._until))
        except Exception as error:  # such as a program that was deleted meanwhile
            return f"{type(error).__name__}: {str(error)[:200]}"

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < min(until, self._until):
            time.sleep(0.05)

    def _settle(self, statement: str, values: list[tuple[Any, ...]]) -> None:
        """Run one short transaction; the stream's commits wait for it."""
        assert self._database is not None
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._database.executemany(statement, values)
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise


def _each(batch: list[tuple[int, str]], value: str) -> list[tuple[str, int]]:
    return [(value, number) for number, _ in batch]
