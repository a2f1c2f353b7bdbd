"""Where scores, dead letters and the source's cursor are committed together: one protocol, one table of endings.

A new sink is one file and one row of ``ENDINGS``.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from serving.errors import UsageError
from serving.sources import Cursor, Gap

ENDINGS: dict[str, tuple[str, str]] = {
    ".db": ("serving.sinks.database", "DatabaseSink"),
    ".jsonl": ("serving.sinks.lines", "LinesSink"),
}


@dataclass(frozen=True)
class DeadLetter:
    """A record that could not be scored."""

    source: str
    position: int
    body: bytes
    reason: str


@dataclass(frozen=True)
class Commit:
    """A micro-batch: what was read from where to where, and what became of it.

    ``consumer`` names the cursor, which must still be ``before`` when it becomes ``after``; ``stamp`` is (model
    version, time); ``replayed`` names dead letters that are settled by this commit.
    """

    consumer: str
    before: Cursor
    after: Cursor
    scores: Sequence[dict[str, Any]]
    dead: Sequence[DeadLetter]
    stamp: tuple[str, str]
    gaps: Sequence[Gap] = ()
    replayed: Sequence[tuple[str, int]] = ()


class Sink(Protocol):
    """Commits micro-batches, all or nothing. ``state`` is the SQLite database that holds the cursors."""

    state: Path

    def cursors(self) -> dict[str, Cursor]:
        """All committed cursors by the ids of their sources."""

    def name(self, consumer: str, label: str) -> str:
        """The name of a source in the scores: its label, or one of its own where another source has that already."""

    def commit(self, commit: Commit) -> None:
        """Write scores, dead letters and gaps and move the cursor.

        Raises TemporaryError where the disk is full, the database stays locked, or another stream moved the cursor.
        """

    def dead_letters(self) -> list[tuple[str, int, bytes]]:
        """All dead letters: source, position, bytes."""

    def close(self) -> None:
        """Close files and databases."""

    def abandon(self) -> None:
        """Close, and take away the files that this run created: nothing was committed to them."""


def sink_of(output: Path) -> str:
    """The ending that names the sink of an output; raises UsageError where none does."""
    if output.suffix not in ENDINGS:
        raise UsageError(f"the output must end in .db (SQLite) or .jsonl (JSON lines); got {output.name!r}")
    if not output.parent.is_dir():
        raise UsageError(f"there is no folder {output.parent}; make it first")
    return output.suffix


def open_sink(output: Path) -> Sink:
    """The sink that an output's ending names, made where it is not there yet."""
    module, name = ENDINGS[sink_of(output)]
    return cast(Sink, getattr(importlib.import_module(module), name)(output))
