"""Where records come from. A source is one small class; see ``Source`` for its protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Record:
    """One raw record: its source's name, its position there (unique and increasing), and its bytes."""

    source: str
    position: int
    body: bytes


class Source(Protocol):
    """Polled by the stream; never advances by itself: the cursor moves when the sink has committed."""

    def poll(self, limit: int) -> list[Record]:
        """Up to ``limit`` records after the last committed cursor and all polled since; may be empty."""

    def cursor(self) -> dict[str, Any]:
        """State after the records polled so far, to be committed with their scores (JSON values)."""

    def finished(self) -> bool:
        """Whether no record will ever come again."""

    def close(self) -> None:
        """Let go of files and threads."""


__all__ = ["Record", "Source"]
