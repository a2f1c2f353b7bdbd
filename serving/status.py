"""Reports the progress of a stream's output or a batch folder; only reads (docs/delivery.md)."""

from __future__ import annotations

import json
import sqlite3
import textwrap
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serving.errors import DataError
from serving.files import read_json
from serving.layout import (
    COMMITS,
    LEASE,
    MANIFEST,
    NOTES,
    OLD_MANIFEST,
    OLD_PLAN,
    PLAN,
    is_run,
    noted,
    read_manifest,
)
from serving.lease import holder_of
from serving.readonly import ask, tables
from serving.sinks import REPLAY, lease_of, state_of
from serving.sinks.counts import DAY
from serving.sinks.rewrite import LENGTH
from serving.sources import Standing, standing
from serving.waiting import waiting_rows
from serving.wording import counted

# First and last minute of each window, relative to the current minute.
WINDOWS = {"this_minute": (0, 0), "last_minute": (-1, -1), "last_hour": (-59, 0), "last_day": (-DAY + 1, 0)}
WIDTH = 80
Row = dict[str, Any]


def status(path: Path, now: float | None = None) -> Row:
    """Figures of a stream's output (``kind`` "stream") or of a batch folder ("batch"), as JSON values.

    ``now`` is in seconds since 1970. Times are ISO 8601 in UTC; values that an earlier release did not record are
    None. Raises UsageError if ``path`` is neither, and TemporaryError if its database is locked.
    """
    now = time.time() if now is None else now
    if path.is_dir() and is_run(path):
        return _batch(path, now)
    return _stream(path, state_of(path), now)


def text(found: Row) -> str:
    """The figures as text, at most 80 columns wide unless a single word is longer."""
    lines = (_stream_lines if found["kind"] == "stream" else _batch_lines)(found)
    return "\n".join(part for line in lines for part in _folded(line))


def _folded(line: str) -> list[str]:
    """A line wrapped at 80 characters; words are not broken."""
    if len(line) <= WIDTH:
        return [line]
    return textwrap.wrap(line, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


# ---------------------------------------------------------------- streams
@dataclass(frozen=True)
class _Read:
    """The contents of a stream's database."""

    cursors: dict[str, Row]
    names: dict[str, str]
    totals: dict[str, tuple[float, float, int, int]]
    rates: dict[str, Row]
    dead: int
    gaps: int
    alarms: Row


def _question(connection: sqlite3.Connection, now: float) -> _Read:
    held = tables(connection)

    def rows(table: str, question: str, *values: Any) -> list[Any]:
        return connection.execute(question, values).fetchall() if table in held else []

    cursors = {name: json.loads(state) for name, state in rows("cursor", "SELECT consumer, state FROM cursor")}
    minute = int(now // 60)
    rates: dict[str, Row] = {}
    for window, (first, last) in WINDOWS.items() if "minutes" in held else ():
        query = "SELECT TOTAL(scored), TOTAL(anomalies), TOTAL(dead) FROM minutes WHERE minute BETWEEN ? AND ?"
        found = connection.execute(query, (minute + first, minute + last)).fetchone()
        rates[window] = dict(zip(("scored", "anomalies", "dead_letters"), map(int, found), strict=True))
    waiting = rows("alarms", "SELECT COUNT(*), COUNT(dead_at), MAX(reason) FROM alarms") or [(0, 0, None)]
    return _Read(
        {name: cursor for name, cursor in cursors.items() if name not in (LENGTH, REPLAY)},
        dict(rows("sources", "SELECT consumer, name FROM sources")),
        {row[0]: row[1:] for row in rows("totals", "SELECT * FROM totals")},
        rates,
        connection.execute("SELECT COUNT(*) FROM dead_letters").fetchone()[0],
        sum(count for (count,) in rows("gaps", "SELECT COUNT(*) FROM gaps")),
        {"waiting": waiting[0][0] - waiting[0][1], "dead": waiting[0][1], "reason": waiting[0][2]},
    )


def _stream(output: Path, state: Path, now: float) -> Row:
    read = ask(state, lambda connection: _question(connection, now))
    totals = list(read.totals.values())
    return {
        "kind": "stream", "path": str(output), "holder": _holder(lease_of(output), now),
        "sources": [_source(name, read, state) for name in sorted(read.names.keys() | read.cursors.keys())],
        "counted_since": _time(min((since for since, *_ in totals), default=None)),
        "last_commit": _time(max((at for _, at, *_ in totals), default=None)),
        "scored": sum(row[2] for row in totals) if totals else None,
        "anomalies": sum(row[3] for row in totals) if totals else None,
        "dead_letters": read.dead, "gaps": read.gaps, "alarms": read.alarms, "rates": read.rates,
    }  # fmt: skip


def _source(name: str, read: _Read, state: Path) -> Row:
    cursor, total = read.cursors.get(name), read.totals.get(name)
    found = Standing("", note="nothing was committed yet") if cursor is None else standing(cursor, state)
    return {
        "name": read.names.get(name, name), "id": name, **asdict(found), "cursor": cursor,
        "last_commit": _time(total and total[1]), "scored": total and total[2], "anomalies": total and total[3],
    }  # fmt: skip


def _stream_lines(found: Row) -> Iterator[str]:
    yield found["path"]
    yield f"  {_held(found['holder'])}"
    for source in found["sources"]:
        behind = f", {counted(source['behind'], source['unit'])} behind" if source["behind"] is not None else ""
        yield f"  {source['name']}"
        yield f"    {'at ' + source['position'] if source['position'] else 'position not known'}{behind}"
        if source["last_commit"]:
            yield f"    last commit {_short(source['last_commit'])}"
        if source["note"]:
            yield f"    {source['note']}"
    dead, gaps = counted(found["dead_letters"], "dead letter"), counted(found["gaps"], "gap")
    yield f"  {dead}, {gaps}{_alarms(found['alarms'])}"
    if found["scored"] is None:
        yield "  scores were not counted by the release that wrote it"
        return
    yield f"  {'scored':>22}{'anomalies':>14}{'dead letters':>16}"
    total = found["scored"], found["anomalies"]
    for window, counts in found["rates"].items():
        row = counts["scored"], counts["anomalies"], counts["dead_letters"]
        yield f"  {window.replace('_', ' '):<11}{row[0]:>11,}{row[1]:>14,}{row[2]:>16,}"
    yield f"  {'in all':<11}{total[0]:>11,}{total[1]:>14,}   (since {_short(found['counted_since'])})"


def _alarms(alarms: Row) -> str:
    said = [f"{counted(alarms[key], 'alarm')} {word}" for key, word in (("waiting", "waiting"), ("dead", "undelivered"))
            if alarms[key]]  # fmt: skip
    return "".join(f", {part}" for part in said)


# ---------------------------------------------------------------- batch folders
def _batch(folder: Path, now: float) -> Row:
    holder = _holder(folder / LEASE, now)
    manifest = next((folder / name for name in (MANIFEST, OLD_MANIFEST) if (folder / name).exists()), None)
    done = _finished(folder, manifest) if manifest else _unfinished(folder)
    return {
        "kind": "batch", "path": str(folder), "holder": holder, "finished": manifest is not None,
        "finished_at": _time(manifest.stat().st_mtime) if manifest else None, **done,
    }  # fmt: skip


def _finished(folder: Path, manifest: Path) -> Row:
    values = read_manifest(folder, DataError)
    units = len(values["parts"])
    done = values["rows"] + values["dead"] + waiting_rows(values)
    rows = {"rows": done, "rows_in_all": done}
    return {
        "units": units, "units_in_all": units, **rows, "scored": values["rows"], "anomalies": values["anomalies"],
        "dead_letters": values["dead"], "last_commit": _time(manifest.stat().st_mtime),
    }  # fmt: skip


def _unfinished(folder: Path) -> Row:
    plan = read_json(next(p for p in (folder / PLAN, folder / OLD_PLAN) if p.exists()), DataError)
    units = {unit["id"]: unit["rows"] for unit in plan["units"]}
    commits = [(path, commit) for path in (folder / COMMITS).glob(NOTES)
               if noted(path) in units and (commit := _commit(path)) is not None]  # fmt: skip
    scored, dead, anomalies = (sum(c.get(key, 0) for _, c in commits) for key in ("rows", "dead", "anomalies"))
    waiting = sum(waiting_rows(commit) for _, commit in commits)
    return {
        "units": len(commits), "units_in_all": len(units), "rows": scored + dead + waiting,
        "rows_in_all": sum(units.values()), "scored": scored, "anomalies": anomalies, "dead_letters": dead,
        "last_commit": _time(max((commit["at"] for _, commit in commits), default=None)),
    }  # fmt: skip


def _commit(path: Path) -> Row | None:
    """A commit and its time; None if a replacing run deleted it meanwhile."""
    try:
        return {**json.loads(path.read_text(encoding="utf-8")), "at": path.stat().st_mtime}
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); run the same score command again") from error


def _batch_lines(found: Row) -> Iterator[str]:
    done = f"finished {_short(found['finished_at'])}" if found["finished"] else "not finished"
    yield found["path"]
    yield f"  {done}, {_held(found['holder'])}"
    last = f", last commit {_short(found['last_commit'])}" if found["last_commit"] and not found["finished"] else ""
    yield f"  {found['units']:,} of {counted(found['units_in_all'], 'unit')}, {found['rows']:,} of " \
          f"{counted(found['rows_in_all'], 'row')}{last}"  # fmt: skip
    flagged, dead = counted(found["anomalies"], "anomaly", "anomalies"), counted(found["dead_letters"], "dead letter")
    yield f"  {found['scored']:,} scored, {flagged}, {dead}"


# ---------------------------------------------------------------- both
def _holder(lease: Path, now: float) -> Row | None:
    holder = holder_of(lease, now)
    return None if holder is None else {"name": holder.name, "heartbeat": round(holder.age, 1), "alive": holder.alive}


def _held(holder: Row | None) -> str:
    if holder is None:
        return "no writer"
    beat = f"heartbeat {holder['heartbeat']:.0f} s ago"
    return f"written by {holder['name']} ({beat})" if holder["alive"] else f"no writer ({holder['name']} ended)"


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _short(when: str) -> str:
    return when[:19].replace("T", " ")
