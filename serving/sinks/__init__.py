"""Sinks commit scores, dead letters and the source's cursor together.

To add a sink, write one module and add a row to ``ENDINGS``.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from serving.errors import DataError, UsageError
from serving.readonly import ask, tables
from serving.sources import Cursor, Gap
from serving.unseen import NONE, Unseen

ENDINGS: dict[str, tuple[str, str]] = {
    ".db": ("serving.sinks.database", "DatabaseSink"),
    ".jsonl": ("serving.sinks.lines", "LinesSink"),
}
REPLAY = "replay"  # the cursor for replaying dead letters


@dataclass(frozen=True)
class DeadLetter:
    """A record that could not be scored."""

    source: str
    position: int
    body: bytes
    reason: str


@dataclass(frozen=True)
class Tail:
    """The last rows of a key of a stream, as bytes, with the key's last time (``serving.memory``).

    ``seen`` orders the keys of a source by when they were last seen.
    """

    key: str
    seen: int
    time: float
    rows: bytes


@dataclass(frozen=True)
class Tails:
    """A change of the tails of a source: those ``written``, and keys ``dropped``; ``cleared``: all others go."""

    written: Sequence[Tail] = ()
    dropped: Sequence[str] = ()
    cleared: bool = False


@dataclass(frozen=True)
class Commit:
    """A micro-batch: its scores and dead letters, and the move of the cursor.

    ``consumer`` names the cursor, which must still be ``before`` when it is set to ``after``. ``stamp`` is (model
    version, time). ``replayed`` names the dead letters that this commit removes. ``alarms`` are JSON objects for the
    alarm hook, as text. ``waiting`` counts records that complete no window yet, ``unseen`` scored ones whose key has no
    level, and ``tails`` holds the last rows that changed.
    """

    consumer: str
    before: Cursor
    after: Cursor
    scores: Sequence[dict[str, Any]]
    dead: Sequence[DeadLetter]
    stamp: tuple[str, str]
    gaps: Sequence[Gap] = ()
    replayed: Sequence[tuple[str, int]] = ()
    alarms: Sequence[str] = ()
    waiting: int = 0
    unseen: Unseen = NONE
    tails: Tails = Tails()


class Sink(Protocol):
    """Commits micro-batches atomically. ``state`` is the SQLite database that holds the cursors."""

    state: Path

    def cursors(self) -> dict[str, Cursor]:
        """All committed cursors by source id."""

    def name(self, consumer: str, label: str) -> str:
        """The name of a source in the scores: its label, or a unique name if another source has this label."""

    def commit(self, commit: Commit) -> None:
        """Write scores, dead letters and gaps and move the cursor.

        Raises TemporaryError if the disk is full, the database stays locked, or another stream moved the cursor.
        """

    def dead_letters(self) -> list[tuple[str, int, bytes]]:
        """All dead letters: source, position, bytes."""

    def tails(self, consumer: str) -> list[Tail]:
        """The committed tails of a source."""

    def close(self) -> None:
        """Close files and databases."""

    def abandon(self) -> None:
        """Close, and delete the files that this run created; only if nothing was committed."""


def lease_of(output: Path) -> Path:
    """The lease file of an output."""
    return output.with_name(output.name + ".lease")


def state_of(output: Path) -> Path:
    """The database with the cursors of an existing output; only reads.

    Raises UsageError if no stream wrote the file, and TemporaryError if its database is locked.
    """
    if not output.exists():
        raise UsageError(f"there is no {output}; name the output of `stream` (.db, .jsonl) or the folder of `score`")
    state = output if output.suffix == ".db" else output.with_name(output.name + ".state.db")
    if output.suffix not in ENDINGS or not state.is_file():
        raise UsageError(f"{output} is neither the output of `stream` (.db, .jsonl) nor the folder of `score`")
    try:
        held = ask(state, tables)
    except DataError as error:
        raise UsageError(f"{output} is no output of `stream`: {error}") from error
    if not {"cursor", "dead_letters"} <= held:
        raise UsageError(f"{output} is no output of `stream`: {state} holds no positions")
    return state


def sink_of(output: Path) -> str:
    """The ending that selects the sink of an output; raises UsageError for other endings or a missing folder."""
    if output.suffix not in ENDINGS:
        raise UsageError(f"the output must end in .db (SQLite) or .jsonl (JSON lines); got {output.name!r}")
    if not output.parent.is_dir():
        raise UsageError(f"there is no folder {output.parent}; create it first")
    return output.suffix


def open_sink(output: Path) -> Sink:
    """Open the sink for an output's ending; creates the output if it does not exist."""
    module, name = ENDINGS[sink_of(output)]
    return cast(Sink, getattr(importlib.import_module(module), name)(output))
