"""The inputs of a model of tables: the columns of its schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from serving.errors import ValueRefused
from serving.feeding import Feeding, RowFeeding
from serving.frame import FrameAdapter
from serving.inputs import Reading
from serving.readers import Feeds, Sifted
from serving.reasons import reasons_of_anomalies


class TableReader:
    """Reads the columns of a schema; see ``serving.readers.Reader``."""

    nested: list[str] = []

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema, self.adapter = schema, FrameAdapter(schema)
        self.feeds, self.check_columns, self.check_row = (
            self.adapter.feeds, self.adapter.check_columns, self.adapter.check_row
        )  # fmt: skip

    @property
    def names(self) -> list[str]:
        """Names of the columns that are features or the group."""
        return self.adapter.names

    @property
    def monitored(self) -> Sequence[Mapping[str, Any]]:
        """The features and the group."""
        return self.adapter.columns

    def sift(self, table: pa.Table, most: int) -> Sifted:
        """Separate the rows that can be scored from those that cannot; stops once more than ``most`` are bad.

        Finds each bad value among the distinct ones of its column. Raises DataError if the table as a whole does not
        fit.
        """
        good, left = np.arange(table.num_rows), table
        bad: list[tuple[int, str, str]] = []
        while True:
            try:
                return Sifted(self.feeds(left), good, bad)
            except ValueRefused as error:
                name = error.column
                columns = [c for c in self.schema["columns"] if c["name"] == name]
                alone = FrameAdapter(self.schema | {"columns": columns})
                found = dict(_bad_rows(alone, left, name, most - len(bad)))
                if not found:
                    raise
            bad += [(int(good[row]), name, why) for row, why in found.items()]
            kept = np.ones(len(good), dtype=bool)
            kept[list(found)] = False
            good, left = good[kept], left.filter(pa.array(kept))
            if len(bad) > most:
                return Sifted({}, good, bad)

    def feeding(self, reading: Reading) -> Feeding:
        """Each row by itself."""
        return RowFeeding(self.sift, reading)

    def nothing(self) -> Feeds:
        """The feeds of no rows."""
        return self.feeds(pa.table({name: pa.nulls(0) for name in self.names}))

    def kept(self, types: Mapping[str, pa.DataType]) -> list[str]:
        """The schema's identifiers."""
        return [c["name"] for c in self.schema["columns"] if c["role"] == "id" and c["name"] in types]

    def reasons(self, explained: np.ndarray, flags: np.ndarray, data: Any) -> pa.Array:
        """The columns with the largest contributions, in words."""
        return reasons_of_anomalies(explained, flags, self.schema, data)

    def raw_text(self, table: pa.Table, row: int) -> str:
        """A row of a table as JSON."""
        return json.dumps(table.slice(row, 1).to_pylist()[0], ensure_ascii=False, default=str)


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
