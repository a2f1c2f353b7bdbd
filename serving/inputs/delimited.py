"""CSV and tab-separated files: UTF-8, with a header. Quoted values may hold separators and line breaks.

Types are the schema's business, and a type guessed from the first rows may not hold later: every value is a string.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv as pacsv

from serving.errors import DataError
from serving.inputs.base import ROWS, Broken, Piece
from serving.inputs.opening import open_bytes, open_text
from serving.wording import counted

if TYPE_CHECKING:
    from serving.inputs.base import Input

SEPARATORS = {"csv": ",", "tsv": "\t"}
_SAVE = {"csv": "save it with commas", "tsv": "save it with tabs, or name it .csv"}
_BLOCK = 4 << 20


def types(source: Input) -> list[tuple[str, pa.DataType]]:
    """Names of the header."""
    with open_text(source) as text:
        header = next((row for row in csv.reader(text, delimiter=SEPARATORS[source.format]) if row), [])
    return [(name, pa.string()) for name in header]


def check_separator(source: Input, header: list[str], needed: Collection[str]) -> None:
    """Raise DataError for a header that is one long name, by what it looks separated with."""
    if source.format not in SEPARATORS or len(header) != 1 or header[0] in needed:
        return
    for mark, said in ((";", "';'"), ("\t", "tabs"), ("|", "'|'"), (",", "commas")):
        if mark in header[0] and mark != SEPARATORS[source.format]:
            raise DataError(f"{source.path} looks separated by {said}: {_SAVE[source.format]}")


def count(source: Input) -> int:
    """Rows of a file, by reading it once."""
    names = types(source)
    if not names:
        return 0
    broken: list[Broken] = []
    # Bytes: whether a value is text is found when it is read.
    reader = _reader(source, [names[0][0]], pa.binary(), broken)
    return sum(batch.num_rows for batch in reader) + len(broken)


def pieces(source: Input, columns: list[str], start: int, needed: Collection[str]) -> Iterator[Piece]:
    """All of its rows, from the first."""
    names = [name for name, _ in types(source)]
    if not names:
        return
    broken: list[Broken] = []
    # A table without columns has no length: the first column stands in for it.
    reader = _reader(source, columns or names[:1], pa.string(), broken)
    at = 0
    for batch in reader:
        for first in range(0, batch.num_rows, ROWS):
            table = pa.Table.from_batches([batch.slice(first, ROWS)])
            stop, mine = _place(at, table.num_rows, broken)
            yield Piece(table.select(columns), at, stop, tuple(mine))
            at = stop
    if broken:
        yield Piece(_empty(columns), at, at + len(broken), tuple(broken))


def _place(at: int, rows: int, broken: list[Broken]) -> tuple[int, list[Broken]]:
    """Where ``rows`` good rows end that begin at ``at``, and the broken rows among them, taken off the list."""
    stop, mine = at + rows, []
    while broken and broken[0].row < stop:
        mine.append(broken.pop(0))
        stop += 1
    return stop, mine


def _empty(columns: list[str]) -> pa.Table:
    return pa.table({name: pa.array([], pa.string()) for name in columns})


def _reader(source: Input, columns: list[str], kind: pa.DataType, broken: list[Broken]) -> Any:
    def keep(row: Any) -> str:
        values = counted(row.actual_columns, "value")
        reason = f"has {values}, where the header has {row.expected_columns:,}"
        # Rows are numbered from 1, the header included.
        broken.append(Broken(row.number - 2, "", reason, row.text))
        return "skip"

    return pacsv.open_csv(
        open_bytes(source),
        read_options=pacsv.ReadOptions(use_threads=False, block_size=_BLOCK),
        parse_options=pacsv.ParseOptions(
            delimiter=SEPARATORS[source.format], newlines_in_values=True, invalid_row_handler=keep
        ),
        convert_options=pacsv.ConvertOptions(
            include_columns=columns, column_types=dict.fromkeys(columns, kind), strings_can_be_null=False
        ),
    )
