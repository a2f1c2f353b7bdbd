"""How a sealed model takes its inputs from tables and records: one protocol, a reader for each kind of data.

The artifact's modality chooses the reader. Batch units, streams and watching use nothing but the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from serving.errors import DataError
from serving.inputs import Input, check_separator
from serving.unseen import NONE, Unseen

if TYPE_CHECKING:
    from serving.artifact import Artifact
    from serving.feeding import Feeding
    from serving.inputs import Reading

Feeds = dict[str, np.ndarray]


@dataclass(frozen=True)
class Sifted:
    """The rows of a table that can be scored, as feeds and as indices; the others with column and reason.

    ``waiting`` holds the indices of rows that end no window, by reason (``serving.windows``), and ``unseen`` counts the
    rows whose key has no level.
    """

    feeds: Feeds
    good: np.ndarray
    bad: list[tuple[int, str, str]]
    waiting: Mapping[str, np.ndarray] = field(default_factory=dict)
    unseen: Unseen = NONE


class Reader(Protocol):
    """Takes the inputs of one model from tables and records."""

    @property
    def names(self) -> list[str]:
        """The required columns."""

    @property
    def nested(self) -> list[str]:
        """The required columns that may hold lists."""

    @property
    def monitored(self) -> Sequence[Mapping[str, Any]]:
        """The schema's input columns, whose values are compared with those of training."""

    def feeds(self, data: Any) -> Feeds:
        """Convert a table, frame or list of records to feeds by input name.

        Raises DataError for missing or repeated columns and ValueRefused for the first value that does not fit.
        """

    def feeding(self, reading: Reading) -> Feeding:
        """How the rows of files become feeds."""

    def nothing(self) -> Feeds:
        """The feeds of no rows."""

    def check_columns(self, present: list[str]) -> None:
        """Raise DataError for missing or repeated columns, with close matches; log extra columns once."""

    def check_row(self, record: Any) -> str | None:
        """Why a record cannot be scored, or None."""

    def kept(self, types: Mapping[str, pa.DataType]) -> list[str]:
        """The columns of an input that travel with the scores if the user names none."""

    def reasons(self, explained: np.ndarray, flags: np.ndarray, data: Any) -> pa.Array:
        """The reasons for anomalies in words, by contributions or scores of places; null for other rows."""

    def raw_text(self, table: pa.Table, row: int) -> str:
        """A row of a table as JSON, for its dead letter."""


def reader_of(artifact: Artifact) -> Reader:
    """The reader of the inputs of a detector or a density."""
    from serving.readers.example import ExampleReader
    from serving.readers.table import TableReader
    from serving.readers.windows import WindowReader

    if artifact.modality == "table":
        return TableReader(artifact.schema)
    windows = artifact.windows
    return ExampleReader(artifact.layout) if windows is None else WindowReader(windows, artifact.layout)


def check_inputs(inputs: Sequence[Input], reader: Reader) -> None:
    """Raise DataError for a wrong header before any row is read; a file without a header holds no rows."""
    for source in inputs:
        names = source.names()
        if not names:
            continue
        check_separator(source, reader.names)
        try:
            reader.check_columns(names)
        except DataError as error:
            raise DataError(f"{source.path}: {error}") from error
