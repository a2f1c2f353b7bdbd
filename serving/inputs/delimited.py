"""CSV and tab-separated files: UTF-8, with a header. Quoted values may hold separators and line breaks.

Every value is a string: the schema determines types, and types guessed from the first rows may not hold later.
A column without a name is called ``Unnamed: 0``, by its position, as in pandas.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv as pacsv

from serving.errors import DataError
from serving.inputs.base import ROWS, Broken, Piece, reading
from serving.inputs.opening import open_bytes, open_text
from serving.wording import counted

if TYPE_CHECKING:
    from serving.inputs.base import Input

SEPARATORS = {"csv": ",", "tsv": "\t"}
_SAVE = {"csv": "save it with commas", "tsv": "save it with tabs, or name it .csv"}
_MARKS = {";": "';'", "\t": "tabs", "|": "'|'", ",": "commas"}
_BLOCK = 4 << 20
# Python's reader locates rows that Arrow reads, so it must accept values of the same length.
csv.field_size_limit(max(csv.field_size_limit(), _BLOCK))
# A sentinel row appended to the file. If it is missing from the result, a quote was never closed.
_END = "[end of the file, 5b1f0a7c]"


def types(source: Input) -> list[tuple[str, pa.DataType]]:
    """Names of the header."""
    return [(name, pa.string()) for name in _header(source)[0]]


def lines(source: Input) -> Iterator[int]:
    """The line in which each row begins, counted from 1."""
    records = _records(source)
    next(records, None)
    return (line for line, _ in records)


def check_separator(source: Input, needed: Collection[str] = ()) -> None:
    """Raise DataError if the file seems to use another separator.

    That is the case if the header is a single name that is not ``needed``, and the first row contains another
    separator at least as often as the header does.
    """
    if source.format not in SEPARATORS or source.size == 0:
        return
    with reading(source):
        records = _records(source)
        header, first = (next(records, (0, [""]))[1] for _ in range(2))
    if len(header) != 1 or header[0] in needed:
        return
    row = SEPARATORS[source.format].join(first)
    for mark, said in _MARKS.items():
        found = header[0].count(mark)
        if found and mark != SEPARATORS[source.format] and (not row or row.count(mark) >= found):
            raise DataError(f"{source.path} looks separated by {said}: {_SAVE[source.format]}")


def count(source: Input) -> int:
    """The number of rows; reads the file once."""
    names, skipped = _header(source)
    if not names:
        return 0
    rows = _Rows(source, names, skipped)
    # Read bytes: the encoding is checked when values are read.
    return sum(batch.num_rows for batch in rows.batches(names[:1], pa.binary())) + len(rows.broken)


def pieces(
    source: Input, columns: list[str], start: int, needed: Collection[str], nested: Collection[str] = ()
) -> Iterator[Piece]:
    """All rows, from the first."""
    names, skipped = _header(source)
    if not names:
        return
    rows = _Rows(source, names, skipped)
    at = 0
    # A table without columns has no length, so read the first column for it.
    for batch in rows.batches(columns or names[:1], pa.string()):
        for first in range(0, batch.num_rows, ROWS):
            table = pa.Table.from_batches([batch.slice(first, ROWS)])
            stop, mine = _place(at, table.num_rows, rows.broken)
            yield Piece(table.select(columns), at, stop, tuple(mine))
            at = stop
    if rows.broken:
        yield Piece(_empty(columns), at, at + len(rows.broken), tuple(rows.broken))


def _records(source: Input) -> Iterator[tuple[int, list[str]]]:
    """Header and rows from Python's CSV reader, each with its first line number; skips blank lines."""
    with open_text(source) as text:
        rows = csv.reader(text, delimiter=SEPARATORS[source.format])
        line = 1
        for row in rows:
            if row:
                yield line, row
            line = rows.line_num + 1


def _header(source: Input) -> tuple[list[str], int]:
    """The column names, and the number of rows to skip: the header and blank lines before it."""
    with open_text(source) as text:
        for number, row in enumerate(csv.reader(text, delimiter=SEPARATORS[source.format]), 1):
            if row:
                return [name or f"Unnamed: {position}" for position, name in enumerate(row)], number
    return [], 0


def _place(at: int, rows: int, broken: list[Broken]) -> tuple[int, list[Broken]]:
    """Locate ``rows`` good rows that begin at ``at``.

    Returns the position after them and the malformed rows among them, which are removed from ``broken``.
    """
    stop, mine = at + rows, []
    while broken and broken[0].row < stop:
        mine.append(broken.pop(0))
        stop += 1
    return stop, mine


def _empty(columns: list[str]) -> pa.Table:
    return pa.table({name: pa.array([], pa.string()) for name in columns})


class _Rows:
    """One pass over the rows of a file; ``broken`` collects those with too few or too many values."""

    def __init__(self, source: Input, names: list[str], skipped: int) -> None:
        self.source, self.names, self.skipped = source, names, skipped
        self.broken: list[Broken] = []
        self._whole = False

    def batches(self, columns: list[str], kind: pa.DataType) -> Iterator[pa.RecordBatch]:
        """The good rows. Raises DataError at the end of the file if a quote is never closed."""
        separator = SEPARATORS[self.source.format]
        # One value more than there are columns, so that Arrow passes it to the handler of invalid rows.
        end = f"\n{_END}{separator * len(self.names)}\n".encode()
        reader = pacsv.open_csv(
            io.BufferedReader(_Ended(open_bytes(self.source), end), _BLOCK),
            # By position: a header may lack names.
            read_options=pacsv.ReadOptions(
                use_threads=False, block_size=_BLOCK, column_names=self.names, skip_rows_after_names=self.skipped
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=separator, newlines_in_values=True, invalid_row_handler=self._broken
            ),
            convert_options=pacsv.ConvertOptions(
                include_columns=columns, column_types=dict.fromkeys(columns, kind), strings_can_be_null=False
            ),
        )
        held = None
        for batch in reader:
            if held is not None:
                yield held
            held = batch
        if not self._whole:
            raise DataError(_open_quote(self.source))
        if held is not None:
            yield held

    def _broken(self, row: Any) -> str:
        if row.text.startswith(_END):
            self._whole = True
            return "skip"
        values = counted(row.actual_columns, "value")
        reason = f"has {values}, where the header has {row.expected_columns:,}"
        # Arrow counts from 1, including the skipped rows.
        self.broken.append(Broken(row.number - 1 - self.skipped, "", reason, row.text))
        return "skip"


class _Ended(io.RawIOBase):
    """The bytes of a file, followed by ``end``."""

    def __init__(self, file: Any, end: bytes) -> None:
        self._file, self._end = file, end

    def readable(self) -> bool:
        """True: the stream is readable."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; returns the number of bytes read, 0 at the end."""
        got = self._file.read(len(buffer))
        if not got:
            got, self._end = self._end[: len(buffer)], self._end[len(buffer) :]
        buffer[: len(got)] = got
        return len(got)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def _open_quote(source: Input) -> str:
    """The message for a quote that is never closed, with the line where its row begins."""
    begins, records = 1, _records(source)
    while True:
        try:
            begins, _ = next(records)
        except StopIteration:
            break
        except csv.Error:  # a value beyond the reader's limit: this is the record
            begins += 1
            break
    return f"{source.path}: a quote in the row of line {begins} is never closed; close it, or double quotes in a value"
