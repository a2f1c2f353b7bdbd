"""One input file: its columns, its number of rows, and any range of its rows as tables."""

from __future__ import annotations

import csv
import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa

from serving.errors import DataError, DependencyError
from serving.inputs.opening import not_utf8, states
from serving.wording import listed

ROWS = 20_480
ENDS = 65_536


@dataclass(frozen=True)
class Broken:
    """A malformed row, such as a CSV line with too few values or a line that is not JSON."""

    row: int
    column: str
    reason: str
    raw: str


@dataclass(frozen=True)
class Piece:
    """Rows ``start`` to ``stop`` (exclusive) of a file; ``table`` holds them without the ``broken`` ones."""

    table: pa.Table
    start: int
    stop: int
    broken: tuple[Broken, ...] = ()

    def rows(self) -> np.ndarray:
        """The position in the file of each row of the table."""
        rows = np.arange(self.start, self.stop)
        return np.delete(rows, [b.row - self.start for b in self.broken]) if self.broken else rows

    def cut(self, start: int, stop: int | None) -> Piece:
        """The part between two positions."""
        stop = self.stop if stop is None else min(stop, self.stop)
        start = max(start, self.start)
        if (start, stop) == (self.start, self.stop):
            return self
        first, last = np.searchsorted(self.rows(), (start, stop))
        broken = tuple(b for b in self.broken if start <= b.row < stop)
        return Piece(self.table.slice(int(first), int(last - first)), start, stop, broken)


@dataclass(frozen=True)
class Input:
    """A file of a known format, or all images of a location (``serving.inputs.images``).

    ``path`` is a local path or a URL, and ``name`` is relative to the listed location. ``keys`` are the partition keys
    from the folder names (``day=2026-11-26``), read as string columns. A column of the file takes precedence over a
    key of the same name.
    """

    path: str
    name: str
    format: str
    compression: str | None = None
    keys: tuple[tuple[str, str | None], ...] = ()
    size: int = 0
    stamp: str = ""

    @property
    def remote(self) -> bool:
        """Whether the path is a URL."""
        return "://" in self.path

    @property
    def is_text(self) -> bool:
        """Whether the format has no types, so that every value is read as text."""
        return self.format in ("csv", "tsv", "jsonl")

    @property
    def holds_examples(self) -> bool:
        """Whether the format holds images or arrays."""
        return self.format in ("images", "npz", "npy")

    def names(self) -> list[str]:
        """The columns, then the partition keys; empty for an empty file. Raises DataError if it cannot be read."""
        return list(self.types())

    def types(self) -> dict[str, pa.DataType]:
        """Column names and types."""
        if self.size == 0:
            return {}
        own = _types(self)
        types = dict(own)
        if len(types) < len(own):
            twice = [name for name, times in Counter(name for name, _ in own).items() if times > 1]
            raise DataError(f"{self.path}: column names must be unique; these come twice: {listed(twice)}")
        return types | {key: pa.string() for key, _ in self.keys if key not in types} if types else {}

    def count(self) -> int:
        """The number of rows, including malformed ones. CSV and JSON lines are read once in full."""
        if self.size == 0:
            return 0
        with reading(self):
            return _format(self).count(self)

    def identity(self) -> str:
        """A hex sha-256 of name, size, modification time and both ends of the file."""
        ends = b"" if self.remote or self.format == "images" else _ends(self.path, self.size)
        state = f"{self.name}|{self.size}|{self.stamp}|{self.keys}|".encode()
        return hashlib.sha256(state + ends).hexdigest()

    def check_unchanged(self, identity: str) -> None:
        """Raise DataError if the file no longer has this identity."""
        with reading(self):
            if all(replace(self, **state).identity() != identity for state in _states(self)):
                raise DataError(f"{self.path} was changed while it was scored; run the same command again")

    def tables(
        self, columns: Sequence[str] | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[pa.Table]:
        """Rows ``start`` to ``stop`` as tables of bounded size; ``None`` reads all columns, or to the end.

        Columns of CSV and JSON lines are strings, and no text is read as a missing value. Parquet columns keep their
        types. Raises DataError naming the line of the first malformed row; a JSON record that lacks a column is one.
        """
        wanted = self.names() if columns is None else columns
        for piece in self.pieces(wanted, start, stop, wanted):
            if piece.broken:
                first = piece.broken[0]
                named = repr(first.column)
                column = f"column {named} " if first.column and named not in first.reason else ""
                place = f"{self.path}, {self._place(first.row)}"
                raise DataError(f"{place}: {column}{first.reason}; fix it, or drop the row")
            yield piece.table

    def _place(self, row: int) -> str:
        """The line in which a row begins, or the row number if lines cannot be counted."""
        with reading(self), suppress(csv.Error):
            lines = _format(self).lines(self)
            return f"line {next(islice(lines, row, None))}"
        return f"row {row}"

    def pieces(
        self,
        columns: Sequence[str] | None = None,
        start: int = 0,
        stop: int | None = None,
        needed: Collection[str] = (),
        nested: Collection[str] = (),
    ) -> Iterator[Piece]:
        """As ``tables``, but with positions and malformed rows, such as JSON records without a ``needed`` column.

        Lists in JSON records are malformed except in ``nested`` columns, where they are kept as JSON text.
        """
        yield from Reading().pieces(self, columns, start, stop, needed, nested)


class Reading:
    """Reads ranges of rows. A range that begins where the last one ended continues without reopening the file.

    CSV and JSON lines have no index, so reading a range from the middle reads everything before it.
    """

    def __init__(self) -> None:
        self._at: tuple[Any, ...] | None = None
        self._rest: Iterator[Piece] = iter(())
        self._held: Piece | None = None

    def pieces(
        self,
        source: Input,
        columns: Sequence[str] | None = None,
        start: int = 0,
        stop: int | None = None,
        needed: Collection[str] = (),
        nested: Collection[str] = (),
    ) -> Iterator[Piece]:
        """As ``Input.pieces``."""
        if source.size == 0 or (stop is not None and stop <= start):
            return
        wanted = list(source.names() if columns is None else columns)
        key = (source, tuple(wanted), frozenset(needed), frozenset(nested))
        if not self._goes_on(key, start):
            self._rest, self._held = _opened(source, wanted, start, needed, nested), None
        self._at = None  # until this range is read to its end
        with reading(source):
            while (piece := self._held or next(self._rest, None)) is not None:
                self._held = None
                if stop is not None and piece.start >= stop:
                    self._held = piece
                    break
                if piece.stop > start:
                    yield piece.cut(start, stop)
                if stop is not None and piece.stop > stop:
                    self._held = piece.cut(stop, None)
                    break
                if piece.stop == stop:
                    break
        self._at = (*key, stop) if stop is not None else None

    def _goes_on(self, key: tuple[Any, ...], start: int) -> bool:
        """Whether the open file can be continued. Text can skip forward; Parquet reopens at the right row group."""
        if self._at is None or self._at[:-1] != key:
            return False
        return self._at[-1] <= start if key[0].is_text else self._at[-1] == start


def _opened(
    source: Input, columns: list[str], start: int, needed: Collection[str], nested: Collection[str]
) -> Iterator[Piece]:
    """Pieces from ``start`` or earlier to the end of the file, with the partition keys as columns."""
    keys = {key: value for key, value in source.keys if key in columns}
    if keys:
        for name, _ in _types(source):
            keys.pop(name, None)
    inside = [name for name in columns if name not in keys]
    needed = [name for name in needed if name not in keys]
    for piece in _format(source).pieces(source, inside, start, needed, nested):
        if not keys:
            yield piece
            continue
        table = piece.table
        n = piece.stop - piece.start - len(piece.broken)
        made = {key: pa.repeat(pa.scalar(value, pa.string()), n) for key, value in keys.items()}
        arrays = [made[c] if c in made else table.column(c) for c in columns]
        yield Piece(pa.table(dict(zip(columns, arrays, strict=True))), piece.start, piece.stop, piece.broken)


@lru_cache(maxsize=4096)
def _types(source: Input) -> tuple[tuple[str, pa.DataType], ...]:
    """The file's own columns. Caching is safe, because a changed file has another size or stamp."""
    with reading(source):
        return tuple(_format(source).types(source))


def _format(source: Input) -> ModuleType:
    from serving.inputs import arrays, delimited, images, jsonlines, parquet

    text = {"csv": delimited, "tsv": delimited, "jsonl": jsonlines}
    return (text | {"parquet": parquet, "npz": arrays, "npy": arrays, "images": images})[source.format]


def _states(source: Input) -> Iterator[dict[str, Any]]:
    from serving.inputs import images

    return images.states(source) if source.format == "images" else states(source)


@contextmanager
def reading(source: Input) -> Iterator[None]:
    """Convert errors while reading a file to errors with a message and exit code."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(not_utf8(source)) from error
    except FileNotFoundError as error:
        raise DataError(f"{source.path} is gone; run the same command again") from error
    except PermissionError as error:
        raise DataError(f"{source.path} cannot be read ({error.strerror or error}); fix its permissions") from error
    except (pa.ArrowException, EOFError, csv.Error) as error:
        raise _unreadable(source, error) from error
    except OSError as error:
        if source.remote and error.errno is not None:
            raise DependencyError(f"{source.path} cannot be read ({str(error)[:200]}); try again") from error
        raise _unreadable(source, error) from error


def _unreadable(source: Input, error: BaseException) -> DataError:
    said = " ".join(str(error).split())[:200]
    if not source.is_text:
        what = {"parquet": "readable Parquet file", "images": "readable folder of images"}
        return DataError(
            f"{source.path} is not a {what.get(source.format, 'readable NumPy file')} ({said}); write it again"
        )
    if "UTF8" in said:
        return DataError(not_utf8(source))
    if "straddl" in said or "field limit" in said:
        return DataError(f"{source.path} holds a quote that is never closed, or a row of more than 4 MB; fix that row")
    return DataError(f"{source.path} cannot be read ({said}); write it again as UTF-8")


def _ends(path: str, size: int) -> bytes:
    try:
        with Path(path).open("rb") as handle:
            first = handle.read(ENDS)
            handle.seek(max(0, size - ENDS), os.SEEK_SET)
            return first + handle.read(ENDS)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}); fix its permissions or name") from error
