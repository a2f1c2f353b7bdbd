"""A SQLite table as a queue: ``queue(id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT, enqueued_at TEXT)``.

The queue's identity is a random text in its table ``queue_identity``. It survives moves, and distinguishes the queue
from another one at the same path.
"""

from __future__ import annotations

import re
import sqlite3
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from serving.errors import DataError, TemporaryError, UsageError
from serving.readonly import ask, tables
from serving.sources import PAUSE, Cursor, Gap, Record, Standing

QUEUE_TABLE = (
    "CREATE TABLE IF NOT EXISTS queue(id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL, "
    "enqueued_at TEXT DEFAULT CURRENT_TIMESTAMP)"
)
IDENTITY_TABLE = (
    "CREATE TABLE IF NOT EXISTS queue_identity(only INTEGER PRIMARY KEY CHECK (only = 1), id TEXT NOT NULL)"
)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Convert SQLite's errors while reading a queue to this package's types."""
    try:
        yield
    except (sqlite3.Error, OverflowError) as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise TemporaryError(
                f"{path} is locked by another process ({error}); wait for it, then run again"
            ) from error
        fix = "name a database with a queue (docs/delivery.md), or a file of JSON lines without sqlite:"
        raise DataError(f"{path} cannot be read as a SQLite queue ({error}); {fix}") from error


def connect(path: Path) -> sqlite3.Connection:
    """A connection that returns text as bytes, so that each record's encoding is checked separately."""
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    connection.text_factory = bytes
    return connection


class SqliteQueue:
    """Reads rows with ids above the cursor. Producers insert rows; this class writes only the identity."""

    def __init__(self, location: str, follow: bool) -> None:
        self.path, self.follow = Path(location), follow
        if not self.path.is_file():
            raise UsageError(f"there is no queue {self.path}; a producer creates it with table queue(id, body)")
        self.id, self.label = "", self.path.name
        self.last: int | None = None
        self._empty = False
        with reading(self.path):
            self.connection = connect(self.path)
            try:
                self._check()
            except BaseException:
                self.connection.close()
                raise

    def _check(self) -> None:
        """Raise UsageError or DataError unless the table's ids increase and are never reused."""
        found = self.connection.execute("SELECT type, sql FROM sqlite_master WHERE name = 'queue'").fetchone()
        if found is None:
            raise UsageError(f"{self.path} holds no table 'queue'; see docs/delivery.md for its columns")
        kind, sql = (part.decode() for part in found)
        columns = {row[1].decode(): row[2].decode() for row in self.connection.execute("PRAGMA table_info(queue)")}
        fix = "create it as queue(id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL)"
        if kind != "table":
            raise DataError(f"{self.path}: 'queue' is a {kind}, no table; {fix}")
        if lacking := {"id", "body"} - columns.keys():
            raise DataError(f"{self.path}: table 'queue' has no column {min(lacking)!r}; {fix}")
        if not re.search(r"\bAUTOINCREMENT\b", sql, re.I) or columns["id"].upper() != "INTEGER":
            raise DataError(f"{self.path}: the ids of table 'queue' could be used twice; {fix}")

    def resume(self, known: Mapping[str, Cursor], state: Path) -> None:
        """Find the cursor by the queue's identity, or by its path for cursors of earlier releases."""
        identity = self._identity()
        former = f"queue:{self.path.resolve()}"
        mine = [name for name, cursor in known.items() if cursor.get("queue") == identity]
        if not mine and former in known and "queue" not in known[former]:
            mine = [former]
        self.id = mine[0] if mine else f"queue:{identity}"
        self._queue = identity
        self.last = known.get(self.id, {}).get("id")
        self._check_sequence()

    def _identity(self) -> str:
        """The queue's id, created at the first read; device and inode if the database cannot be written."""
        try:
            with reading(self.path):
                return self._kept_identity()
        except DataError as error:
            if not isinstance(error.__cause__, sqlite3.OperationalError):
                raise
            stat = self.path.stat()
            print(
                f"warning: {self.path} cannot be written, so a copy or a new queue at this path cannot be recognised",
                file=sys.stderr,
            )
            return f"{stat.st_dev}-{stat.st_ino}"

    def _kept_identity(self) -> str:
        question = "SELECT id FROM queue_identity"
        exists = self.connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'queue_identity'").fetchone()
        row = self.connection.execute(question).fetchone() if exists else None
        if row is None:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                self.connection.execute(IDENTITY_TABLE)
                self.connection.execute("INSERT OR IGNORE INTO queue_identity VALUES (1, ?)", (uuid.uuid4().hex,))
                row = self.connection.execute(question).fetchone()
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
        return row[0].decode()

    def _check_sequence(self) -> None:
        """Raise DataError if the ids restarted below the cursor, because new records would be skipped."""
        with reading(self.path):
            row = self.connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'queue'").fetchone()
        if self.last is not None and (row is None or row[0] < self.last):
            raise DataError(
                f"{self.path}: ids were scored up to {self.last}, and the queue now counts from "
                f"{row[0] if row else 0}: it was emptied by hand, and new records would be skipped; choose a new "
                "--output for it"
            )

    def poll(self, limit: int) -> list[Record]:
        """The next rows by id."""
        after = "" if self.last is None else "WHERE id > ? "
        query = f"SELECT id, body FROM queue {after}ORDER BY id LIMIT ?"
        with reading(self.path):
            rows = self.connection.execute(query, (*(() if self.last is None else (self.last,)), limit)).fetchall()
        self._empty = not rows
        if rows:
            self.last = rows[-1][0]
        return [Record(self.label, i, _bytes(body)) for i, body in rows]

    def cursor(self) -> Cursor:
        """The last id and the queue's identity."""
        return {"scheme": "sqlite", "queue": self._queue, "path": str(self.path.resolve()), "id": self.last}

    def gaps(self) -> list[Gap]:
        """Always empty: ids are never reused."""
        return []

    def wait(self) -> None:
        """Wait a moment."""
        time.sleep(PAUSE)

    def committed(self) -> None:
        """Does nothing: the rows belong to the producer."""

    def finished(self) -> bool:
        """True once a poll found nothing, unless following."""
        return self._empty and not self.follow

    def left(self) -> str:
        """Always empty."""
        return ""

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


def identities(connection: sqlite3.Connection, path: Path) -> set[str]:
    """The possible identities of a queue: the id in its table, or device and inode if that could not be written."""
    stat = path.stat()
    named = "queue_identity" in tables(connection)
    kept = connection.execute("SELECT id FROM queue_identity").fetchall() if named else []
    return {str(row[0]) for row in kept} | {f"{stat.st_dev}-{stat.st_ino}"}


def standing(cursor: Cursor, state: Path) -> Standing:
    """The number of unread rows."""
    path, last = Path(cursor["path"]), cursor["id"]
    position = "none" if last is None else f"id {last:,}"
    if not path.is_file():
        return Standing(position, note=f"{path} is gone")

    def question(connection: sqlite3.Connection) -> Standing:
        if "queue" not in tables(connection):
            return Standing(position, note=f"{path} holds no queue any more")
        if cursor["queue"] not in identities(connection, path):
            return Standing(position, note=f"{path} is another queue now")
        rows = connection.execute("SELECT COUNT(*) FROM queue WHERE ? IS NULL OR id > ?", (last, last)).fetchone()[0]
        return Standing(position, rows, "row")

    return ask(path, question)


def _bytes(body: object) -> bytes:
    if isinstance(body, bytes):
        return body
    return b"" if body is None else str(body).encode()
