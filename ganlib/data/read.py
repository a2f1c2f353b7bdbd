"""Read tables from files, with one clear message for each way a file can be broken."""

from __future__ import annotations

import codecs
import csv
import difflib
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ganlib.data.frames import close_names
from ganlib.errors import ConfigError, DataError

NAMES = {",": "commas", "\t": "tabs"}
IN_FOLDERS = (".parquet", ".csv")
CSV = (".csv", ".tsv", ".txt")
PARQUET = (".parquet", ".pq")
_CHUNK = 1 << 20


def read_table(path: str | Path) -> pd.DataFrame:
    """A CSV (``.tsv``: tab-separated) or Parquet file, or a folder of them (in name order), as one frame.

    Values of CSV files stay text, letter by letter, and only empty ones are missing; a schema types them, by the same
    rule in training and in scoring (``ganlib.data.inference``).

    A folder is its .parquet and .csv files, as when it is scored; what else lies there, and files and folders whose
    names begin with ``.`` or ``_``, is passed over.
    Raises ConfigError where the path does not exist or is no table, DataError on empty or broken files or on files of
    one folder with different columns, naming the file and the mend.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return _read_folder(path)
    if not path.exists():
        raise ConfigError(f"there is no data file {path}; {_near(path) or 'check the path'}")
    if path.suffix.lower() not in CSV + PARQUET:
        raise ConfigError(f"{path} is no table by its name; give a file ending in {', '.join(CSV + PARQUET)}")
    return _read_file(path)


def need_column(frame: pd.DataFrame, name: str, what: str = "label") -> pd.Series:
    """A column by name; raises DataError naming the closest ones."""
    if name not in frame.columns:
        raise DataError(f"there is no {what} column {name!r}; {close_names(name, frame.columns)}")
    return frame[name]


def _some(names: Iterable[Any], most: int = 10) -> str:
    """The first names, and how many there are beyond them."""
    shown = [str(name) for name in names]
    more = f" and {len(shown) - most:,} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def _near(path: Path) -> str:
    """Tables beside an absent file whose names are close to it, as a question; endings make no names alike."""
    beside = sorted(path.parent.iterdir()) if path.parent.is_dir() else []
    stems = {p.stem.lower() for p in beside if p.is_dir() or p.suffix.lower() in CSV + PARQUET}
    close = difflib.get_close_matches(path.stem.lower(), stems, n=2, cutoff=0.75)
    names = [repr(p.name) for stem in close for p in beside if p.stem.lower() == stem]
    return f"did you mean {' or '.join(names[:3])}?" if names else ""


def _read_folder(folder: Path) -> pd.DataFrame:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IN_FOLDERS and p.is_file())
    files = [p for p in files if not any(part[0] in "._" for part in p.relative_to(folder).parts)]
    if not files:
        raise DataError(f"{folder} holds no .parquet or .csv file; add some, or name a file of another kind itself")
    frames = [_read_file(file) for file in files]
    first = frames[0]
    for file, frame in zip(files[1:], frames[1:], strict=True):
        if odd := sorted(set(map(str, first.columns)) ^ set(map(str, frame.columns))):
            raise DataError(f"{file} and {files[0]} differ in their columns: {_some(odd)}; make them alike")
    return pd.concat(frames, ignore_index=True)


def _read_file(path: Path) -> pd.DataFrame:
    try:
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty; give it a header and rows")
        frame = _read_parquet(path) if path.suffix.lower() in PARQUET else _read_csv(path)
    except PermissionError as error:
        raise ConfigError(f"{path} may not be read; mend its permissions") from error
    if len(frame) == 0:
        raise DataError(f"{path} holds a header but no rows; add rows")
    return frame


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
