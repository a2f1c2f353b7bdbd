"""A file that grows by lines, followed by (device, inode, offset); rotation and truncation are seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

from serving.errors import UsageError
from serving.sources import Record

BLOCK = 1 << 20


class GrowingFile:
    """Each line is a record at its byte offset.

    A file replaced under the same name is a new generation (``name#1``, ``#2``, ...), read from its start once the old
    one is read to its end; so is one that became shorter than what was read. A last line without its newline waits
    while following, and is taken at the end otherwise.
    """

    def __init__(self, path: Path, cursor: dict[str, Any], follow: bool) -> None:
        if not path.exists() and not follow:
            raise UsageError(f"there is no input {path}")
        self.path, self.follow = path, follow
        self.generation = int(cursor.get("generation", 0))
        self.offset = int(cursor.get("offset", 0))
        self.identity: list[int] | None = cursor.get("identity")
        self.file: BinaryIO | None = None
        self._pending = b""
        self._done = False

    @property
    def name(self) -> str:
        """The file's name, with its generation after a rotation."""
        return self.path.name + (f"#{self.generation}" if self.generation else "")

    def poll(self, limit: int) -> list[Record]:
        """Whole lines up to the file's present end."""
        if not self._open():
            return []
        records: list[Record] = []
        while len(records) < limit:
            line = self._line()
            if line is None:
                break
            start, self.offset = self.offset, self.offset + len(line)
            body = line.rstrip(b"\r\n")
            if body:
                records.append(Record(self.name, start, body))
        if not records:
            self._at_end()
        return records

    def _open(self) -> bool:
        if self.file is not None:
            return True
        try:
            self.file = self.path.open("rb")
        except FileNotFoundError:
            return False
        stat = self._stat()
        identity = [stat.st_dev, stat.st_ino]
        if self.identity is not None and (self.identity != identity or stat.st_size < self.offset):
            self.generation, self.offset = self.generation + 1, 0
        self.identity = identity
        self.file.seek(self.offset)
        self._pending = b""
        return True

    def _stat(self) -> Any:
        import os

        assert self.file is not None
        return os.fstat(self.file.fileno())

    def _line(self) -> bytes | None:
        """The next whole line, or the unfinished last one when nothing more will come."""
        assert self.file is not None
        while b"\n" not in self._pending:
            block = self.file.read(BLOCK)
            if not block:
                if self._pending and not self.follow:
                    line, self._pending = self._pending, b""
                    return line
                return None
            self._pending += block
        end = self._pending.index(b"\n") + 1
        line, self._pending = self._pending[:end], self._pending[end:]
        return line

    def _at_end(self) -> None:
        """At the end of what is there: look for truncation and rotation, or be done."""
        assert self.file is not None
        if self._stat().st_size < self.offset:
            self._next_generation()
            return
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            self._done = not self.follow
            return
        if [stat.st_dev, stat.st_ino] != self.identity:
            self._next_generation()
        elif not self.follow:
            self._done = True

    def _next_generation(self) -> None:
        assert self.file is not None
        self.file.close()
        self.file, self.identity = None, None
        self.generation, self.offset = self.generation + 1, 0

    def cursor(self) -> dict[str, Any]:
        """Generation, identity and offset."""
        return {"generation": self.generation, "offset": self.offset, "identity": self.identity}

    def finished(self) -> bool:
        """Without ``follow``, at the end."""
        return self._done

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()
