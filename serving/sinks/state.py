"""The state database: cursor, dead letters, and the scores themselves or the length of the file that holds them."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from serving.crash import crash_point
from serving.errors import DataError, UsageError
from serving.files import disk_errors
from serving.wording import counted

COLUMNS = (
    "source", "position", "anomaly_score", "p_value", "is_anomaly", "alpha", "model_name", "model_version",
    "artifact_sha256", "scored_at", "record", "contributions", "fdr_selected", "top_reasons",
)  # fmt: skip
TABLES = (
    "CREATE TABLE IF NOT EXISTS scores(source TEXT NOT NULL, position INTEGER NOT NULL, anomaly_score REAL, "
    "p_value REAL, is_anomaly INTEGER, alpha REAL, model_name TEXT, model_version TEXT, artifact_sha256 TEXT, "
    "scored_at TEXT, record TEXT, contributions TEXT, fdr_selected INTEGER, top_reasons TEXT, "
    "PRIMARY KEY(source, position))",
    "CREATE TABLE IF NOT EXISTS dead_letters(source TEXT NOT NULL, position INTEGER NOT NULL, body BLOB NOT NULL, "
    "reason TEXT NOT NULL, model_version TEXT, dead_at TEXT, attempts INTEGER NOT NULL, PRIMARY KEY(source, position))",
    "CREATE TABLE IF NOT EXISTS cursor(consumer TEXT PRIMARY KEY, state TEXT NOT NULL)",
)


@dataclass(frozen=True)
class DeadLetter:
    """A record that could not be scored."""

    source: str
    position: int
    body: bytes
    reason: str


class State:
    """One transaction per micro-batch: ``.db`` scores are inside it, a ``.jsonl`` file is cut back to it."""

    def __init__(self, output: Path) -> None:
        if output.suffix not in (".db", ".jsonl"):
            raise UsageError(f"the output must end in .db (SQLite) or .jsonl (JSON lines); got {output.name!r}")
        if not output.parent.is_dir():
            raise UsageError(f"there is no folder {output.parent}; make it first")
        self.output = output
        self.path = output if output.suffix == ".db" else output.with_name(output.name + ".state.db")
        self.connection: sqlite3.Connection
        self.file: BinaryIO | None = None
        self._made: list[Path] = []
        try:
            with disk_errors(str(output)):
                self._open()
        except sqlite3.DatabaseError as error:
            self.abandon()
            raise DataError(f"{self.path} is no usable SQLite database ({error}); choose another output") from error
        except BaseException:
            self.abandon()
            raise

    def _open(self) -> None:
        lines = self.path != self.output
        if lines and not self.path.exists() and self.output.exists() and self.output.stat().st_size:
            raise UsageError(
                f"{self.output} holds what no stream has written; choose another --output, or move it away"
            )
        self._make(self.path)
        self.connection = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=FULL")
        for table in TABLES:
            self.connection.execute(table)
        self._add_missing_columns()
        if lines:
            self.file = self._open_lines()

    def _make(self, path: Path) -> None:
        """Create a file where there is none, and note that this run did."""
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644))
        except FileExistsError:
            return
        self._made.append(path)

    def abandon(self) -> None:
        """Close, and take away the files that this run created: nothing was committed to them."""
        with suppress(AttributeError, sqlite3.Error, OSError):
            self.close()
        for path in self._made:
            for name in (path.name, path.name + "-wal", path.name + "-shm"):
                with suppress(OSError):
                    path.with_name(name).unlink(missing_ok=True)

    def _add_missing_columns(self) -> None:
        """A database of an earlier release gains what came later."""
        held = {row[1] for row in self.connection.execute("PRAGMA table_info(scores)")}
        for name, kind in (("fdr_selected", "INTEGER"), ("top_reasons", "TEXT")):
            if name not in held:
                self.connection.execute(f"ALTER TABLE scores ADD COLUMN {name} {kind}")

    def cursor(self, consumer: str) -> dict[str, Any]:
        """A consumer's committed cursor, {} at first."""
        row = self.connection.execute("SELECT state FROM cursor WHERE consumer = ?", (consumer,)).fetchone()
        return json.loads(row[0]) if row else {}

    def _open_lines(self) -> BinaryIO:
        """Open the JSON lines and cut them back to what was committed."""
        length = int(self.cursor("jsonl").get("bytes", 0))
        if length and (not self.output.exists() or self.output.stat().st_size < length):
            held = counted(length, "byte")
            raise DataError(f"{self.output} is shorter than the {held} committed to it; restore it, or start a new one")
        self._make(self.output)
        file = self.output.open("r+b")
        file.truncate(length)
        file.seek(length)
        return file

    def commit(
        self,
        consumer: str,
        cursor: dict[str, Any],
        scores: Sequence[dict[str, Any]],
        dead: Sequence[DeadLetter],
        stamp: tuple[str, str],
        replayed: Sequence[tuple[str, int]] = (),
    ) -> None:
        """Write scores and dead letters and move the cursor, all or nothing.

        ``stamp`` is (model version, time); ``replayed`` names dead letters that scored now. Raises TemporaryError where
        the disk is full or the database stays locked.
        """
        with disk_errors(str(self.output)):
            if self.file is not None:
                self._append(scores)
            self._transaction(lambda: self._rows(consumer, cursor, scores, dead, stamp, replayed))
        crash_point("cursor_committed")

    def _append(self, scores: Sequence[dict[str, Any]]) -> None:
        assert self.file is not None
        for score in scores:
            kept = {k: v for k, v in score.items() if v is not None}
            self.file.write(json.dumps(kept).encode() + b"\n")
        self.file.flush()
        os.fsync(self.file.fileno())
        crash_point("sink_written")

    def _transaction(self, write: Callable[[], None]) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            write()
            if self.file is None:
                crash_point("sink_written")
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def _rows(
        self,
        consumer: str,
        cursor: dict[str, Any],
        scores: Sequence[dict[str, Any]],
        dead: Sequence[DeadLetter],
        stamp: tuple[str, str],
        replayed: Sequence[tuple[str, int]],
    ) -> None:
        if self.file is None:
            marks = ", ".join("?" * len(COLUMNS))
            rows = [tuple(score.get(c) for c in COLUMNS) for score in scores]
            self.connection.executemany(f"INSERT INTO scores({', '.join(COLUMNS)}) VALUES ({marks})", rows)
        else:
            self._move("jsonl", {"bytes": self.file.tell()})
        self.connection.executemany("DELETE FROM dead_letters WHERE source = ? AND position = ?", replayed)
        self.connection.executemany(
            "INSERT INTO dead_letters VALUES (?, ?, ?, ?, ?, ?, 1) ON CONFLICT(source, position) DO UPDATE SET "
            "reason = excluded.reason, dead_at = excluded.dead_at, attempts = attempts + 1",
            [(d.source, d.position, d.body, d.reason, *stamp) for d in dead],
        )
        self._move(consumer, cursor)

    def _move(self, consumer: str, cursor: dict[str, Any]) -> None:
        self.connection.execute("INSERT OR REPLACE INTO cursor VALUES (?, ?)", (consumer, json.dumps(cursor)))

    def dead_letters(self) -> list[tuple[str, int, bytes]]:
        """All dead letters: source, position, bytes."""
        return self.connection.execute("SELECT source, position, body FROM dead_letters ORDER BY rowid").fetchall()

    def close(self) -> None:
        """Close file and database."""
        if self.file is not None:
            self.file.close()
        self.connection.close()
