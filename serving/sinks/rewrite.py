"""Rewrites a file of score lines without some of them. After a crash it is either the old or the new file.

| step | state after a crash | why it is safe |
|---|---|---|
| 1 write the kept lines to a temporary file, fsync | an extra file | the next start deletes it |
| 2 commit the new length in addition to the old one | old file, both lengths | its size is the old length: undo |
| 3 rename | new file, both lengths | its size is the new length: finish |
| 4 commit the new length alone | done | |
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from serving.crash import crash_point
from serving.errors import DataError
from serving.files import disk_errors, sync_folder
from serving.lease import Claim
from serving.sinks.counts import count_removed
from serving.sinks.state import StateDatabase

LENGTH = "jsonl"  # the cursor that holds the committed length


def committed(cursors: dict[str, dict[str, Any]], output: Path) -> int:
    """The committed length of a file in bytes; raises DataError if the file is shorter."""
    cursor = cursors.get(LENGTH, {})
    size, length = output.stat().st_size if output.exists() else 0, int(cursor.get("bytes", 0))
    if size == cursor.get("rewritten"):
        return size
    if size < length:
        raise DataError(
            f"{output} is shorter than the {length:,} bytes committed to it; restore it, or start a new one"
        )
    return length


def settle(database: StateDatabase, output: Path) -> int:
    """Finish or undo an interrupted rewrite; returns the committed length. Needs the output's lease."""
    cursors = database.cursors()
    length = committed(cursors, output)
    if "rewritten" in cursors.get(LENGTH, {}):
        done = length == cursors[LENGTH]["rewritten"]
        _commit(database, {"bytes": length}, cursors[LENGTH].get("lines", 0) if done else 0)
    with disk_errors(str(output)):
        _beside(output).unlink(missing_ok=True)
    return length


def rewrite(database: StateDatabase, output: Path, keep: Callable[[bytes], bool], claim: Claim) -> tuple[int, int]:
    """Drop the lines for which ``keep`` is False; returns the number of lines and bytes removed.

    ``claim`` is that of the output's lease.
    """
    length, new = settle(database, output), _beside(output)
    lines = kept = 0
    try:
        with disk_errors(str(output)), new.open("wb") as file:
            for line in lines_of(output, length):
                if keep(line):
                    kept += file.write(line)
                else:
                    lines += 1
            file.flush()
            os.fsync(file.fileno())
        if not lines:
            return 0, 0
        with disk_errors(str(output)):
            shutil.copymode(output, new)
        crash_point("lines_rewritten")
        with claim.guard():
            _swap(database, output, length, kept, lines)
        return lines, length - kept
    finally:
        new.unlink(missing_ok=True)


def _swap(database: StateDatabase, output: Path, length: int, kept: int, lines: int) -> None:
    _commit(database, {"bytes": length, "rewritten": kept, "lines": lines})
    crash_point("rewrite_noted")
    with disk_errors(str(output)):
        _beside(output).replace(output.resolve())
        sync_folder(output.resolve().parent)
    crash_point("lines_replaced")
    _commit(database, {"bytes": kept}, lines)
    crash_point("rewrite_settled")


def lines_of(output: Path, length: int) -> Iterator[bytes]:
    """The committed lines, including their line ends."""
    if not length:
        return
    with output.open("rb") as file:
        while length and (line := file.readline(length)):
            length -= len(line)
            yield line


def _beside(output: Path) -> Path:
    """The path of the temporary file: beside the file itself, even if ``output`` is a link."""
    target = output.resolve()
    return target.with_name(f".{target.name}.rewritten")


def _commit(database: StateDatabase, cursor: dict[str, Any], removed: int = 0) -> None:
    with disk_errors(str(database.path)):
        database.connection.execute("BEGIN IMMEDIATE")
        try:
            database.move(LENGTH, cursor)
            count_removed(database.connection, "scores", removed)
            database.connection.execute("COMMIT")
        except BaseException:
            if database.connection.in_transaction:
                database.connection.execute("ROLLBACK")
            raise
