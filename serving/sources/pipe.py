"""Standard input, a FIFO or a process substitution, buffered in a table of the sink's database.

Records in the table are scored exactly once. Lines and bytes are counted as the sender counts them, including blank
lines, so that an interrupted sender can continue where it stopped.
"""

from __future__ import annotations

import os
import select
import sqlite3
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from serving.crash import crash_point
from serving.errors import UsageError
from serving.files import disk_errors
from serving.readonly import ask, tables
from serving.sources import PAUSE, Cursor, Gap, Record, Standing
from serving.sources.lines import Line, Lines, is_whole_object
from serving.sources.sqlite_queue import connect, reading

INBOX = "CREATE TABLE IF NOT EXISTS inbox(id INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL)"
# One row: the lines and bytes received from all senders together, and the beginning of the last line.
RECEIVED = (
    "CREATE TABLE IF NOT EXISTS inbox_received(only INTEGER PRIMARY KEY CHECK (only = 1), lines INTEGER NOT NULL, "
    "bytes INTEGER NOT NULL, last BLOB NOT NULL)"
)
_BLOCK, _SHOWN = 1 << 20, 200


class Pipe:
    """Reads a pipe: a thread moves lines into the table ``inbox`` in batches, and the stream reads them from there.

    On start it prints to stderr how many lines and bytes were received. A record's position is its line number. A last
    line without a line end is accepted if it is a complete JSON object; otherwise it must be sent again.
    """

    def __init__(self, location: str, follow: bool) -> None:
        self.location, self.follow = location, follow
        self.id, self.label = "stdin", "stdin"
        self.last = 0
        self._ended, self._stop = threading.Event(), threading.Event()
        self._error: Exception | None = None
        self._drained, self._half = False, 0
        if location == "-":
            try:
                self._stdin = os.dup(sys.stdin.fileno())
            except (OSError, ValueError, AttributeError) as error:
                raise UsageError("there is no standard input to read; name a file or a queue as --input") from error

    def resume(self, known: Mapping[str, Cursor], state: Path) -> None:
        """Open the inbox in the sink's database and start reading."""
        self.state = state
        self.last = int(known.get(self.id, {}).get("id", 0))
        self.writer = sqlite3.connect(state, timeout=30, check_same_thread=False, isolation_level=None)
        with disk_errors(str(state)):
            self.writer.execute("PRAGMA synchronous=FULL")
            self.writer.execute(INBOX)
            self.writer.execute(RECEIVED)
            self.writer.execute(
                "INSERT OR IGNORE INTO inbox_received SELECT 1, COALESCE(MAX(id), 0), 0, x'' FROM inbox"
            )
            self.writer.execute("DELETE FROM inbox WHERE id <= ?", (self.last,))
        self.reader = connect(state)
        self._announce()
        self.thread = threading.Thread(target=self._move, daemon=True)
        self.thread.start()

    def _announce(self) -> None:
        lines, size, last = self.writer.execute("SELECT lines, bytes, last FROM inbox_received").fetchone()
        said = f"{self.label}: {lines:,} lines ({size:,} bytes) are safely in; send what follows them"
        if last:
            said += f". The last one begins with {bytes(last).decode('utf-8', 'replace')!r}"
        print(said, file=sys.stderr, flush=True)

    def _move(self) -> None:
        try:
            while not self._stop.is_set():
                if self._read_to_end(self._open()) or not self.follow or self.location == "-":
                    break
        except Exception as error:  # raised by ``poll`` in the stream's thread
            self._error = error
        finally:
            self._ended.set()

    def _open(self) -> int:
        # Without O_NONBLOCK, opening a FIFO without a writer could not be interrupted.
        return self._stdin if self.location == "-" else os.open(self.location, os.O_RDONLY | os.O_NONBLOCK)

    def _read_to_end(self, descriptor: int) -> bool:
        """Read until all writers have closed the pipe; returns True if the stream was stopped first."""
        lines, begun = Lines(), False
        try:
            while not self._stop.is_set():
                if not select.select([descriptor], [], [], 0.1)[0]:
                    continue
                try:
                    block = os.read(descriptor, _BLOCK)
                except BlockingIOError:
                    continue
                if not block and not begun and self.location != "-" and not self._stop.wait(0.05):
                    continue  # no one has opened the FIFO yet
                begun = True
                lines.feed(block)
                if not block and is_whole_object(lines.last()):
                    lines.end()
                self._keep(list(lines.ready))
                lines.ready.clear()
                if not block:
                    self._half = lines.unfinished
                    return False
            return True
        finally:
            os.close(descriptor)

    def _keep(self, lines: list[Line]) -> None:
        if not lines:
            return
        with disk_errors(str(self.state)):
            self.writer.execute("BEGIN IMMEDIATE")
            first = self.writer.execute("SELECT lines FROM inbox_received").fetchone()[0] + 1
            filled = [(first + i, line.body) for i, line in enumerate(lines) if line.body.strip()]
            self.writer.executemany("INSERT INTO inbox(id, body) VALUES (?, ?)", filled)
            self.writer.execute(
                "UPDATE inbox_received SET lines = lines + ?, bytes = bytes + ?, last = ?",
                (len(lines), sum(line.size for line in lines), lines[-1].body[:_SHOWN]),
            )
            self.writer.execute("COMMIT")
        crash_point("stdin_queued")

    def poll(self, limit: int) -> list[Record]:
        """The next received lines."""
        if self._error is not None:
            raise self._error
        over = self._ended.is_set()
        query = "SELECT id, body FROM inbox WHERE id > ? ORDER BY id LIMIT ?"
        with reading(self.state):
            rows = self.reader.execute(query, (self.last, limit)).fetchall()
        self._drained = over and not rows
        if rows:
            self.last = rows[-1][0]
        return [Record(self.label, i, bytes(body)) for i, body in rows]

    def cursor(self) -> Cursor:
        """The number of the last line."""
        return {"scheme": "-", "id": self.last}

    def gaps(self) -> list[Gap]:
        """Always empty: an interrupted sender learns how much was received."""
        return []

    def wait(self) -> None:
        """Wait a moment."""
        time.sleep(PAUSE)

    def committed(self) -> None:
        """Delete the scored lines from the inbox."""
        with disk_errors(str(self.state)):
            self.reader.execute("DELETE FROM inbox WHERE id <= ?", (self.last,))

    def finished(self) -> bool:
        """True at the end of the input, once all lines are polled."""
        return self._drained

    def left(self) -> str:
        """A message about a last line that was cut off."""
        if not self._half:
            return ""
        return f"{self.label}: the last line was cut off after {self._half:,} bytes and not taken; send it again"

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        if hasattr(self, "thread"):
            self.thread.join(timeout=2)
            self.reader.close()
            self.writer.close()


def standing(cursor: Cursor, state: Path) -> Standing:
    """Unread lines in the inbox; lines that the sender still holds are unknown."""
    last = int(cursor["id"])

    def question(connection: sqlite3.Connection) -> int:
        if "inbox" not in tables(connection):
            return 0
        return int(connection.execute("SELECT COUNT(*) FROM inbox WHERE id > ?", (last,)).fetchone()[0])

    return Standing(f"line {last:,}", ask(state, question), "line")


def takes(mode: int) -> bool:
    """Whether a file of this mode must be read as a pipe, because it cannot be read twice or at a position."""
    import stat

    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


__all__ = ["Pipe", "standing", "takes"]
