"""One file of a log: reads its lines from a position, and recognises it after rotation."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from serving.sources.lines import Line, Lines, is_whole_object

BLOCK = 1 << 20
ENDS = 1024  # bytes of the head and before the position that identify a file
COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
# in.jsonl.1, in.jsonl.2.gz, in.jsonl-20261126, in.jsonl.2026-11-26T03.zst
_ROTATED = re.compile(r"[.\-_](\d[\dT:_.\-]*?)(\.gz|\.bz2|\.zst)?$")


@dataclass(frozen=True)
class Print:
    """The fingerprint of a file: device, inode, and hashes of its first ``size`` bytes and of those before ``offset``.

    ``tail`` is empty if it is unknown. Cursors of earlier releases have neither hash.
    """

    device: int
    inode: int
    offset: int
    size: int
    head: str
    tail: str

    @classmethod
    def read(cls, values: dict[str, Any]) -> Print:
        """Parse an entry of a cursor."""
        device, inode = (int(v) for v in values.get("identity") or (0, 0))
        head, tail = str(values.get("head", "")), str(values.get("tail", ""))
        return cls(device, inode, int(values.get("offset", 0)), int(values.get("size", 0)), head, tail)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        values = {"offset": self.offset, "size": self.size, "head": self.head, "tail": self.tail}
        return {"identity": [self.device, self.inode], **values}

    def fits(self, path: Path) -> bool:
        """Whether the file at ``path`` matches this fingerprint."""
        try:
            if path.suffix in COMPRESSED:
                return bool(self.size) and self._fits_compressed(path)
            with path.open("rb") as file:
                stat = os.fstat(file.fileno())
                if stat.st_size < self.offset:
                    return False
                if not self.size:
                    return (stat.st_dev, stat.st_ino) == (self.device, self.inode)
                head, tail = ends(file.fileno(), self.size, self.offset)
                return _hash(head) == self.head and self.tail in ("", _hash(tail))
        except (OSError, pa.ArrowException):
            return False

    def _fits_compressed(self, path: Path) -> bool:
        head, tail, left = b"", b"", max(self.offset, self.size)
        with _decompressed(path) as stream:
            while left and (block := stream.read(min(BLOCK, left))):
                head = (head + block)[: self.size] if len(head) < self.size else head
                tail, left = (tail + block)[-ENDS:], left - len(block)
        exact = self.offset >= self.size  # otherwise the tail that was read lies beyond the offset
        return not left and _hash(head) == self.head and (not exact or self.tail in ("", _hash(tail)))


def ends(descriptor: int, size: int, offset: int) -> tuple[bytes, bytes]:
    """The file's first ``size`` bytes, and those before ``offset``."""
    before = min(ENDS, offset)
    return os.pread(descriptor, size, 0), os.pread(descriptor, before, offset - before)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _decompressed(path: Path) -> Any:
    return pa.CompressedInputStream(pa.OSFile(str(path), "rb"), COMPRESSED[path.suffix])


def rotated(path: Path) -> list[Path]:
    """The rotated files of ``path``, oldest first: numbered ones (highest number first), then dated ones.

    If a file exists both plain and compressed, only the plain one is returned.
    """
    found: dict[str, Path] = {}
    for other in sorted(path.parent.glob(f"{_escaped(path.name)}?*")) if path.parent.is_dir() else []:
        match = _ROTATED.fullmatch(other.name[len(path.name) :])
        if match and other.is_file() and match[1] not in found:
            found[match[1]] = other

    def place(key: str) -> tuple[bool, int, str]:
        counter = key.isdigit() and len(key) < 6
        return (not counter, -int(key) if counter else 0, key)

    return [found[key] for key in sorted(found, key=place)]


def modified(path: Path) -> float:
    """The modification time of a file or folder in seconds since 1970; 0 if it does not exist."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def print_of(path: Path) -> dict[str, Any] | None:
    """The fingerprint of a complete file; None if it cannot be read."""
    try:
        file = LogFile(path, 0, 0 if path.suffix in COMPRESSED else path.stat().st_size)
    except (OSError, pa.ArrowException):
        return None
    try:
        return file.print().to_dict()
    finally:
        file.close()


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


class LogFile:
    """An open file of a log, read from ``offset``; ``number`` counts the files of the log."""

    def __init__(self, path: Path, number: int, offset: int = 0) -> None:
        self.path, self.number, self.offset = path, number, offset
        self.compressed = path.suffix in COMPRESSED
        self.lines = Lines()
        self._read = offset  # bytes read, including the incomplete last line
        self._head, self._tail = b"", b""  # the file's first bytes and the last bytes read
        self.file: Any = path.open("rb", buffering=0)
        stat = os.fstat(self.file.fileno())
        self.device, self.inode, self._modified = stat.st_dev, stat.st_ino, stat.st_mtime
        if self.compressed:
            self.file.close()
            with _decompressed(path) as stream:
                self._head = stream.read(ENDS)
            self.file = _decompressed(path)
            while offset and (block := self.file.read(min(BLOCK, offset))):
                offset -= len(block)
        else:
            self._head, self._tail = ends(self.file.fileno(), ENDS, offset)
            self.file.seek(offset)

    def print(self) -> Print:
        """The fingerprint at the current position."""
        tail = ""
        if not self.compressed and not self.was_cut():
            self._head, before = ends(self.file.fileno(), ENDS, self.offset)
            tail = _hash(before)
        return Print(self.device, self.inode, self.offset, len(self._head), _hash(self._head), tail)

    def is_at(self, path: Path) -> bool:
        """Whether ``path`` names this file."""
        try:
            stat = path.stat()
        except OSError:
            return False
        return (stat.st_dev, stat.st_ino) == (self.device, self.inode)

    def modified(self) -> float:
        """The modification time in seconds since 1970."""
        return self._modified if self.compressed else os.fstat(self.file.fileno()).st_mtime

    def was_cut(self) -> bool:
        """Whether the file no longer holds the bytes that were read, because it was truncated or rewritten."""
        if self.compressed:
            return False
        if os.fstat(self.file.fileno()).st_size < self._read:
            return True
        return ends(self.file.fileno(), len(self._head), self._read) != (self._head, self._tail)

    def has_more(self) -> bool:
        """Whether it holds unread bytes."""
        return not self.compressed and os.fstat(self.file.fileno()).st_size > self._read

    def behind(self) -> int:
        """The number of bytes after the position; reads a compressed file to its end."""
        if self.compressed:
            return sum(map(len, iter(lambda: self.file.read(BLOCK), b"")))
        return max(0, os.fstat(self.file.fileno()).st_size - self.offset)

    def take(self, limit: int) -> Iterator[tuple[int, Line]]:
        """Up to ``limit`` complete lines with their positions; advances ``offset`` with each."""
        while limit and (self.lines.ready or self._more()):
            while limit and self.lines.ready:
                line, start = self.lines.ready.popleft(), self.offset
                self.offset, limit = start + line.size, limit - 1
                yield start, line

    def _more(self) -> bool:
        block = self.file.read(BLOCK)
        if block:
            self._read += len(block)
            self._tail = (self._tail + block[-ENDS:])[-ENDS:]
            self.lines.feed(block)
        return bool(block)

    def end_line(self, only_whole: bool) -> None:
        """Accept the incomplete last line; with ``only_whole`` only if it is a complete JSON object."""
        if self.lines.unfinished and not (only_whole and not is_whole_object(self.lines.last())):
            self.lines.end()

    def close(self) -> None:
        """Close the file."""
        self.file.close()
