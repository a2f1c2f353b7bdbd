"""Standard input, first written to a queue in the state database: the guarantee begins there."""

from __future__ import annotations

import os
import select
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

from serving.crash import crash_point
from serving.files import disk_errors
from serving.sources import Record
from serving.sources.sqlite_queue import SqliteQueue

INBOX = "CREATE TABLE IF NOT EXISTS inbox(id INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL)"


class StdinQueue:
    """A thread moves lines into table ``inbox``, many in one transaction; the stream reads them as a queue.

    On start the number and beginning of the last line that is safely in are printed on stderr, so that a sender can
    resume after it.
    """

    def __init__(self, state: Path, cursor: dict[str, Any], follow: bool, descriptor: int | None = None) -> None:
        self.state = state
        self.writer = sqlite3.connect(state, timeout=30, check_same_thread=False, isolation_level=None)
        with disk_errors(str(state)):
            self.writer.execute("PRAGMA synchronous=FULL")
            self.writer.execute(INBOX)
        self.queue = SqliteQueue(state, cursor, follow=True, table="inbox")
        self.queue.name = "stdin"
        self.descriptor = sys.stdin.fileno() if descriptor is None else descriptor
        self._ended, self._stop = threading.Event(), threading.Event()
        self._error: Exception | None = None
        self._announce()
        self.thread = threading.Thread(target=self._move, daemon=True)
        self.thread.start()

    def _announce(self) -> None:
        row = self.writer.execute("SELECT id, body FROM inbox ORDER BY id DESC LIMIT 1").fetchone()
        text = (
            "nothing committed yet"
            if row is None
            else f"last committed line {row[0]}: {row[1][:200].decode('utf-8', 'replace')}"
        )
        print(f"stdin: {text}", file=sys.stderr, flush=True)

    def _move(self) -> None:
        rest = b""
        try:
            while not self._stop.is_set():
                if not select.select([self.descriptor], [], [], 0.1)[0]:
                    continue
                block = os.read(self.descriptor, 1 << 20)
                lines = (rest + block).split(b"\n")
                rest = lines.pop()
                if not block and rest:
                    lines, rest = [rest], b""
                self._keep([line for line in lines if line.strip()])
                if not block:
                    break
        except Exception as error:  # handed to the stream's thread
            self._error = error
        finally:
            self._ended.set()

    def _keep(self, lines: list[bytes]) -> None:
        if not lines:
            return
        with disk_errors(str(self.state)):
            self.writer.execute("BEGIN IMMEDIATE")
            self.writer.executemany("INSERT INTO inbox(body) VALUES (?)", [(line,) for line in lines])
            self.writer.execute("COMMIT")
        crash_point("stdin_queued")

    def poll(self, limit: int) -> list[Record]:
        """Lines that are safely in."""
        if self._error is not None:
            raise self._error
        self._over = self._ended.is_set()
        records = self.queue.poll(limit)
        self._drained = self._over and not records
        return records

    def cursor(self) -> dict[str, Any]:
        """The last line's number."""
        return self.queue.cursor()

    def finished(self) -> bool:
        """At end of input, once all lines are polled."""
        return getattr(self, "_drained", False)

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self.thread.join(timeout=2)
        self.queue.close()
        self.writer.close()
