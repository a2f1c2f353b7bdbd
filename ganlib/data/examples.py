"""Reads images and series for training, with the formats, locations and rules of scoring (``serving.inputs``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ganlib.data.frames import MARK
from ganlib.data.values import reading
from ganlib.errors import DataError
from serving.inputs import Input, Piece, list_inputs
from serving.inputs.listing import no_data_in
from serving.table.examples import CellRefused, cells
from serving.table.tensors import is_encoded, is_nested, stacked
from serving.wording import listed

EXAMPLE = "x"
_GENERATED, _HEAD = b"tEXtSynthetic\0true", 1024  # the chunk that ``augment`` and ``translate`` write, near the start
_RESIZE = "bring all to one size before training"


@reading
def holds_examples(location: str | Path, date: str | None = None) -> bool:
    """Whether a location holds images or series, for ``read_examples``, and not a table, for ``read_table``.

    That is the case if the column ``x`` of its first file holds image files, arrays or lists. Raises ConfigError,
    DataError and DependencyError as ``read_table`` does.
    """
    source = next((source for source in list_inputs(location, date) if source.names()), None)
    kind = None if source is None else source.types().get(EXAMPLE)
    if source is None or kind is None:
        return False
    if source.format != "jsonl":
        return is_nested(kind) or is_encoded(kind)
    first = next(source.pieces([EXAMPLE], 0, 100), None)
    # A table has no lists, so they are malformed there.
    return first is not None and any(b.column == EXAMPLE and "is a list" in b.reason for b in first.broken)


@reading
def read_examples(location: str | Path, date: str | None = None, modality: str | None = None) -> dict[str, np.ndarray]:
    """Read images or series of a file, folder, glob or URL: ``{"x": (n, ...), ...}``, an array per column.

    - A folder of images gives ``x``, uint8 ``(n, h, w)`` if all are grey and ``(n, h, w, 3)`` otherwise, ``name``,
      their paths, ``y``, the subfolder, if there are any, and ``_synthetic`` if files say that they were generated.
    - An .npz file gives its arrays, an .npy file ``x``.
    - Parquet files and JSON lines give ``x`` from nested lists, tensors or encoded images, and their other columns.
      Whole numbers that JSON holds are bytes if ``modality`` is "image".

    ``{date}`` in the location is replaced by ``date`` (YYYY-MM-DD; ``None``: today in UTC). Texts and missing values
    are objects. docs/data.md describes the formats.

    Raises ConfigError if the location does not exist or needs an extra that is not installed; DataError for empty
    folders, files without ``x``, broken files, and examples of different sizes or types, naming file and fix;
    DependencyError if a store does not answer.
    """
    inputs = [source for source in list_inputs(location, date) if source.names()]
    if not inputs:
        raise no_data_in(location)
    found = _Found(str(location))
    for source in inputs:
        for piece in _pieces(source):
            found.add(source, piece)
    return found.arrays(modality)


def _pieces(source: Input) -> Iterator[Piece]:
    names = source.names()
    if EXAMPLE not in names:
        raise DataError(f"{source.path} has no column or array {EXAMPLE!r} of images or series; it has {listed(names)}")
    for piece in source.pieces(names, 0, None, [EXAMPLE], names):
        if piece.broken:
            first = piece.broken[0]
            raise DataError(f"{source.path}, row {first.row}: {first.reason}; fix it, or drop the row")
        yield piece


@dataclass
class _Found:
    """The examples and columns of a location, as they are read; ``first`` names the first example."""

    location: str
    parts: list[np.ndarray] = field(default_factory=list)
    tables: list[pa.Table] = field(default_factory=list)
    columns: tuple[str, list[str]] | None = None
    first: tuple[str, np.ndarray] | None = None
    typed: bool = True
    generated: list[bool] = field(default_factory=list)

    def add(self, source: Input, piece: Piece) -> None:
        """Add the rows of a piece; raises DataError for an example that differs from the first."""
        table = piece.table.drop_columns([EXAMPLE])
        if self.columns and set(self.columns[1]) != set(table.column_names):
            different = sorted(set(self.columns[1]) ^ set(table.column_names))
            raise DataError(
                f"{source.path} and {self.columns[0]} differ in their columns: {listed(different)}; make them alike"
            )
        self.columns = self.columns or (source.path, table.column_names)
        self.tables.append(_missing(table) if source.is_text else table)
        column = piece.table.column(EXAMPLE)
        whole = stacked(column)
        if whole is not None:
            if len(whole):
                self._keep(f"{source.path}, row {piece.start}", whole)
            return
        names = table.column("name").to_pylist() if source.format == "images" else None
        if names:
            self.generated += [_GENERATED in file.as_buffer()[:_HEAD].to_pybytes() for file in column]
        for row, cell in enumerate(cells(column)):
            place = f"{source.path}, " + (f"{names[row]}" if names else f"row {piece.rows()[row]}")
            if isinstance(cell, CellRefused):
                raise DataError(f"{place}: {EXAMPLE!r} {cell}")
            self.typed &= cell.typed
            self._keep(place, cell.values[None])

    def _keep(self, place: str, values: np.ndarray) -> None:
        before, example = self.first or (place, values[0])
        self.first = before, example
        if _size(example) != _size(values[0]):
            raise DataError(f"{place} has the shape {_axes(values[0])}, and {before} {_axes(example)}; {_RESIZE}")
        if (example.dtype == np.uint8) != (values.dtype == np.uint8):
            raise DataError(f"{place} holds {values.dtype}, and {before} {example.dtype}; write all in one type")
        self.parts.append(values)

    def arrays(self, modality: str | None) -> dict[str, np.ndarray]:
        """All examples, and the columns by name; raises DataError if there are none."""
        if not self.parts:
            raise DataError(f"{self.location} holds no examples; add some")
        if len({part.ndim for part in self.parts}) > 1:  # grey images among images with colours
            self.parts = [part if part.ndim == 4 else np.repeat(part[..., None], 3, 3) for part in self.parts]
        x = np.concatenate(self.parts)
        if modality == "image" and not self.typed and x.dtype.kind in "iu" and x.min() >= 0 and x.max() <= 255:
            x = x.astype(np.uint8)
        table = pa.concat_tables(self.tables, promote_options="permissive")
        found = {name: table.column(name).to_pandas().to_numpy() for name in table.column_names}
        if any(self.generated):
            found[MARK] = np.array(self.generated)
        return {EXAMPLE: x, **found}


def _size(example: np.ndarray) -> tuple[int, ...]:
    """The shape, without the colours of an image of bytes."""
    coloured = example.dtype == np.uint8 and example.ndim == 3 and example.shape[2] == 3
    return example.shape[:2] if coloured else example.shape


def _axes(example: np.ndarray) -> str:
    return " x ".join(map(str, example.shape)) or "of a single value"


def _missing(table: pa.Table) -> pa.Table:
    """Text columns with empty texts as missing values, as ``read_table`` reads them."""
    values = [pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column) for column in table.columns]
    return pa.table(values, names=table.column_names)
