"""Read tables from files, with one clear message for each way a file can be broken."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd

from ganlib.data.inference import close_names
from ganlib.errors import ConfigError, DataError

SUFFIXES = (".csv", ".parquet")


def read_table(path: str | Path) -> pd.DataFrame:
    """A CSV or Parquet file, or a folder of them (in name order), as one frame.

    Raises ConfigError where the path does not exist, DataError on empty or broken files, naming the file and the mend.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not files:
            raise DataError(f"{path} holds no .csv or .parquet file")
        return pd.concat([_read_file(file) for file in files], ignore_index=True)
    if not path.is_file():
        raise ConfigError(f"there is no data file {path}")
    return _read_file(path)


def _read_file(path: Path) -> pd.DataFrame:
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; give it a header and rows")
    frame = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
    if len(frame) == 0:
        raise DataError(f"{path} holds a header but no rows")
    return frame


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable Parquet file ({str(error)[:200]}); write it again") from error


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
        # pandas renames repeated columns silently; the header tells.
        if twice := sorted({n for n in header if header.count(n) > 1}):
            raise DataError(f"{path}: column names must be unique; these come twice: {', '.join(twice)}")
        return pd.read_csv(path, encoding="utf-8-sig", low_memory=False)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 (byte {error.start}: {error.reason}); convert it, e.g. with iconv"
        ) from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read as CSV ({str(error).strip()[:200]}); mend that line") from error


def need_column(frame: pd.DataFrame, name: str, what: str = "label") -> pd.Series:
    """A column by name; raises DataError naming the closest ones."""
    if name not in frame.columns:
        raise DataError(f"there is no {what} column {name!r}; {close_names(name, frame.columns)}")
    return frame[name]
