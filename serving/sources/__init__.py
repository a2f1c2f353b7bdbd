"""Where records come from: one protocol, one table of schemes. A new source is one file and one row of ``SCHEMES``.

A leaf module has a class that is called with the location behind its scheme and ``follow``; the constructor checks
that there is something to read, and writes nothing. Beside it stands ``standing(cursor, state)``, which says how much
lies behind a committed cursor, and changes nothing. Cursors hold their ``scheme``. Leaves are imported when they are
named.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from serving.errors import ServingError, UsageError

Cursor = dict[str, Any]
# Scheme: the leaf's module and class, and the extra that brings what it needs.
SCHEMES: dict[str, tuple[str, str, str]] = {
    "-": ("serving.sources.pipe", "Pipe", ""),
    "file": ("serving.sources.growing_file", "open_path", ""),
    "sqlite": ("serving.sources.sqlite_queue", "SqliteQueue", ""),
}
LARGEST_KEPT = 64 << 20  # bytes of one record that are held in memory and kept


@dataclass(frozen=True)
class Record:
    """One raw record: the name of its source, its position there (unique and increasing), and its bytes.

    ``size`` is the record's whole length where ``body`` is only its beginning.
    """

    source: str
    position: int
    body: bytes
    size: int | None = None


@dataclass(frozen=True)
class Gap:
    """Records that may be lost: where, and why nobody can know."""

    source: str
    position: int
    reason: str


@dataclass(frozen=True)
class Standing:
    """How far a source was read: its position for people, and how many rows, bytes or lines lie behind it.

    ``behind`` is None where that cannot be known; ``note`` says why, or what else a person must know.
    """

    position: str
    behind: int | None = None
    unit: str = ""
    note: str = ""


class Source(Protocol):
    """Polled by the stream; never advances by itself: the cursor moves when the sink has committed.

    ``id`` names the cursor in the sink, once ``resume`` was called; ``label`` is the name for people, and the first
    part of ``Record.source``; the stream replaces it where another source of the sink has the same.
    """

    id: str
    label: str

    def resume(self, known: Mapping[str, Cursor], state: Path) -> None:
        """Find this source's cursor among those that the sink has committed, and go on from there.

        The source is recognised by its own identity, wherever it lies now. ``state`` is the sink's SQLite database.
        """

    def poll(self, limit: int) -> list[Record]:
        """Up to ``limit`` records after the last committed cursor and all polled since; may be empty."""

    def cursor(self) -> Cursor:
        """State after the records polled so far, to be committed with their scores (JSON values)."""

    def gaps(self) -> list[Gap]:
        """What was found to be lost since the last call."""

    def committed(self) -> None:
        """All that was polled is committed: what was kept for it may go."""

    def finished(self) -> bool:
        """Whether no record will ever come again."""

    def left(self) -> str:
        """What is there and was not taken, such as an unfinished last line, for people; empty if there is nothing."""

    def close(self) -> None:
        """Let go of files and threads."""


def find_source(url: str, follow: bool) -> Source:
    """The source that ``url`` names: ``-``, a path, or ``scheme:…``.

    Raises UsageError where there is no such scheme or place or an extra is not installed, DataError where it holds
    something else, TemporaryError where it is locked.
    """
    scheme, location = _parted(url)
    module, name, extra = SCHEMES[scheme]
    try:
        leaf = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise UsageError(f"reading {scheme}: needs an extra: pip install 'ganlib[{extra}]'") from error
    return cast(Source, leaf(location, follow))


def standing(cursor: Cursor, state: Path) -> Standing:
    """How far the source of a committed cursor was read; ``state`` is the sink's SQLite database. Changes nothing."""
    scheme = cursor.get("scheme")
    if scheme is None:
        return Standing("", note="its position was written by an earlier release; known once a stream commits again")
    if scheme not in SCHEMES:
        return Standing("", note=f"its scheme, {scheme}:, is not known to this release")
    try:
        return cast(Standing, importlib.import_module(SCHEMES[scheme][0]).standing(cursor, state))
    except (ServingError, OSError) as error:
        return Standing("", note=str(error))


def _parted(url: str) -> tuple[str, str]:
    if url == "-":
        return "-", url
    found = re.match(r"([a-z][a-z0-9+.]*):(//)?(.*)", url, re.S)
    if found and found[1] in SCHEMES:
        return found[1], found[3]
    if found and found[2]:
        known = ", ".join(f"{scheme}:" for scheme in SCHEMES if scheme != "-")
        raise UsageError(f"a stream cannot read {found[1]}://; use - (stdin), a path, or one of {known}")
    return "file", url


__all__ = ["LARGEST_KEPT", "SCHEMES", "Cursor", "Gap", "Record", "Source", "Standing", "find_source", "standing"]
