"""Verifies the output of a stream: each record is one score row or one dead letter, and none is missing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serving.errors import IntegrityError
from serving.readonly import ask, tables
from serving.sinks import state_of
from serving.sinks.rewrite import committed, lines_of
from serving.sources.sqlite_queue import identities
from serving.wording import counted

AGAIN = "restore the file from a backup, or score the records again into a new --output"
Places = dict[str, np.ndarray]


def verify_stream(output: Path) -> dict[str, Any]:
    """Verify a stream's output (.db, .jsonl) and return its counts; only reads, also while a stream writes it.

    Checks that the file is readable, that no record has two score rows, or a score row and a dead letter, and that
    there are as many rows as were committed. Of a SQLite queue that still exists, each row up to the committed position
    must be in the output, from the oldest row that was not pruned on; models of windows leave rows without a score, so
    that theirs are only counted.

    Raises UsageError if no stream wrote the file, IntegrityError naming the first record that is wrong, DataError if a
    file is damaged, and TemporaryError if its database is locked.
    """
    state = state_of(output)
    held = ask(state, lambda connection: _held(connection, output))
    scored, dead = held.scores, held.dead
    for source, places in scored.items():
        values, counts = np.unique(places, return_counts=True)
        if (counts > 1).any():
            raise IntegrityError(f"{output}: record {values[counts > 1][0]:,} of {source} has two score rows; {AGAIN}")
        both = np.intersect1d(values, dead.get(source, np.arange(0)))
        if len(both):
            raise IntegrityError(f"{output}: record {both[0]:,} of {source} has a score row and a dead letter; {AGAIN}")
    rows = sum(map(len, scored.values()))
    _check_total(output, rows, held)
    sources = [_source(output, name, held) for name in sorted(held.names)]
    return {
        "kind": "stream", "scored": rows, "dead_letters": sum(map(len, dead.values())), "pruned": held.pruned,
        "dropped": held.dropped,
        "gaps": held.gaps, "counted": held.committed is not None, "sources": sources,
    }  # fmt: skip


def stream_line(found: dict[str, Any]) -> str:
    """The counts of ``verify_stream`` as text."""
    said = (
        f"{counted(found['scored'], 'score row')} and {counted(found['dead_letters'], 'dead letter')}: each record once"
    )
    if found["pruned"]:
        said += f"; {counted(found['pruned'], 'row')} pruned"
    if found["dropped"]:
        said += f"; {counted(found['dropped'], 'dead letter')} dropped"
    if found["gaps"]:
        said += f"; {counted(found['gaps'], 'gap')}, where records may be lost"
    if not found["counted"]:
        said += "; an earlier release wrote part of it, so that its rows were not compared with what was committed"
    return "\n".join([said, *(f"  {source['name']}: {source['checked']}" for source in found["sources"])])


@dataclass(frozen=True)
class _Held:
    """What an output holds: positions by source, cursors and names by consumer, and what was committed and removed.

    ``committed`` is None if an earlier release wrote part of the output and did not count it.
    """

    scores: Places
    dead: Places
    cursors: dict[str, Any]
    names: dict[str, str]
    committed: int | None
    pruned: int
    dropped: int
    gaps: int


def _held(connection: sqlite3.Connection, output: Path) -> _Held:
    """Read the database, and the lines that its cursor counts, on one state."""
    if (said := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise IntegrityError(f"{output}: its database is damaged ({said}); {AGAIN}")
    found = tables(connection)

    def rows(table: str, question: str) -> list[Any]:
        return connection.execute(question).fetchall() if table in found else []

    cursors = {name: json.loads(state) for name, state in rows("cursor", "SELECT consumer, state FROM cursor")}
    if output.suffix == ".db":
        scores = _places(rows("scores", "SELECT source, position FROM scores"))
    else:
        scores = _places(_of_lines(output, committed(cursors, output)))
    removed = dict(rows("removed", "SELECT what, rows FROM removed"))
    total = rows("totals", "SELECT TOTAL(scored) FROM totals")
    return _Held(
        scores,
        _places(rows("dead_letters", "SELECT source, position FROM dead_letters")),
        cursors,
        {consumer: name for consumer, name in rows("sources", "SELECT consumer, name FROM sources")},
        int(total[0][0]) if removed and "uncounted" not in removed else None,
        removed.get("scores", 0),
        removed.get("dead_letters", 0),
        sum(count for (count,) in rows("gaps", "SELECT COUNT(*) FROM gaps")),
    )


def _of_lines(output: Path, length: int) -> Iterator[tuple[str, int]]:
    for number, line in enumerate(lines_of(output, length)):
        try:
            score = json.loads(line)
            yield score["source"], int(score["position"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise IntegrityError(f"{output}: line {number + 1:,} is no score row; {AGAIN}") from error


def _places(rows: Any) -> Places:
    found: dict[str, list[int]] = {}
    for source, position in rows:
        found.setdefault(source, []).append(position)
    return {source: np.array(positions, np.int64) for source, positions in found.items()}


def _check_total(output: Path, rows: int, held: _Held) -> None:
    if held.committed is None or rows + held.pruned == held.committed:
        return
    gone = held.committed - held.pruned - rows
    many, was = counted(abs(gone), "score row"), "was" if abs(gone) == 1 else "were"
    what = f"{many} of those committed {was} deleted" if gone > 0 else f"{many} {was} added by another program"
    raise IntegrityError(f"{output}: {what}; {AGAIN}")


def _source(output: Path, consumer: str, held: _Held) -> dict[str, Any]:
    """A source by its name, and what of it was compared with the output."""
    name, cursor = held.names[consumer], held.cursors.get(consumer, {})
    mine = [places[name] for places in (held.scores, held.dead) if name in places]
    places = np.concatenate(mine) if mine else np.arange(0)
    checked = "counts alone"
    if cursor.get("scheme") == "sqlite" and "windows" not in cursor and cursor.get("id") is not None:
        checked = _of_queue(output, name, cursor, places, held)
    return {"name": name, "id": consumer, "records": len(places), "checked": checked}


def _of_queue(output: Path, name: str, cursor: dict[str, Any], places: np.ndarray, held: _Held) -> str:
    """Compare a queue's rows up to the committed position with the output; dropped dead letters may be missing."""
    path, last = Path(cursor["path"]), cursor["id"]
    if not path.is_file():
        return f"counts alone: {path} is gone"
    first = int(places.min()) if held.pruned and len(places) else None

    def question(connection: sqlite3.Connection) -> np.ndarray | None:
        if "queue" not in tables(connection) or cursor["queue"] not in identities(connection, path):
            return None
        query = "SELECT id FROM queue WHERE id <= ? AND (? IS NULL OR id >= ?)"
        return np.array([row[0] for row in connection.execute(query, (last, first, first))], np.int64)

    ids = ask(path, question)
    if ids is None:
        return f"counts alone: {path} is another queue now"
    missing = np.setdiff1d(ids, places)
    if len(missing) > held.dropped:
        raise IntegrityError(
            f"{output}: {counted(len(missing), 'row')} of {name} up to id {last:,} have neither a score row nor a dead "
            f"letter, the first one id {missing[0]:,}; {AGAIN}"
        )
    since = "" if first is None else f" from id {first:,}"
    but = f" but {len(missing):,}, as many as dead letters may have been dropped" if len(missing) else ""
    return f"all {counted(len(ids), 'row')} of the queue{since} up to id {last:,}{but}"


__all__ = ["stream_line", "verify_stream"]
