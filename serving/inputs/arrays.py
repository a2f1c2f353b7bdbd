"""NumPy files as tables: the arrays of an .npz file are its columns, and the array of an .npy file is ``x``.

Arrays of one axis are plain columns. Arrays of more axes are columns of tensors, one per row. An .npz file with the
single array ``arr_0`` holds it as ``x``, too. Rows are read in parts, from compressed files also. Nothing is unpickled.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.lib import format as npy

from serving.errors import DataError
from serving.inputs.base import Piece
from serving.inputs.opening import filesystem
from serving.table.tensors import as_column, column_type

if TYPE_CHECKING:
    from serving.inputs.base import Input

EXAMPLE = "x"
ROWS, BYTES = 20_480, 32 << 20
_AGAIN = "write it again with numpy.save or numpy.savez"
_KINDS = "biufUSM"


@dataclass(frozen=True)
class _Array:
    """An array in a file: its member of the archive ("" in .npy files), shape, type and order of axes."""

    member: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    reversed: bool

    @property
    def bytes(self) -> int:
        """Bytes of one row."""
        return self.dtype.itemsize * math.prod(self.shape[1:])


def types(source: Input) -> list[tuple[str, pa.DataType]]:
    """The arrays by name."""
    return [(name, column_type(array.dtype, array.shape[1:])) for name, array in _arrays(source).items()]


def count(source: Input) -> int:
    """The common length of the arrays."""
    return next((array.shape[0] for array in _arrays(source).values()), 0)


def lines(source: Input) -> Iterator[int]:
    """The number of each row, because rows have no lines."""
    yield from range(count(source))


def pieces(
    source: Input, columns: list[str], start: int, needed: Collection[str], nested: Collection[str] = ()
) -> Iterator[Piece]:
    """The rows from ``start``, at most 32 MB at a time."""
    arrays, rows = {name: _arrays(source)[name] for name in columns}, count(source)
    step = max(1, min(ROWS, BYTES // max(1, sum(array.bytes for array in arrays.values()))))
    with _files(source) as opened, _damage(source):
        readers = {name: _Rows(opened(array.member), array, start) for name, array in arrays.items()}
        for at in range(start, rows, step):
            stop = min(at + step, rows)
            table = pa.table({name: as_column(reader.take(stop - at)) for name, reader in readers.items()})
            yield Piece(table, at, stop)


class _Rows:
    """Reads the rows of an array one part after another; ``start`` is the first."""

    def __init__(self, file: IO[bytes], array: _Array, start: int) -> None:
        self.array, self.at = array, start
        self.whole: np.ndarray | None = None
        if array.reversed:  # its rows do not lie together
            self.whole = npy.read_array(file, allow_pickle=False)
            return
        _header(file)
        self.file = file
        file.seek(start * array.bytes, 1)

    def take(self, rows: int) -> np.ndarray:
        """The next ``rows`` rows; raises EOFError if the file ends before."""
        self.at += rows
        if self.whole is not None:
            return self.whole[self.at - rows : self.at]
        size = rows * self.array.bytes
        data = self.file.read(size)
        if len(data) < size:
            raise EOFError(f"it ends before its {self.array.shape[0]:,} rows")
        return np.frombuffer(data, self.array.dtype).reshape(rows, *self.array.shape[1:])


@contextmanager
def _damage(source: Input) -> Iterator[None]:
    """Convert the errors of damaged files to DataError."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        if isinstance(error, pa.ArrowException):
            raise
        said = " ".join(str(error).split())[:200]
        raise DataError(f"{source.path} is not a readable NumPy file ({said}); {_AGAIN}") from error


@contextmanager
def _files(source: Input) -> Iterator[Any]:
    """A function that opens a member of an archive, or the .npy file itself, for reading."""
    with ExitStack() as stack:

        def whole() -> IO[bytes]:
            if not source.remote:
                return stack.enter_context(open(source.path, "rb"))
            fs, path = filesystem(source.path)
            return stack.enter_context(fs.open(path, "rb"))

        if source.format == "npy":
            yield lambda member: whole()
            return
        with _damage(source):
            archive = stack.enter_context(zipfile.ZipFile(whole()))
        yield lambda member: stack.enter_context(archive.open(member)) if member else archive.namelist()


@lru_cache(maxsize=256)
def _arrays(source: Input) -> dict[str, _Array]:
    """The arrays by column name, from their headers. Raises DataError for arrays that are no columns of one table."""
    found = {}
    with _files(source) as opened, _damage(source):
        members = [EXAMPLE] if source.format == "npy" else opened("")
        for member in members:
            inside = "" if source.format == "npy" else member
            found[member.removesuffix(".npy")] = _Array(inside, *_header(opened(inside)))
    if not found:
        raise DataError(f"{source.path} holds no array; {_AGAIN}")
    if list(found) == ["arr_0"]:
        found = {EXAMPLE: found["arr_0"]}
    for name, array in found.items():
        _check(source, name, array)
    lengths = {name: array.shape[0] for name, array in found.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name!r} {length:,}" for name, length in list(lengths.items())[:5])
        raise DataError(f"{source.path}: its arrays differ in length ({said}); save those of one length together")
    return found


def _check(source: Input, name: str, array: _Array) -> None:
    """Raise DataError for an array that cannot be a column."""
    if not array.shape:
        raise DataError(f"{source.path}: {name!r} is a single value, not one per row; leave it out")
    if not array.bytes:
        raise DataError(f"{source.path}: {name!r} has rows without values (shape {array.shape}); leave it out")
    try:
        known = array.dtype.kind in _KINDS and column_type(array.dtype, array.shape[1:])
    except pa.ArrowException:
        known = False
    if not known:
        what = "Python objects, which are not read" if array.dtype.hasobject else f"values of type {array.dtype}"
        raise DataError(f"{source.path}: {name!r} holds {what}; save numbers, booleans, or one text or date per row")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Shape, type and order; the file is left where the values begin."""
    version = npy.read_magic(file)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version} of the format")
    shape, reversed_, dtype = read(file)
    return shape, dtype, reversed_
