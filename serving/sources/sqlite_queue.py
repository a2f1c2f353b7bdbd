"""A SQLite table as a queue: ``queue(id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT, enqueued_at TEXT)``."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from serving.errors import UsageError
from serving.sources import Record

QUEUE_TABLE = (
    "CREATE TABLE IF NOT EXISTS queue(id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL, "
    "enqueued_at TEXT DEFAULT CURRENT_TIMESTAMP)"
)


class SqliteQueue:
    """Reads rows with ids above the cursor; producers insert, the queue is never changed here."""

    def __init__(self, path: Path, cursor: dict[str, Any], follow: bool, table: str = "queue") -> None:
        if not path.exists():
            raise UsageError(f"there is no queue {path}; a producer makes it with table queue(id, body)")
        self.name, self.follow, self.table = path.name, follow, table
        self.last = int(cursor.get("id", 0))
        self.connection = sqlite3.connect(path, timeout=30)
        found = self.connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        if found is None:
            raise UsageError(f"{path} holds no table {table!r}; see docs/delivery.md for its columns")
        self._empty = False

    def poll(self, limit: int) -> list[Record]:
        """The next rows by id."""
        query = f"SELECT id, body FROM {self.table} WHERE id > ? ORDER BY id LIMIT ?"
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
