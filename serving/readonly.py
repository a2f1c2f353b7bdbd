"""Read-only queries of a SQLite database. Neither the file nor its WAL is changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from serving.errors import DataError, TemporaryError

Answer = TypeVar("Answer")
ATTEMPTS, TIMEOUT = 5, 10.0  # TIMEOUT: seconds to wait for a lock
_WAL = 2  # at byte 18 of a database in WAL mode


def ask(path: Path, question: Callable[[sqlite3.Connection], Answer]) -> Answer:
    """Run a query on one consistent state, even while another process writes.

    Raises DataError if the file is not a SQLite database, and TemporaryError if it is locked or keeps changing.
    """
    try:
        for _ in range(ATTEMPTS):
            # A reader would create a missing WAL. Without a WAL, the file holds the whole state.
            if not _rests(path):
                return _answered(path, "mode=ro", question)
            before = path.stat()
            try:
                found = _answered(path, "mode=ro&immutable=1", question)
            except sqlite3.DatabaseError:
                if _rests(path) and _same(before, path):
                    raise
                continue
            if _rests(path) and _same(before, path):
                return found
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise TemporaryError(f"{path} is locked by another process ({error}); try again later") from error
        raise DataError(f"{path} cannot be read as a SQLite database ({error})") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from error
    raise TemporaryError(f"{path} is opened and closed again and again by another process; try again later")


def tables(connection: sqlite3.Connection) -> set[str]:
    """The names of all tables."""
    return {str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _rests(path: Path) -> bool:
    """Whether a database in WAL mode has no WAL file, which means that no one is writing."""
    with path.open("rb") as file:
        in_wal_mode = file.read(19)[18:19] == bytes([_WAL])
    return in_wal_mode and not path.with_name(path.name + "-wal").exists()


def _same(before: object, path: Path) -> bool:
    now = path.stat()
    return (now.st_ino, now.st_size, now.st_mtime_ns) == tuple(
        getattr(before, name) for name in ("st_ino", "st_size", "st_mtime_ns")
    )


def _answered(path: Path, mode: str, question: Callable[[sqlite3.Connection], Answer]) -> Answer:
    with closing(sqlite3.connect(f"file:{quote(str(path.resolve()))}?{mode}", uri=True, timeout=TIMEOUT)) as connection:
        connection.isolation_level = None
        connection.execute("BEGIN")
        return question(connection)
