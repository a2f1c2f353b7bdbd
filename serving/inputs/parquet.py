"""Parquet files: typed columns, readable from any row."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from serving.inputs.base import ROWS, Piece
from serving.inputs.opening import open_file

if TYPE_CHECKING:
    from serving.inputs.base import Input


def types(source: Input) -> list[tuple[str, pa.DataType]]:
    """Names and types of the file's schema."""
    schema = pq.read_schema(open_file(source))
    return [(field.name, field.type) for field in schema]


def count(source: Input) -> int:
    """The number of rows in the footer."""
    return pq.read_metadata(open_file(source)).num_rows


def pieces(source: Input, columns: list[str], start: int, needed: Collection[str]) -> Iterator[Piece]:
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
    for batch in file.iter_batches(ROWS, row_groups=groups, columns=columns, use_threads=False):
        yield Piece(pa.Table.from_batches([batch]), at, at + batch.num_rows)
        at += batch.num_rows
