"""Parquet files: typed columns, readable from any row."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from serving.inputs.base import ROWS, Piece
from serving.inputs.opening import open_file
from serving.table.tensors import is_encoded, is_nested

if TYPE_CHECKING:
    from serving.inputs.base import Input

NESTED_ROWS, NESTED_BYTES = 1024, 32 << 20


def types(source: Input) -> list[tuple[str, pa.DataType]]:
    """Names and types of the file's schema."""
    schema = pq.read_schema(open_file(source))
    return [(field.name, field.type) for field in schema]


def count(source: Input) -> int:
    """The number of rows in the footer."""
    return pq.read_metadata(open_file(source)).num_rows


def pieces(
    source: Input, columns: list[str], start: int, needed: Collection[str], nested: Collection[str] = ()
) -> Iterator[Piece]:
    """The rows from the start of the row group that holds row ``start``."""
    file = pq.ParquetFile(open_file(source))
    at, first = 0, 0
    for group in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if at + rows > start:
            break
        at, first = at + rows, group + 1
    groups = list(range(first, file.metadata.num_row_groups))
    if not groups:
        return
    for batch in file.iter_batches(_rows(file, groups, columns), row_groups=groups, columns=columns, use_threads=False):
        yield Piece(pa.Table.from_batches([batch]), at, at + batch.num_rows)
        at += batch.num_rows


def _rows(file: pq.ParquetFile, groups: list[int], columns: list[str]) -> int:
    """The number of rows to read at a time: fewer where columns hold arrays or encoded images."""
    if not any(is_nested(f.type) or is_encoded(f.type) for f in file.schema_arrow if f.name in columns):
        return ROWS
    meta = [file.metadata.row_group(group) for group in groups]
    size = max((group.total_byte_size // max(1, group.num_rows) for group in meta), default=1)
    return max(1, min(NESTED_ROWS, NESTED_BYTES // max(1, size)))
