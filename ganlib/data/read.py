"""Reads tables for training, with the formats, locations and rules of scoring (``serving.inputs``).

``read_examples`` reads images and series (``ganlib.data.examples``).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ganlib.data.examples import holds_examples as holds_examples
from ganlib.data.examples import read_examples as read_examples
from ganlib.data.frames import close_names
from ganlib.data.values import reading
from ganlib.errors import DataError
from serving.inputs import Input, check_separator, list_inputs
from serving.inputs import base as inputs
from serving.inputs.listing import no_data_in
from serving.inputs.opening import open_file
from serving.table.tensors import is_encoded, is_nested
from serving.wording import listed

_EMPTY = "is empty; give it a header and rows"


@reading
def files_of(location: str | Path) -> list[Input]:
    """The files that ``read_table`` would read; raises the same ConfigError, DataError and DependencyError."""
    return list_inputs(location)


@reading
def read_table(location: str | Path, date: str | None = None) -> pd.DataFrame:
    """Read the rows of a file, folder, glob or URL into one frame; files are sorted by name.

    ``{date}`` in the location is replaced by ``date`` (YYYY-MM-DD; ``None``: today in UTC). Values of CSV, TSV and JSON
    lines stay text, and only empty ones are missing; a schema gives them types, by the same rule in training and
    scoring (``ganlib.data.inference``). Parquet keeps its types. Partition folders (``day=2026-11-26``) become text
    columns. docs/data.md describes the formats and rules.

    Raises ConfigError if the location does not exist, is not a table by its name, or needs an extra that is not
    installed; DataError for empty or corrupt files, naming file, line and fix, and for files with different columns;
    DependencyError if a store does not answer.
    """
    found = list_inputs(location, date)
    if not found:
        raise no_data_in(location)
    frames = [_read(source) for source in found]
    _check_alike([(source.path, frame.columns) for source, frame in zip(found, frames, strict=True) if frame.shape[1]])
    filled = [frame for frame in frames if len(frame)]
    if not filled:
        what = "holds a header but no rows; add rows" if any(f.shape[1] for f in frames) else _EMPTY
        raise DataError(f"{found[0].path if len(found) == 1 else location} {what}")
    if empty := [source.name for source, frame in zip(found, frames, strict=True) if not len(frame)]:
        warnings.warn(f"no rows in {listed(empty)} of {location}", stacklevel=3)
    return filled[0] if len(filled) == 1 else pd.concat(filled, ignore_index=True)


def need_column(frame: pd.DataFrame, name: str, what: str = "label") -> pd.Series:
    """A column by name; raises DataError naming the closest ones."""
    if name not in frame.columns:
        raise DataError(f"there is no {what} column {name!r}; {close_names(name, frame.columns)}")
    return frame[name]


def _check_alike(files: list[tuple[str, Iterable[object]]]) -> None:
    """Raise DataError naming the columns that not all files have."""
    first, columns = files[0] if files else ("", ())
    for path, others in files[1:]:
        if different := sorted(set(map(str, columns)) ^ set(map(str, others))):
            raise DataError(f"{path} and {first} differ in their columns: {listed(different)}; make them alike")


def _read(source: Input) -> pd.DataFrame:
    if not source.names():
        return pd.DataFrame()
    check_separator(source)
    if source.is_text:
        return _text(source)
    return _parquet(source) if source.format == "parquet" else _columns(source)


def _columns(source: Input) -> pd.DataFrame:
    """The plain columns of a NumPy file; raises DataError for images and arrays of several axes."""
    if nested := [name for name, kind in source.types().items() if is_nested(kind) or is_encoded(kind)]:
        raise DataError(
            f"{source.path} holds images or arrays in {listed(nested)}, not a table of single values; give it to a "
            "model of images or series"
        )
    return pa.concat_tables(source.tables()).to_pandas()


def _text(source: Input) -> pd.DataFrame:
    tables = list(source.tables())
    if not tables:
        return pd.DataFrame(columns=source.names())
    table = pa.concat_tables(tables)
    # Empty text is missing; the schema decides about other words.
    values = [pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column) for column in table.columns]
    return pa.table(values, names=table.column_names).to_pandas()


def _parquet(source: Input) -> pd.DataFrame:
    with inputs.reading(source):
        try:
            frame = _with_uuids(pd.read_parquet(_opened(source)), pq.read_schema(_opened(source)))
        except TypeError:  # the pandas metadata names a type that this pandas lacks
            frame = pq.ParquetFile(_opened(source)).read().to_pandas(ignore_metadata=True)
        except ValueError as error:
            if isinstance(error, pa.ArrowException):
                raise
            raise pa.ArrowInvalid(str(error)) from error
    # A named index is a column of the file, and scoring reads it as one.
    named = [name for name in frame.index.names if name in source.types()]
    frame = frame.reset_index(level=named).reset_index(drop=True) if named else frame.reset_index(drop=True)
    for key, value in source.keys:
        if key not in frame.columns:
            frame[key] = pa.repeat(pa.scalar(value or None, pa.string()), len(frame)).to_pandas()
    return frame


def _opened(source: Input) -> pa.NativeFile:
    """The open file instead of its path, from which Arrow would infer partition keys with other types."""
    file = open_file(source)
    return pa.OSFile(file, "rb") if isinstance(file, str) else file


def _with_uuids(frame: pd.DataFrame, schema: Any) -> pd.DataFrame:
    """Convert UUIDs to text; pandas reads them as bytes."""
    import uuid

    for field in schema:
        if getattr(field.type, "extension_name", "") == "arrow.uuid":
            values = [uuid.UUID(bytes=v) if isinstance(v, bytes) else v for v in frame[field.name]]
            frame[field.name] = pd.Series([None if pd.isna(v) else str(v) for v in values], frame.index, dtype="str")
    return frame
