"""Scores in a SQLite table, in the same transaction as the cursor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from serving.files import disk_errors
from serving.sinks import Commit, Tail
from serving.sinks.state import StateDatabase
from serving.sources import Cursor

COLUMNS = {
    "source": "TEXT NOT NULL", "position": "INTEGER NOT NULL", "anomaly_score": "REAL", "p_value": "REAL",
    "is_anomaly": "INTEGER", "alpha": "REAL", "model_name": "TEXT", "model_version": "TEXT", "artifact_sha256": "TEXT",
    "scored_at": "TEXT", "record": "TEXT", "contributions": "TEXT", "fdr_selected": "INTEGER", "top_reasons": "TEXT",
}  # fmt: skip
_COLUMNS = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
SCORES = f"CREATE TABLE IF NOT EXISTS scores({_COLUMNS}, PRIMARY KEY(source, position))"


class DatabaseSink:
    """Writes the table ``scores``, one row per record; ``record`` and ``contributions`` are JSON text."""

    def __init__(self, output: Path) -> None:
        self.state = output
        self.database = StateDatabase(output, (SCORES,))
        try:
            with disk_errors(str(output)):
                self._add_missing_columns()
        except BaseException:
            self.abandon()
            raise

    def _add_missing_columns(self) -> None:
        """Add the columns that a database of an earlier release lacks."""
        held = {row[1] for row in self.database.connection.execute("PRAGMA table_info(scores)")}
        for name, kind in COLUMNS.items():
            if name not in held:
                self.database.connection.execute(f"ALTER TABLE scores ADD COLUMN {name} {kind}")

    def cursors(self) -> dict[str, Cursor]:
        """All committed cursors."""
        return self.database.cursors()

    def name(self, consumer: str, label: str) -> str:
        """As ``Sink.name``."""
        return self.database.name(consumer, label)

    def commit(self, commit: Commit) -> None:
        """Commit in one transaction."""
        marks = ", ".join("?" * len(COLUMNS))
        rows = [tuple(_plain(score.get(name)) for name in COLUMNS) for score in commit.scores]
        question = f"INSERT INTO scores({', '.join(COLUMNS)}) VALUES ({marks})"
        self.database.commit(commit, lambda: _run(self.database, question, rows))

    def dead_letters(self) -> list[tuple[str, int, bytes]]:
        """All dead letters."""
        return self.database.dead_letters()

    def tails(self, consumer: str) -> list[Tail]:
        """The committed tails of a source."""
        return self.database.tails(consumer)

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def abandon(self) -> None:
        """Close, and delete the files that this run created."""
        self.database.abandon()


def _run(database: StateDatabase, question: str, rows: list[tuple[Any, ...]]) -> None:
    database.connection.executemany(question, rows)


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict) else value
