"""Atomic writes: temporary name, fsync, rename, fsync of the folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from serving.errors import TemporaryError, UsageError

# JSON files carry a checksum from this layout version on (serving/layout.py).
CHECKSUM, CHECKED = "checksum", 3
FULL = (errno.ENOSPC, errno.EDQUOT)
UNWRITABLE = (
    errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT, errno.ENAMETOOLONG,
    errno.ELOOP, errno.ENXIO, errno.EOPNOTSUPP,
)  # fmt: skip


def is_url(place: str | Path) -> bool:
    """Whether a location is a URL; also recognises slashes merged by ``Path`` (``http:/host``)."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(place)) is not None


def is_utf8(place: str | Path) -> bool:
    """Whether a file name is valid UTF-8. File systems allow any bytes; scores and JSON do not."""
    return not any("\ud800" <= letter <= "\udfff" for letter in str(place))


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Convert I/O errors while writing ``what`` (a file, or "in FOLDER") to errors with a message and exit code.

    Raises TemporaryError (75) for a full disk or a locked database, and UsageError (2) for a location that cannot be
    written. Other errors pass unchanged.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise _full(what) from error
        if error.errno in UNWRITABLE:
            raise _unwritable(what, error.strerror or str(error)) from error
        raise
    except sqlite3.Error as error:
        raise _sqlite_error(what, error) or error from error


def _full(what: str) -> TemporaryError:
    return TemporaryError(f"no space left while writing {what}; free some space and run again")


def _unwritable(what: str, reason: str) -> UsageError:
    return UsageError(f"cannot write {what} ({reason}); choose another --output")


def _sqlite_error(what: str, error: sqlite3.Error) -> Exception | None:
    """The same for SQLite's error codes; extended codes hold the primary code in their lowest byte."""
    code = getattr(error, "sqlite_errorcode", 0)
    # If the WAL index cannot grow on a full disk, SQLite reports "disk I/O error".
    if code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE:
        return _full(what)
    if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return TemporaryError(f"{what} is in use ({error}); stop the other user or wait for it, then run again")
    if code & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return _unwritable(what, str(error))
    return None


def temporary(path: Path) -> Path:
    """A unique name beside ``path``, also across machines."""
    return path.with_name(f".tmp-{path.name}-{secrets.token_hex(4)}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write; at the end of the block it is synced and replaces ``path``. Removed if the block fails."""
    unnamed = temporary(path)
    try:
        yield unnamed
        sync_and_place(unnamed, path)
    finally:
        with suppress(OSError):
            unnamed.unlink(missing_ok=True)


def sync_and_place(unnamed: Path, path: Path, exclusive: bool = False) -> bool:
    """Sync a finished file and give it its name, with ``exclusive`` only if that is free; returns whether it was."""
    with unnamed.open("rb") as file:
        os.fsync(file.fileno())
    if exclusive:
        try:
            os.link(unnamed, path)
        except FileExistsError:
            return False
    else:
        unnamed.replace(path)
    sync_folder(path.parent)
    return True


def write_json(path: Path, value: Any, exclusive: bool = False) -> bool:
    """Write JSON atomically, with ``exclusive`` only if the file does not exist. Returns whether it was written."""
    unnamed = temporary(path)
    with disk_errors(str(path)):
        try:
            with unnamed.open("w", encoding="utf-8") as file:
                json.dump(value, file, indent=1)
            return sync_and_place(unnamed, path, exclusive)
        finally:
            unnamed.unlink(missing_ok=True)


def write_checked(path: Path, value: dict[str, Any], exclusive: bool = False) -> bool:
    """``write_json`` of an object with a checksum, so that ``read_checked`` detects edits."""
    return write_json(path, {**value, CHECKSUM: _checksum(value)}, exclusive)


def read_checked(path: Path, broken: Callable[[str], Exception]) -> dict[str, Any]:
    """Read an object of ``write_checked`` and verify its checksum, if its layout version has one.

    Raises ``broken(reason)`` if the file is unreadable or was changed.
    """
    value = read_json(path, broken)
    if not isinstance(value, dict):
        raise broken(f"{path} cannot be read (it is no JSON object)")
    found, version = value.pop(CHECKSUM, None), value.get("version", 0)
    needed = found is not None or not isinstance(version, int) or version >= CHECKED
    if needed and found != _checksum(value):
        raise broken(f"{path} was changed after it was written")
    return value


def _checksum(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(json.loads(json.dumps(value)), sort_keys=True).encode()).hexdigest()


def read_json(path: Path, broken: Callable[[str], Exception]) -> Any:
    """Read JSON; raises ``broken(reason)`` if the file cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise broken(f"{path} cannot be read ({error})") from error


def sync_and_hash(path: Path) -> str:
    """Make a file durable; returns its sha-256 in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        os.fsync(file.fileno())
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
