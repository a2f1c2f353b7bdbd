"""Dead letters: find rows that cannot be scored and write them, with the reason, beside the scores."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from serving.errors import ValueRefused
from serving.frame import Feeds, FrameAdapter


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


@dataclass(frozen=True)
class Sifted:
    """The rows of a table that can be scored, as feeds and as indices; the others with column and reason."""

    feeds: Feeds
    good: np.ndarray
    bad: list[tuple[int, str, str]]


def sift(schema: dict[str, Any], adapter: FrameAdapter, table: pa.Table, most: int) -> Sifted:
    """Separate the rows that can be scored from those that cannot.

    Stops once more than ``most`` rows are bad. Raises DataError if the table as a whole does not fit the schema.
    """
    good, left = np.arange(table.num_rows), table
    bad: list[tuple[int, str, str]] = []
    while True:
        try:
            return Sifted(adapter.feeds(left), good, bad)
        except ValueRefused as error:
            name = error.column
            alone = FrameAdapter(schema | {"columns": [c for c in schema["columns"] if c["name"] == name]})
            found = dict(_bad_rows(alone, left, name, most - len(bad)))
            if not found:
                raise
        bad += [(int(good[row]), name, why) for row, why in found.items()]
        kept = np.ones(len(good), dtype=bool)
        kept[list(found)] = False
        good, left = good[kept], left.filter(pa.array(kept))
        if len(bad) > most:
            return Sifted({}, good, bad)


def _bad_rows(adapter: FrameAdapter, table: pa.Table, column: str, most: int) -> Iterator[tuple[int, str]]:
    """Rows with a bad value in one column; bisects the distinct values to find each bad one."""
    values = table.column(column)
    distinct = pc.unique(values)
    wrong = {}
    for index, why in _halve(adapter, column, distinct, 0):
        wrong[index] = why
        if len(wrong) > most:
            break
    places = pc.index_in(values, value_set=distinct).to_numpy()
    for row in np.flatnonzero(np.isin(places, list(wrong))):
        yield int(row), wrong[int(places[row])]


def _halve(adapter: FrameAdapter, column: str, values: pa.Array, first: int) -> Iterator[tuple[int, str]]:
    try:
        adapter.feeds(pa.table({column: values}))
    except ValueRefused as error:
        if len(values) == 1:
            yield first, error.why
            return
        half = len(values) // 2
        yield from _halve(adapter, column, values[:half], first)
        yield from _halve(adapter, column, values[half:], first + half)


def raw_text(table: pa.Table, row: int) -> str:
    """A row of a table as JSON."""
    return json.dumps(table.slice(row, 1).to_pylist()[0], ensure_ascii=False, default=str)


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
