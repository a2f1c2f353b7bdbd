"""CSV files of finished lines: a run that was ended goes on where it was."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path


def finished(path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """The lines of a file, none if it does not exist; ends the program if it has other columns."""
    if not path.exists():
        return
    with path.open(newline="") as file:
        lines = csv.DictReader(file)
        if tuple(lines.fieldnames or ()) != tuple(columns):
            raise SystemExit(f"{path} has other columns than {', '.join(columns)}; give another file to --out")
        yield from lines


def append(path: Path, columns: Sequence[str], lines: Sequence[Sequence[object]]) -> None:
    """Write lines behind those of the file, which is begun with the names of the columns."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(columns)
        writer.writerows(lines)
