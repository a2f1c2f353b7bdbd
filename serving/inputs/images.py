"""Image files as the rows of one table: a folder, a glob, a file, or a URL of one of these.

The column ``x`` holds the encoded images, ``name`` their paths relative to the location, and ``y`` the first subfolder,
their class, if any file lies in one. Partition folders (``day=2026-11-26``) are columns, and no classes. Rows are
sorted by name. A file that cannot be opened, or is larger than 64 MB, is a malformed row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from serving.errors import DataError
from serving.inputs.base import Broken, Piece
from serving.inputs.opening import open_bytes
from serving.wording import shown

if TYPE_CHECKING:
    from serving.inputs.base import Input

EXAMPLE, NAME, CLASS = "x", "name", "y"
ROWS, BYTES = 256, 32 << 20
_LARGEST = 64 << 20


def as_one(location: str, files: Sequence[Input]) -> Input:
    """One input of all image files of a location. Raises DataError if there are tables or arrays among them."""
    if other := next((file for file in files if file.format != "images"), None):
        image = next(file for file in files if file.format == "images")
        raise DataError(
            f"{location} holds images ({image.name}) and other data ({other.name}); move them to folders of their own"
        )
    listing = "\n".join(f"{file.name}|{file.size}|{file.stamp}" for file in files)
    stamp = hashlib.sha256(listing.encode()).hexdigest()
    size = max(1, sum(file.size for file in files))
    return replace(files[0], path=location, name=_name(location, files), keys=(), size=size, stamp=stamp)


def _name(location: str, files: Sequence[Input]) -> str:
    """The name of the folder that the files' names are relative to; of a single file, its name."""
    if len(files) == 1 and location.endswith(files[0].name):
        return files[0].name
    folder = files[0].path.removesuffix(files[0].name)
    return Path(folder).resolve().name if "://" not in folder else folder.rstrip("/").rpartition("/")[2]


def states(source: Input) -> Iterator[dict[str, object]]:
    """Size and stamp that the listing has now."""
    now = as_one(source.path, _listed(source.path))
    yield {"size": now.size, "stamp": now.stamp}


def types(source: Input) -> list[tuple[str, pa.DataType]]:
    """``x``, ``name``, ``y`` if there are subfolders, and the partition keys."""
    files = _files(source)
    keys = dict.fromkeys(key for file in files for key, _ in file.keys)
    classes = [CLASS] if any(_class(file.name) is not None for file in files) else []
    named = dict.fromkeys([NAME, *classes, *keys])
    return [(EXAMPLE, pa.binary()), *((name, pa.string()) for name in named if name != EXAMPLE)]


def count(source: Input) -> int:
    """The number of files."""
    return len(_files(source))


def lines(source: Input) -> Iterator[int]:
    """The number of each row, because files have no lines."""
    yield from range(count(source))


def pieces(
    source: Input, columns: list[str], start: int, needed: Collection[str], nested: Collection[str] = ()
) -> Iterator[Piece]:
    """The rows from ``start``, a few files at a time."""
    files = _files(source)
    at, held, size, broken = start, [], 0, []
    for row in range(start, len(files)):
        data, why = _read(files[row]) if EXAMPLE in columns else (b"", "")
        if why:
            broken.append(Broken(row, EXAMPLE, f"{files[row].name} {why}", files[row].path))
        else:
            held.append((files[row], data))
        size += len(data)
        if row + 1 - at == ROWS or size >= BYTES:
            yield Piece(_table(held, columns), at, row + 1, tuple(broken))
            at, held, size, broken = row + 1, [], 0, []
    if at < len(files):
        yield Piece(_table(held, columns), at, len(files), tuple(broken))


def _read(file: Input) -> tuple[bytes, str]:
    """The bytes of a file, or why they cannot be read."""
    if file.size > _LARGEST:
        return b"", f"is larger than {_LARGEST >> 20} MB; shrink it"
    try:
        with open_bytes(file) as opened:
            return opened.read(), ""
    except FileNotFoundError:
        raise
    except OSError as error:
        if file.remote:
            raise
        return b"", f"cannot be read ({shown(error.strerror or str(error))}); fix its permissions"


def _table(held: list[tuple[Input, bytes]], columns: list[str]) -> pa.Table:
    return pa.table({name: _column(held, name) for name in columns})


def _column(held: list[tuple[Input, bytes]], name: str) -> pa.Array:
    if name == EXAMPLE:
        return pa.array([data for _, data in held], pa.binary())
    if name == NAME:
        return pa.array([file.name for file, _ in held], pa.string())
    if name == CLASS and any(_class(file.name) is not None for file, _ in held):
        return pa.array([_class(file.name) for file, _ in held], pa.string())
    return pa.array([dict(file.keys).get(name) for file, _ in held], pa.string())


def _class(name: str) -> str | None:
    """The first subfolder of a path that is no partition folder."""
    return next((part for part in name.split("/")[:-1] if "=" not in part), None)


def _files(source: Input) -> Sequence[Input]:
    return _unchanged(source)


@lru_cache(maxsize=16)
def _unchanged(source: Input) -> tuple[Input, ...]:
    """The files of an input. Caching is safe, because a changed listing has another stamp."""
    files = _listed(source.path)
    if as_one(source.path, files).stamp != source.stamp:
        raise DataError(f"{source.path} was changed while it was read; run the same command again")
    return tuple(files)


def _listed(location: str) -> list[Input]:
    from serving.inputs.listing import list_files

    return list_files(location)
