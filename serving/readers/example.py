"""The input of a model of images or series: the column ``x``, one example in each cell."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from serving.errors import DataError, ValueRefused
from serving.feeding import Feeding, RowFeeding
from serving.inputs import Reading
from serving.places import places_in_words
from serving.readers import Feeds, Sifted
from serving.table import arrow
from serving.table.examples import Column, Layout, read
from serving.table.tensors import is_encoded
from serving.wording import listed

EXAMPLE = "x"
# Examples of more characters are left out of dead letters, which name the row that holds them.
_LONGEST = 4096


class ExampleReader:
    """Reads examples of one layout; see ``serving.readers.Reader``.

    A cell holds an array as tensor, list or JSON, or an image file as bytes or base64 (``serving.table.examples``).
    """

    names = [EXAMPLE]
    nested = [EXAMPLE]
    monitored: Sequence[Mapping[str, Any]] = ()

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def feeds(self, data: Any) -> Feeds:
        """As ``Reader.feeds``; also takes an array ``(n, ...)`` of examples."""
        column = self._column(data)
        made, bad = read(column, self.layout, 0)
        if bad:
            raise ValueRefused(EXAMPLE, *bad[0])
        return {EXAMPLE: made}

    def sift(self, table: pa.Table, most: int) -> Sifted:
        """As ``TableReader.sift``."""
        made, bad = read(table.column(EXAMPLE), self.layout, most)
        good = np.delete(np.arange(table.num_rows), [row for row, _ in bad])
        return Sifted({EXAMPLE: made} if len(bad) <= most else {}, good, [(row, EXAMPLE, why) for row, why in bad])

    def feeding(self, reading: Reading) -> Feeding:
        """Each row by itself."""
        return RowFeeding(self.sift, reading)

    def nothing(self) -> Feeds:
        """The feeds of no rows."""
        return {EXAMPLE: np.zeros((0, *self.layout.shape), self.layout.dtype)}

    def check_columns(self, present: list[str]) -> None:
        """Raise DataError if ``x`` is missing or comes twice."""
        if present.count(EXAMPLE) == 1:
            return
        if EXAMPLE in present:
            raise DataError(f"column names must be unique; these come twice: {EXAMPLE!r}")
        what = "images" if self.layout.modality == "image" else "series"
        raise DataError(f"1 column is missing: {EXAMPLE!r}, the {what}; the data has {listed(present) or 'none'}")

    def check_row(self, record: Any) -> str | None:
        """Why a record cannot be scored, or None."""
        if not isinstance(record, dict):
            return f"not an object but {type(record).__name__}"
        if EXAMPLE not in record:
            return f"missing column: {EXAMPLE!r}"
        _, bad = read([record[EXAMPLE]], self.layout, 1)
        return f"column {EXAMPLE!r}: {bad[0][1]}" if bad else None

    def kept(self, types: Mapping[str, pa.DataType]) -> list[str]:
        """All columns of single values."""
        return [name for name, kind in types.items() if name != EXAMPLE and _is_single(kind)]

    def reasons(self, explained: np.ndarray, flags: np.ndarray, data: Any) -> pa.Array:
        """The places that exceed the limit, in words."""
        return places_in_words(explained, flags, self.layout)

    def raw_text(self, table: pa.Table, row: int) -> str:
        """A row as JSON; a long example is left out."""
        values = table.slice(row, 1).to_pylist()[0]
        if len(json.dumps(values.get(EXAMPLE), default=_plain)) > _LONGEST:
            values[EXAMPLE] = "[left out]"
        return json.dumps(values, ensure_ascii=False, default=_plain)

    def _column(self, data: Any) -> Column:
        if isinstance(data, np.ndarray):
            return data
        if isinstance(data, list):
            return [record.get(EXAMPLE) for record in data]
        if not hasattr(data, "columns") and not hasattr(data, "schema"):
            raise DataError(f"a table, a list of records or an array is needed, not {type(data).__name__}")
        self.check_columns(arrow.column_names(data))
        return arrow.cells(data, EXAMPLE)


def _plain(value: Any) -> str:
    """A value for JSON: bytes in base64, as they can be scored again; others as text."""
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else str(value)


def _is_single(kind: pa.DataType) -> bool:
    """Whether a type holds a single value that a score row can keep."""
    return not (pa.types.is_nested(kind) or isinstance(kind, pa.BaseExtensionType) or is_encoded(kind))
