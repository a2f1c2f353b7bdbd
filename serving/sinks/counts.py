"""Counts of a stream, in total and per minute, updated in the transaction of each commit."""

from __future__ import annotations

import sqlite3

from serving.sinks import REPLAY, Commit

TABLES = (
    "CREATE TABLE IF NOT EXISTS totals(consumer TEXT PRIMARY KEY, since REAL NOT NULL, committed_at REAL NOT NULL, "
    "scored INTEGER NOT NULL, anomalies INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS minutes(minute INTEGER NOT NULL, consumer TEXT NOT NULL, scored INTEGER NOT NULL, "
    "anomalies INTEGER NOT NULL, dead INTEGER NOT NULL, PRIMARY KEY(minute, consumer)) WITHOUT ROWID",
)
# Rows of ``scores`` and ``dead_letters`` that a person removed. ``uncounted``: an earlier release, which did not count
# them, wrote to the database.
REMOVED = (
    "CREATE TABLE IF NOT EXISTS removed(what TEXT PRIMARY KEY, rows INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO removed SELECT 'uncounted', 1 WHERE EXISTS(SELECT 1 FROM cursor) "
    "AND NOT EXISTS(SELECT 1 FROM removed)",
    "INSERT OR IGNORE INTO removed VALUES ('scores', 0), ('dead_letters', 0)",
)
DAY = 24 * 60  # minutes to keep
_TOTALS = (
    "INSERT INTO totals VALUES (?, ?, ?, ?, ?) ON CONFLICT(consumer) DO UPDATE SET committed_at = "
    "excluded.committed_at, scored = scored + excluded.scored, anomalies = anomalies + excluded.anomalies"
)
_MINUTES = (
    "INSERT INTO minutes VALUES (?, ?, ?, ?, ?) ON CONFLICT(minute, consumer) DO UPDATE SET scored = scored + "
    "excluded.scored, anomalies = anomalies + excluded.anomalies, dead = dead + excluded.dead"
)


def count(connection: sqlite3.Connection, commit: Commit, now: float) -> None:
    """Add a commit to the totals and to the minute of ``now`` (seconds since 1970), inside a transaction."""
    scored, anomalies = len(commit.scores), sum(bool(score["is_anomaly"]) for score in commit.scores)
    # A replayed letter that fails again was counted when it first failed.
    dead = 0 if commit.consumer == REPLAY else len(commit.dead)
    minute = int(now // 60)
    connection.execute(_TOTALS, (commit.consumer, now, now, scored, anomalies))
    connection.execute(_MINUTES, (minute, commit.consumer, scored, anomalies, dead))
    connection.execute("DELETE FROM minutes WHERE minute <= ?", (minute - DAY,))


def count_removed(connection: sqlite3.Connection, what: str, rows: int) -> None:
    """Add rows of ``scores`` or ``dead_letters`` that are removed in the same transaction."""
    connection.execute("UPDATE removed SET rows = rows + ? WHERE what = ?", (rows, what))
