"""Removes old data that is no longer needed: stream scores, queue rows and finished batch runs (docs/delivery.md).

Dead letters and gaps are kept by default. If a call is killed, the next one finishes its work.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from serving import prune_runs
from serving.errors import UsageError
from serving.files import disk_errors
from serving.lease import Lease
from serving.pruning import Pruning, Removed
from serving.readonly import ask, tables
from serving.redis import is_redis
from serving.sinks import lease_of, state_of
from serving.sinks.counts import count_removed
from serving.sinks.rewrite import committed, lines_of, rewrite
from serving.sinks.state import StateDatabase
from serving.sources.sqlite_queue import identities
from serving.wording import counted

QUEUE = "sqlite:"
CHUNK = 5000  # rows per transaction; other writers wait for each


def prune(paths: Sequence[str], pruning: Pruning) -> Iterator[Removed]:
    """Prune paths one by one and yield what was removed. All paths are checked before anything is removed.

    A path is a stream's output (.db, .jsonl), the folder of a batch run, a folder of such folders, or a queue
    (``sqlite:PATH``). Of a queue, only rows that every output in ``scored_by`` has read are removed.
    Raises UsageError for other paths, and TemporaryError if another process is writing the output.
    """
    if pruning.scored_by and not any(path.startswith(QUEUE) for path in paths):
        raise UsageError("--scored-by is for a queue: name it as sqlite:PATH")
    for work in [_work(path, pruning) for path in paths]:
        yield from work()


def _work(text: str, pruning: Pruning) -> Callable[[], Iterator[Removed]]:
    """The function that prunes a path; raises UsageError if the path cannot be pruned."""
    path = Path(text)
    if text.startswith(QUEUE):
        queue = Path(text.removeprefix(QUEUE))
        last = _read_by_all(queue, pruning.scored_by)
        return lambda: _queue(queue, last, pruning)
    if is_redis(text):
        raise UsageError("prune removes files and rows of SQLite; trim a Redis stream with XTRIM KEY MINID ~ ID")
    path = path.resolve() if path.is_symlink() and path.is_dir() else path
    if path.is_dir() or prune_runs.leftover(path).is_dir():
        runs = prune_runs.runs_in(path)
        return lambda: prune_runs.prune(path, runs, pruning)
    state = state_of(path)
    return lambda: _stream(path, state, pruning)


# ---------------------------------------------------------------- tables of SQLite
@dataclass(frozen=True)
class _Rows:
    """Rows of a table that match a condition; ``what`` names one row in messages."""

    table: str
    condition: str
    values: tuple[object, ...]
    what: str

    def measure(self, connection: sqlite3.Connection) -> tuple[int, int]:
        """The number of rows, and of bytes in their values."""
        if self.table not in tables(connection):
            return 0, 0
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({self.table})")]
        names = [name.replace('"', '""') for name in columns]
        size = " + ".join(f'COALESCE(LENGTH(CAST("{name}" AS BLOB)), 0)' for name in names)
        query = f"SELECT COUNT(*), TOTAL({size}) FROM {self.table} WHERE {self.condition}"
        count, total = connection.execute(query, self.values).fetchone()
        return count, int(total)

    def delete(self, connection: sqlite3.Connection, check: Callable[[], None]) -> None:
        """Delete the rows in short transactions, calling ``check`` before each."""
        chosen = f"SELECT rowid FROM {self.table} WHERE {self.condition} LIMIT {CHUNK}"
        while True:
            check()
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                gone = connection.execute(f"DELETE FROM {self.table} WHERE rowid IN ({chosen})", self.values).rowcount
                if self.table in ("scores", "dead_letters"):
                    count_removed(connection, self.table, gone)
            if not gone:
                return


def _rows_of(output: Path, pruning: Pruning) -> list[_Rows]:
    kinds = [("scores", "scored_at", "score row")] if output.suffix == ".db" else []
    kinds += [("dead_letters", "dead_at", "dead letter"), ("gaps", "found_at", "gap")] if pruning.dead_letters else []
    return [_Rows(table, f"{when} < ?", (pruning.before,), what) for table, when, what in kinds]


# ---------------------------------------------------------------- streams
def _stream(output: Path, state: Path, pruning: Pruning) -> Iterator[Removed]:
    rows, in_lines = _rows_of(output, pruning), output.suffix == ".jsonl"
    if pruning.dry_run:
        if in_lines:
            yield _old_lines(output, state, pruning)
        for some in rows:
            yield Removed(str(output), some.what, *ask(state, some.measure), True)
        return
    with Lease(lease_of(output), pruning.wait, what=str(output)) as lease:
        database = StateDatabase(state)
        try:
            if in_lines:
                gone = rewrite(database, output, lambda line: not _is_old(line, pruning.before), lease.claim)
                yield Removed(str(output), "line", *gone, False)
            for some in rows:
                with disk_errors(str(state)):
                    found = some.measure(database.connection)
                    if found[0]:
                        some.delete(database.connection, lease.check)
                yield Removed(str(output), some.what, *found, False)
        finally:
            database.close()


def _old_lines(output: Path, state: Path, pruning: Pruning) -> Removed:
    cursors = ask(state, lambda c: {k: json.loads(v) for k, v in c.execute("SELECT consumer, state FROM cursor")})
    old = [len(line) for line in lines_of(output, committed(cursors, output)) if _is_old(line, pruning.before)]
    return Removed(str(output), "line", len(old), sum(old), True)


def _is_old(line: bytes, before: str) -> bool:
    """Whether a score line is older than ``before``; False for a line without a time."""
    try:
        when = json.loads(line).get("scored_at")
    except (ValueError, AttributeError, RecursionError):
        return False
    return isinstance(when, str) and when < before


# ---------------------------------------------------------------- queues
def _read_by_all(queue: Path, outputs: Sequence[Path]) -> int:
    """The highest queue id that every output has read, or 0; raises UsageError for a missing queue or outputs."""
    if not queue.is_file():
        raise UsageError(f"there is no queue {queue}")
    if not outputs:
        raise UsageError(
            f"give --scored-by OUTPUT for each stream that reads {queue}: rows that any has not read are kept"
        )

    def question(connection: sqlite3.Connection) -> set[str]:
        if "queue" not in tables(connection):
            raise UsageError(f"{queue} holds no table 'queue'")
        return identities(connection, queue)

    names = ask(queue, question)
    return min(_position(output, queue, names) for output in outputs)


def _position(output: Path, queue: Path, names: set[str]) -> int:
    def question(connection: sqlite3.Connection) -> list[tuple[str, str]]:
        return connection.execute("SELECT consumer, state FROM cursor").fetchall()

    former = f"queue:{queue.resolve()}"
    cursors = {name: json.loads(state) for name, state in ask(state_of(output), question)}
    mine = [c for name, c in cursors.items() if c.get("queue") in names or (name == former and "queue" not in c)]
    if not mine:
        raise UsageError(
            f"{output} holds no position of {queue}: its stream has not read it; name the output of one that has"
        )
    return min(cursor.get("id") or 0 for cursor in mine)


_TIME = "(CASE WHEN enqueued_at GLOB '*-*-*' THEN julianday(enqueued_at) END)"


def _queue(queue: Path, last: int, pruning: Pruning) -> Iterator[Removed]:
    """Remove the rows that all streams have read and that, if they carry a time, are old."""

    def chosen(connection: sqlite3.Connection) -> tuple[_Rows, int]:
        timed = any(row[1] == "enqueued_at" for row in connection.execute("PRAGMA table_info(queue)"))
        if not timed:
            return _Rows("queue", "id <= ?", (last,), "queue row"), 0
        unread = f"SELECT COUNT(*) FROM queue WHERE id <= ? AND enqueued_at IS NOT NULL AND {_TIME} IS NULL"
        condition = f"id <= ? AND (enqueued_at IS NULL OR {_TIME} < julianday(?))"
        return _Rows("queue", condition, (last, pruning.before), "queue row"), connection.execute(
            unread, (last,)
        ).fetchone()[0]

    def question(connection: sqlite3.Connection) -> tuple[_Rows, int, tuple[int, int]]:
        rows, undated = chosen(connection)
        return rows, undated, rows.measure(connection)

    rows, undated, found = ask(queue, question)
    if found[0] and not pruning.dry_run:
        with closing(sqlite3.connect(queue, timeout=30, isolation_level=None)) as connection, disk_errors(str(queue)):
            rows.delete(connection, lambda: None)
    notes = [f"{counted(undated, 'row')} kept: enqueued_at is no date and time"] if undated else []
    yield Removed(QUEUE + str(queue), rows.what, *found, pruning.dry_run, notes)
