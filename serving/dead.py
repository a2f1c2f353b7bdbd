"""Dead letters: rows that cannot be scored, written with the reason beside the scores."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class DeadRow:
    """A row that was not scored: file, position, reason, raw text, and the column at fault, if a single one."""

    source: str
    source_row: int
    column: str
    reason: str
    raw: str

    def said(self, path: str) -> str:
        """The row as a message."""
        column = f"column {self.column!r}, " if self.column else ""
        return f"{path}: {column}row {self.source_row}: {self.reason}"


def write_dead(path: Path, rows: Sequence[DeadRow]) -> None:
    """Write dead letters as JSON lines and sync the file; the caller renames it."""
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        for row in rows:
            file.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_dead(path: Path) -> Iterator[dict[str, Any]]:
    """The dead letters of a file."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
