"""A SQLite table as a queue: ``queue(id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT, enqueued_at TEXT)``."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving.errors import DataError, TemporaryError, UsageError
from serving.sources import Record

QUEUE_TABLE = (
    "CREATE TABLE IF NOT EXISTS queue(id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL, "
    "enqueued_at TEXT DEFAULT CURRENT_TIMESTAMP)"
)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise TemporaryError(
                f"{path} is locked by another process ({error}); wait for it, then run again"
            ) from error
        mend = "name a database with a queue (docs/delivery.md), or a file of JSON lines without sqlite:"
        raise DataError(f"{path} cannot be read as a SQLite queue ({error}); {mend}") from error


class SqliteQueue:
    """Reads rows with ids above the cursor; producers insert, the queue is never changed here."""

    def __init__(self, path: Path, cursor: dict[str, Any], follow: bool, table: str = "queue") -> None:
        if not path.is_file():
            raise UsageError(f"there is no queue {path}; a producer makes it with table queue(id, body)")
        self.name, self.follow, self.table = path.name, follow, table
        self.last = int(cursor.get("id", 0))
        self._empty = False
        with _reading(path):
            self.connection = sqlite3.connect(path, timeout=30)
            try:
                self._check(path)
            except BaseException:
                self.connection.close()
                raise
        self.path = path

    def _check(self, path: Path) -> None:
        found = self.connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (self.table,)).fetchone()
        if found is None:
            raise UsageError(f"{path} holds no table {self.table!r}; see docs/delivery.md for its columns")
        self.connection.execute(f"SELECT id, body FROM {self.table} LIMIT 0")

    def poll(self, limit: int) -> list[Record]:
        """The next rows by id."""
        query = f"SELECT id, body FROM {self.table} WHERE id > ? ORDER BY id LIMIT ?"
        with _reading(self.path):
            rows = self.connection.execute(query, (self.last, limit)).fetchall()
        self._empty = not rows
        if rows:
            self.last = rows[-1][0]
        return [Record(self.name, i, b if isinstance(b, bytes) else str(b).encode()) for i, b in rows]

    def cursor(self) -> dict[str, Any]:
        """The last id."""
        return {"id": self.last}

    def finished(self) -> bool:
        """Without ``follow``, once a poll found nothing."""
        return self._empty and not self.follow

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()
