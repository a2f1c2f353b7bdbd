"""Bytes to lines, in linear time and bounded memory."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass

from serving.sources import LARGEST_KEPT


@dataclass(frozen=True)
class Line:
    """A line without its end; ``size`` counts all bytes, the end included; ``whole``: ``body`` has all of them."""

    body: bytes
    size: int
    whole: bool = True


class Lines:
    """Splits blocks of bytes; of a line longer than ``LARGEST_KEPT`` only the beginning is kept."""

    def __init__(self) -> None:
        self.ready: deque[Line] = deque()
        self._pieces: list[bytes] = []
        self._kept = self._size = 0

    @property
    def unfinished(self) -> int:
        """Bytes of the last line, which has no end yet."""
        return self._size

    def feed(self, block: bytes) -> None:
        """Add what follows."""
        *ended, rest = block.split(b"\n")
        for piece in ended:
            self._add(piece)
            self._end(1)
        self._add(rest)

    def end(self) -> None:
        """Nothing follows: the unfinished line is a line."""
        if self._size:
            self._end(0)

    def last(self) -> bytes:
        """The unfinished line as far as it has come."""
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
    """Whether an unfinished line is a JSON object all the same: nothing could be added to it but spaces."""
    try:
        return isinstance(json.loads(line.decode("utf-8-sig")), dict)
    except (ValueError, RecursionError):
        return False
