"""Scores as JSON lines; cursors, dead letters and the committed length of the file in ``<output>.state.db``.

The lines are appended inside the transaction that moves the cursor, so that no one else can write meanwhile. If a
process is killed, the next start truncates the file to its committed length.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from serving.crash import crash_point
from serving.errors import TemporaryError, UsageError
from serving.files import disk_errors
from serving.sinks import Commit, Tail
from serving.sinks.rewrite import LENGTH, committed, settle
from serving.sinks.state import StateDatabase, make_file
from serving.sources import Cursor


class LinesSink:
    """Writes one line per score, with ``record`` and ``contributions`` as JSON objects."""

    def __init__(self, output: Path) -> None:
        self.output, self.state = output, output.with_name(output.name + ".state.db")
        if not self.state.exists() and output.exists() and output.stat().st_size:
            raise UsageError(f"{output} was not written by a stream; choose another --output, or move the file away")
        self.database = StateDatabase(self.state)
        self.file: BinaryIO | None = None
        try:
            with disk_errors(str(output)):
                self._open()
        except BaseException:
            self.abandon()
            raise

    def _open(self) -> None:
        """Open the file and truncate it to its committed length."""
        settle(self.database, self.output)
        connection = self.database.connection
        connection.execute("BEGIN IMMEDIATE")  # waits for a stream that is still writing
        try:
            length = committed(self.database.cursors(), self.output)
            make_file(self.output, self.database.made)
            self.file = self.output.open("r+b")
            self.file.truncate(length)
        finally:
            connection.execute("ROLLBACK")

    def _length(self) -> int:
        return int(self.database.cursors().get(LENGTH, {}).get("bytes", 0))

    def cursors(self) -> dict[str, Cursor]:
        """All committed cursors of sources."""
        return {name: cursor for name, cursor in self.database.cursors().items() if name != LENGTH}

    def name(self, consumer: str, label: str) -> str:
        """As ``Sink.name``."""
        return self.database.name(consumer, label)

    def commit(self, commit: Commit) -> None:
        """Append and fsync the lines inside the transaction that moves the cursor."""
        with disk_errors(str(self.output)):
            self.database.commit(commit, lambda: self._append(commit.scores))

    def _append(self, scores: Any) -> None:
        assert self.file is not None
        if not os.path.samestat(os.fstat(self.file.fileno()), self.output.stat()):
            raise TemporaryError(f"{self.output} was replaced by another process; run the same command again")
        self.file.seek(self._length())
        self.file.truncate()
        for score in scores:
            self.file.write(line_of(score) + b"\n")
        self.file.flush()
        os.fsync(self.file.fileno())
        self.database.move(LENGTH, {"bytes": self.file.tell()})
        crash_point("lines_appended")

    def dead_letters(self) -> list[tuple[str, int, bytes]]:
        """All dead letters."""
        return self.database.dead_letters()

    def tails(self, consumer: str) -> list[Tail]:
        """The committed tails of a source."""
        return self.database.tails(consumer)

    def close(self) -> None:
        """Close file and database."""
        if self.file is not None:
            self.file.close()
        self.database.close()

    def abandon(self) -> None:
        """Close, and delete the files that this run created."""
        if self.file is not None:
            self.file.close()
        self.database.abandon()


def line_of(score: dict[str, Any]) -> bytes:
    """A score as one line of JSON. Its record is inserted verbatim if it is standard JSON."""
    kept = {key: value for key, value in score.items() if value is not None}
    record = kept.pop("record", None)
    line = json.dumps(kept, allow_nan=False)
    if record is not None:
        line = f'{line[:-1]}, "record": {_as_json(record)}}}'
    return line.encode()


def _as_json(record: str) -> str:
    """The record verbatim, or as a JSON string if it is not standard JSON, for example because of ``NaN``."""
    # A scored record was parsed already, which allowed only these beyond standard JSON.
    if "NaN" in record or "Infinity" in record or record.startswith("\ufeff"):
        try:
            json.loads(record, parse_constant=_reject)
        except (ValueError, RecursionError):
            return json.dumps(record)
    # JSON strings cannot contain raw line breaks, so these are whitespace between tokens.
    return record.removeprefix("\ufeff").replace("\r", " ").replace("\n", " ")


def _reject(constant: str) -> float:
    raise ValueError(constant)
