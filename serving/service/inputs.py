"""Columns of a request to the feeds of a model: the same reading as in `score` and `stream`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa

from serving.errors import DataError
from serving.frame import missing
from serving.readers import Feeds
from serving.readers.example import EXAMPLE, ExampleReader
from serving.readers.table import TableReader
from serving.readers.windows import WindowReader
from serving.scorer import Scorer

Columns: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Port:
    """An input or output as the v2 protocol names it; -1 stands for any number of rows."""

    name: str
    datatype: str
    shape: tuple[int, ...] = (-1,)

    def said(self) -> dict[str, Any]:
        """The JSON object of the metadata."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


class Inputs(Protocol):
    """Takes the columns of requests to one model."""

    @property
    def ports(self) -> list[Port]:
        """The inputs."""

    @property
    def names(self) -> list[str]:
        """The required columns."""

    @property
    def example(self) -> str | None:
        """The input that holds examples of more than one value."""

    @property
    def sample(self) -> dict[str, Any] | None:
        """A record that the model takes, for documentation; None if it is too long to show."""

    def feeds(self, columns: Columns) -> Feeds:
        """Convert columns to feeds; raises DataError for missing columns and for values that do not fit."""

    def data(self, columns: Columns) -> Any:
        """The rows as the reader's reasons take them."""


_DATATYPES = {"number": "FP64", "integer": "INT64", "boolean": "BOOL"}
_SAMPLES = {"number": 1.5, "integer": 3, "boolean": True, "date": "2026-01-01T10:00:00Z", "text": "text"}
_EXAMPLES = {"uint8": "UINT8", "float32": "FP32", "float64": "FP64"}


class TableInputs:
    """The columns of a schema; see ``Inputs``."""

    example = None

    def __init__(self, reader: TableReader) -> None:
        self.reader, self.names = reader, reader.names
        self.ports = [Port(str(c["name"]), _DATATYPES.get(c["kind"], "BYTES")) for c in reader.adapter.columns]
        self.sample = {str(c["name"]): _sample(c) for c in reader.adapter.columns}

    def feeds(self, columns: Columns) -> Feeds:
        """As ``Inputs.feeds``."""
        check(self.names, columns)
        return self.reader.adapter.column_feeds(columns)

    def data(self, columns: Columns) -> Any:
        """A list of records."""
        return records({name: columns[name] for name in self.names})


class ArrayInputs:
    """The column ``x`` of a model of images, series or windows, and the key if windows have levels; see ``Inputs``."""

    example, sample = EXAMPLE, None

    def __init__(self, reader: ExampleReader | WindowReader) -> None:
        self.reader, layout = reader, reader.layout
        self.names, self.ports = [EXAMPLE], [Port(EXAMPLE, _EXAMPLES[layout.dtype], (-1, *layout.shape))]
        if isinstance(reader, WindowReader) and reader.windows.levels is not None:
            self.names.append(str(reader.windows.key))
            self.ports.append(Port(self.names[1], "BYTES"))

    def feeds(self, columns: Columns) -> Feeds:
        """As ``Inputs.feeds``."""
        check(self.names, columns)
        return self.reader.feeds(self.data(columns))

    def data(self, columns: Columns) -> Any:
        """An array of examples, or a list of records."""
        given = columns[EXAMPLE]
        alone = len(self.names) == 1 and isinstance(given, np.ndarray)
        return given if alone else records({name: columns[name] for name in self.names})


def _sample(column: Mapping[str, Any]) -> Any:
    """A value of a column; null for a category without any that are common."""
    if column["kind"] == "category":
        return next(iter(column["categories"] or ()), None)
    return _SAMPLES[column["kind"]]


def check(names: list[str], columns: Columns) -> None:
    """Raise DataError if columns are missing."""
    if lacking := [name for name in names if name not in columns]:
        raise DataError(missing(lacking))


def records(columns: Columns) -> list[dict[str, Any]]:
    """Columns as a list of records."""
    lists = [values.to_pylist() if isinstance(values, pa.Array) else list(values) for values in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]


def inputs_of(scorer: Scorer) -> Inputs:
    """The inputs of a detector."""
    reader = scorer.reader
    if isinstance(reader, TableReader):
        return TableInputs(reader)
    assert isinstance(reader, ExampleReader | WindowReader)
    return ArrayInputs(reader)
