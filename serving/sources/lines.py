"""Splits bytes into lines, in linear time and bounded memory."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass

from serving.sources import LARGEST_KEPT


@dataclass(frozen=True)
class Line:
    """A line without its line end. ``size`` includes the line end; ``whole`` is False if ``body`` was cut."""

    body: bytes
    size: int
    whole: bool = True


class Lines:
    """Splits blocks of bytes into lines; keeps only the beginning of lines longer than ``LARGEST_KEPT``."""

    def __init__(self) -> None:
        self.ready: deque[Line] = deque()
        self._pieces: list[bytes] = []
        self._kept = self._size = 0

    @property
    def unfinished(self) -> int:
        """Bytes of the incomplete last line."""
        return self._size

    def feed(self, block: bytes) -> None:
        """Add the next block."""
        *ended, rest = block.split(b"\n")
        for piece in ended:
            self._add(piece)
            self._end(1)
        self._add(rest)

    def end(self) -> None:
        """End the input: the incomplete last line becomes a line."""
        if self._size:
            self._end(0)

    def last(self) -> bytes:
        """The incomplete last line."""
        return b"".join(self._pieces)

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        piece = piece[: LARGEST_KEPT - self._kept]
        if piece:
            self._pieces.append(piece)
            self._kept += len(piece)

    def _end(self, mark: int) -> None:
        body = b"".join(self._pieces)
        self.ready.append(Line(body.removesuffix(b"\r"), self._size + mark, self._kept == self._size))
        self._pieces, self._kept, self._size = [], 0, 0


def is_whole_object(line: bytes) -> bool:
    """Whether an incomplete line is already a complete JSON object, to which only whitespace could be added."""
    try:
        return isinstance(json.loads(line.decode("utf-8-sig")), dict)
    except (ValueError, RecursionError):
        return False
