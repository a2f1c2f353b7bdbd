"""The state of a stream in SQLite: cursors, names of sources, dead letters and gaps, moved in one transaction."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from serving.crash import crash_point
from serving.errors import DataError, TemporaryError, UsageError
from serving.files import disk_errors
from serving.sinks import Commit, Tail, counts
from serving.sources import Cursor

# Alarms that are not delivered yet. ``dead_at``: given up until the next start because of ``reason``.
OUTBOX = (
    "CREATE TABLE IF NOT EXISTS alarms(id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL, "
    "attempts INTEGER NOT NULL DEFAULT 0, reason TEXT, dead_at TEXT)"
)
TABLES = (
    "CREATE TABLE IF NOT EXISTS dead_letters(source TEXT NOT NULL, position INTEGER NOT NULL, body BLOB NOT NULL, "
    "reason TEXT NOT NULL, model_version TEXT, dead_at TEXT, attempts INTEGER NOT NULL, PRIMARY KEY(source, position))",
    "CREATE TABLE IF NOT EXISTS cursor(consumer TEXT PRIMARY KEY, state TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS sources(consumer TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "CREATE TABLE IF NOT EXISTS gaps(source TEXT NOT NULL, position INTEGER NOT NULL, reason TEXT NOT NULL, "
    "found_at TEXT)",
    "CREATE TABLE IF NOT EXISTS tails(consumer TEXT NOT NULL, key TEXT NOT NULL, seen INTEGER NOT NULL, "
    "time REAL NOT NULL, rows BLOB NOT NULL, PRIMARY KEY(consumer, key)) WITHOUT ROWID",
    *counts.TABLES,
    *counts.REMOVED,
    OUTBOX,
)
Made = list[Path]


def make_file(path: Path, made: Made) -> None:
    """Create a file if it does not exist, and append it to ``made`` in that case."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644))
    except FileExistsError:
        return
    made.append(path)


class StateDatabase:
    """The state that every sink stores beside its scores; ``clock`` returns seconds since 1970.

    Raises DataError if the file is not a SQLite database.
    """

    def __init__(self, path: Path, tables: tuple[str, ...] = (), clock: Callable[[], float] = time.time) -> None:
        self.path, self.made, self.clock = path, Made(), clock
        self.connection: sqlite3.Connection
        try:
            with disk_errors(str(path)):
                make_file(path, self.made)
                self.connection = sqlite3.connect(path, timeout=30, isolation_level=None)
                self.connection.execute("PRAGMA journal_mode=WAL")
                self.connection.execute("PRAGMA synchronous=FULL")
                for table in (*TABLES, *tables):
                    self.connection.execute(table)
        except sqlite3.DatabaseError as error:
            self.abandon()
            raise DataError(f"{path} is no usable SQLite database ({error}); choose another output") from error
        except BaseException:
            self.abandon()
            raise

    def cursors(self) -> dict[str, Cursor]:
        """All committed cursors."""
        found = self.connection.execute("SELECT consumer, state FROM cursor").fetchall()
        return {consumer: json.loads(state) for consumer, state in found}

    def name(self, consumer: str, label: str) -> str:
        """As ``Sink.name``; a source keeps its first name."""
        row = self.connection.execute("SELECT name FROM sources WHERE consumer = ?", (consumer,)).fetchone()
        if row:
            return str(row[0])
        mark = consumer.partition(":")[2][:8] or consumer
        for name in (label, f"{label}@{mark}", f"{label}@{consumer}"):
            with suppress(sqlite3.IntegrityError), disk_errors(str(self.path)):
                self.connection.execute("INSERT INTO sources VALUES (?, ?)", (consumer, name))
                return name
        raise UsageError(f"{self.path} knows another source as {label}@{consumer}; choose another --output")

    def commit(self, commit: Commit, write: Callable[[], None]) -> None:
        """In one transaction: compare and set the cursor, call ``write`` for the scores, add dead letters and gaps."""
        with disk_errors(str(self.path)):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                self._compare(commit)
                write()
                self._settle(commit)
                self.move(commit.consumer, commit.after)
                counts.count(self.connection, commit, self.clock())
                crash_point("sink_written")
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise
        crash_point("cursor_committed")

    def _compare(self, commit: Commit) -> None:
        row = self.connection.execute("SELECT state FROM cursor WHERE consumer = ?", (commit.consumer,)).fetchone()
        if (json.loads(row[0]) if row else {}) != commit.before:
            raise TemporaryError(
                f"{self.path}: another stream has moved the position of {commit.consumer}; nothing of this run was "
                "written after that. Run one stream for each output"
            )

    def _settle(self, commit: Commit) -> None:
        run = self.connection.executemany
        run("DELETE FROM dead_letters WHERE source = ? AND position = ?", commit.replayed)
        run(
            "INSERT INTO dead_letters VALUES (?, ?, ?, ?, ?, ?, 1) ON CONFLICT(source, position) DO UPDATE SET "
            "reason = excluded.reason, dead_at = excluded.dead_at, attempts = attempts + 1",
            [(d.source, d.position, d.body, d.reason, *commit.stamp) for d in commit.dead],
        )
        run(
            "INSERT INTO gaps VALUES (?, ?, ?, ?)",
            [(g.source, g.position, g.reason, commit.stamp[1]) for g in commit.gaps],
        )
        if commit.tails.cleared:
            run("DELETE FROM tails WHERE consumer = ?", [(commit.consumer,)])
        run(
            "DELETE FROM tails WHERE consumer = ? AND key = ?", [(commit.consumer, key) for key in commit.tails.dropped]
        )
        run(
            "INSERT OR REPLACE INTO tails VALUES (?, ?, ?, ?, ?)",
            [(commit.consumer, t.key, t.seen, t.time, t.rows) for t in commit.tails.written],
        )
        run("INSERT INTO alarms(body) VALUES (?)", [(body,) for body in commit.alarms])

    def move(self, consumer: str, cursor: Cursor) -> None:
        """Set a cursor, inside a transaction."""
        self.connection.execute("INSERT OR REPLACE INTO cursor VALUES (?, ?)", (consumer, json.dumps(cursor)))

    def dead_letters(self) -> list[tuple[str, int, bytes]]:
        """All dead letters: source, position, bytes."""
        rows: list[Any] = self.connection.execute(
            "SELECT source, position, body FROM dead_letters ORDER BY rowid"
        ).fetchall()
        return [(source, position, bytes(body)) for source, position, body in rows]

    def tails(self, consumer: str) -> list[Tail]:
        """The tails of a source."""
        query = "SELECT key, seen, time, rows FROM tails WHERE consumer = ?"
        return [Tail(*row) for row in self.connection.execute(query, (consumer,))]

    def close(self) -> None:
        """Close the database."""
        self.connection.close()

    def abandon(self) -> None:
        """Close, and delete the files that this run created."""
        with suppress(AttributeError, sqlite3.Error, OSError):
            self.close()
        for path in self.made:
            for name in (path.name, path.name + "-wal", path.name + "-shm"):
                with suppress(OSError):
                    path.with_name(name).unlink(missing_ok=True)
