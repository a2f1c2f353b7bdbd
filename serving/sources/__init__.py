"""Sources of records for a stream. To add a source, write one module and add a row to ``SCHEMES``.

A source module provides two things, and is imported only when its scheme is used:

- a class, called with the location after the scheme and ``follow``. Its constructor checks that there is something to
  read and writes nothing.
- ``standing(cursor, state)``, which reports how much input follows a committed cursor and changes nothing.

Cursors contain their ``scheme``.
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
# Scheme: module, class, and the extra that installs its dependencies.
SCHEMES: dict[str, tuple[str, str, str]] = {
    "-": ("serving.sources.pipe", "Pipe", ""),
    "file": ("serving.sources.growing_file", "open_path", ""),
    "sqlite": ("serving.sources.sqlite_queue", "SqliteQueue", ""),
    "redis": ("serving.sources.redis_stream", "open_plain", "redis"),
    "rediss": ("serving.sources.redis_stream", "open_tls", "redis"),
}
PAUSE = 0.05  # seconds between two polls of a source without news
LARGEST_KEPT = 64 << 20  # largest part of one record to keep, in bytes


@dataclass(frozen=True)
class Record:
    """One raw record: the name of its source, its position there (unique and increasing), and its bytes.

    ``size`` is the full length of the record if ``body`` is only its beginning.
    """

    source: str
    position: int
    body: bytes
    size: int | None = None


@dataclass(frozen=True)
class Gap:
    """A position at which records may be lost, and the reason."""

    source: str
    position: int
    reason: str


@dataclass(frozen=True)
class Standing:
    """How far a source was read: its position as text, and how many rows, bytes or lines are still unread.

    ``behind`` is None if that cannot be known; ``note`` gives the reason, or other information for a person.
    """

    position: str
    behind: int | None = None
    unit: str = ""
    note: str = ""


class Source(Protocol):
    """A source of records, polled by the stream. Its committed cursor moves only with a commit of the sink.

    ``id`` names the cursor in the sink and is set by ``resume``. ``label`` is the readable name and the first part of
    ``Record.source``; the stream replaces it if another source of the sink has the same label.
    """

    id: str
    label: str

    def resume(self, known: Mapping[str, Cursor], state: Path) -> None:
        """Find this source's cursor among the committed ones and continue from there.

        The source is recognised by its identity, even if it was moved. ``state`` is the sink's SQLite database.
        """

    def poll(self, limit: int) -> list[Record]:
        """Up to ``limit`` further records; may be empty."""

    def cursor(self) -> Cursor:
        """State after the records polled so far, to be committed with their scores (JSON values)."""

    def gaps(self) -> list[Gap]:
        """The gaps found since the last call."""

    def wait(self) -> None:
        """Wait a moment for further records; a signal must be seen within a second."""

    def committed(self) -> None:
        """Notification that all polled records are committed; the source may free what it kept for them."""

    def finished(self) -> bool:
        """Whether no more records will come."""

    def left(self) -> str:
        """A message about input that was not read, such as an unfinished last line; empty if there is none."""

    def close(self) -> None:
        """Close files and stop threads."""


def find_source(url: str, follow: bool) -> Source:
    """The source for ``url``: ``-``, a path, or ``scheme:…``.

    Raises UsageError if the scheme is unknown, the location does not exist or an extra is not installed; DataError if
    it holds other data; TemporaryError if it is locked.
    """
    scheme, location = _parted(url)
    module, name, extra = SCHEMES[scheme]
    try:
        leaf = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise UsageError(f"reading {scheme}: needs an extra: pip install 'ganlib[{extra}]'") from error
    return cast(Source, leaf(location, follow))


def standing(cursor: Cursor, state: Path) -> Standing:
    """How far the source of a committed cursor was read; ``state`` is the sink's SQLite database. Only reads."""
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


__all__ = [
    "LARGEST_KEPT",
    "PAUSE",
    "SCHEMES",
    "Cursor",
    "Gap",
    "Record",
    "Source",
    "Standing",
    "find_source",
    "standing",
]
