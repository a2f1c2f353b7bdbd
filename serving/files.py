"""Files that are whole or absent: temporary name, fsync, rename, fsync of the folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving.errors import TemporaryError


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn a full disk into one message and exit code 75."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TemporaryError(
                f"no space left while writing {what}; free some and run the same command again"
            ) from error
        raise


def write_json(path: Path, value: Any, exclusive: bool = False) -> bool:
    """Write JSON atomically. ``exclusive``: only if the file is not there yet; returns whether it was written."""
    temporary = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    with disk_errors(str(path)):
        try:
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(value, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            if exclusive:
                return _link(temporary, path)
            temporary.replace(path)
            sync_folder(path.parent)
            return True
        finally:
            temporary.unlink(missing_ok=True)


def _link(temporary: Path, path: Path) -> bool:
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    sync_folder(path.parent)
    return True


def read_json(path: Path, broken: Callable[[str], Exception]) -> Any:
    """Read JSON; ``broken(reason)`` makes the error for a file that cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise broken(f"{path} cannot be read ({error})") from error


def sync_and_hash(path: Path) -> str:
    """Make a file durable; its hex sha-256."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        os.fsync(file.fileno())
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
