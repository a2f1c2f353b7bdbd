"""Read tables for training: the formats, locations and rules are those of scoring (``serving.inputs``)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ganlib.data.frames import close_names
from ganlib.data.values import reading
from ganlib.errors import DataError
from serving.inputs import Input, check_separator, list_inputs
from serving.inputs import base as inputs
from serving.inputs.listing import no_data_in
from serving.inputs.opening import open_file
from serving.wording import listed

_EMPTY = "is empty; give it a header and rows"


@reading
def files_of(location: str | Path) -> list[Input]:
    """The files that ``read_table`` reads; raises ConfigError, DataError and DependencyError as it does."""
    return list_inputs(location)


@reading
def read_table(location: str | Path, date: str | None = None) -> pd.DataFrame:
    """The rows of a file, a folder, a glob or a URL as one frame, its files in the order of their names.

    ``{date}`` in the location becomes ``date`` (YYYY-MM-DD; today in UTC if None). Values of CSV, TSV and JSON lines
    stay text, letter by letter, and only empty ones are missing; a schema types them, by the same rule in training and
    in scoring (``ganlib.data.inference``). Parquet keeps its types. Partition folders (``day=2026-11-26``) are text
    columns. docs/data.md lists the formats and the rules.

    Raises ConfigError where there is no such place, it is no table by its name or an extra is not installed; DataError
    on empty or broken files, naming file, line and what to do, and on files that differ in their columns;
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
        if odd := sorted(set(map(str, columns)) ^ set(map(str, others))):
            raise DataError(f"{path} and {first} differ in their columns: {listed(odd)}; make them alike")


def _read(source: Input) -> pd.DataFrame:
    if not source.names():
        return pd.DataFrame()
    check_separator(source)
    return _text(source) if source.is_text else _parquet(source)


def _text(source: Input) -> pd.DataFrame:
    tables = list(source.tables())
    if not tables:
        return pd.DataFrame(columns=source.names())
    table = pa.concat_tables(tables)
    # An empty text is nothing; any other word is for the schema to judge.
    values = [pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column) for column in table.columns]
    return pa.table(values, names=table.column_names).to_pandas()


def _parquet(source: Input) -> pd.DataFrame:
    with inputs.reading(source):
        try:
            frame = pd.read_parquet(_opened(source))
        except TypeError:  # pandas' own note of a type that this pandas cannot make
            frame = pq.ParquetFile(_opened(source)).read().to_pandas(ignore_metadata=True)
        except ValueError as error:
            if isinstance(error, pa.ArrowException):
                raise
            raise pa.ArrowInvalid(str(error)) from error
    # An index that has a name is a column of the file, and scoring reads it as one.
    named = [name for name in frame.index.names if name in source.types()]
    frame = frame.reset_index(level=named).reset_index(drop=True) if named else frame.reset_index(drop=True)
    for key, value in source.keys:
        if key not in frame.columns:
            frame[key] = pa.repeat(pa.scalar(value or None, pa.string()), len(frame)).to_pandas()
    return frame


<<<<<<< HEAD
def _opened(source: Input) -> pa.NativeFile:
    """The open file, not its path: Arrow would take partition keys from that, as types of its own."""
    file = open_file(source)
    return pa.OSFile(file, "rb") if isinstance(file, str) else file
=======
def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        _refuse_twice(path, list(pq.read_schema(path).names))
        try:
            return _with_uuids(pd.read_parquet(path), pq.read_schema(path))
        except TypeError:  # pandas' own note of a type that this pandas cannot make
            return pq.read_table(path).to_pandas(ignore_metadata=True)
    except PermissionError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} is not a readable Parquet file ({_short(error)}); write it again") from error


def _with_uuids(frame: pd.DataFrame, schema: Any) -> pd.DataFrame:
    """UUIDs as text: pandas makes bytes of them."""
    import uuid

    for field in schema:
        if getattr(field.type, "extension_name", "") == "arrow.uuid":
            values = [uuid.UUID(bytes=v) if isinstance(v, bytes) else v for v in frame[field.name]]
            frame[field.name] = pd.Series([None if pd.isna(v) else str(v) for v in values], frame.index, dtype="str")
    return frame


def _read_csv(path: Path) -> pd.DataFrame:
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter=separator)
            header = next(rows, [])
            _refuse_other_separator(path, separator, header, next(rows, None))
        # pandas renames repeated columns silently; the header tells.
        _refuse_twice(path, header)
        with warnings.catch_warnings():
            # Rows longer than the header would be cut or shift the columns.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            # Text stays text: the schema says what it means, in training as in scoring. Only nothing is nothing.
            return pd.read_csv(
                path, sep=separator, encoding="utf-8-sig", low_memory=False, index_col=False, dtype=str,
                keep_default_na=False, na_values=[""],
            )  # fmt: skip
    except UnicodeDecodeError as error:
        raise DataError(_not_utf8(path)) from error
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path} is empty; give it a header and rows") from error
    except pd.errors.ParserWarning as error:
        raise DataError(f"{path}: rows have more values than the header has names; mend the header") from error
    except (pd.errors.ParserError, csv.Error, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read as CSV ({_short(error)}); mend that line") from error


def _refuse_other_separator(path: Path, separator: str, header: list[str], first: list[str] | None) -> None:
    """One name that holds another separator, as often as the first row does, is many names."""
    if len(header) != 1:
        return
    for other in (";", "\t", "|", ","):
        found = header[0].count(other)
        if other != separator and found and (first is None or separator.join(first).count(other) >= found):
            raise DataError(f"{path} looks separated by {other!r}; save it with {NAMES[separator]}")


def _refuse_twice(path: Path, names: list[str]) -> None:
    if twice := sorted({n for n in names if names.count(n) > 1 and n.strip()}):
        raise DataError(f"{path}: column names must be unique; these come twice: {_some(twice)}")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _not_utf8(path: Path) -> str:
    """Where in the file the first byte lies that is not UTF-8 (decoders count from the start of their chunk)."""
    decoder, done, lines = codecs.getincrementaldecoder("utf-8")(), 0, 1
    with path.open("rb") as file:
        while True:
            chunk, held = file.read(_CHUNK), decoder.getstate()[0]
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                offset = done - len(held) + error.start
                line = lines + (held + chunk)[: error.start].count(b"\n")
                byte = (held + chunk)[error.start]
                return (
                    f"{path} is not UTF-8: byte {offset} (0x{byte:02x}, line {line}): {error.reason}; "
                    f"convert it, e.g. iconv -f latin1 -t utf-8 {path.name}"
                )
            if not chunk:
                return f"{path} is not UTF-8; convert it, e.g. with iconv"
            done, lines = done + len(chunk), lines + chunk.count(b"\n")
>>>>>>> values
