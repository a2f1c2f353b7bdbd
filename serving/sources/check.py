"""What can be told of a stream's input before its output is made."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from serving.errors import DataError, UsageError
from serving.sources.sqlite_queue import SqliteQueue

LONGEST = 1 << 16
SEPARATORS = b",;\t|"


def check_input(input: str, follow: bool) -> None:
    """Refuse an input that is absent or plainly no stream; raises UsageError, DataError or TemporaryError."""
    if input.startswith("sqlite:"):
        SqliteQueue(Path(input.removeprefix("sqlite:")), {}, follow).close()
    elif input != "-":
        _check_file(Path(input), follow)


def _check_file(path: Path, follow: bool) -> None:
    if path.is_dir():
        raise UsageError(f"{path} is a folder; a stream reads one file of JSON lines, `score` reads folders")
    if not path.exists():
        if follow:
            return
        raise UsageError(f"there is no input {path}")
    try:
        lines = _first_lines(path)
    except OSError as error:
        raise UsageError(f"cannot read {path} ({error.strerror or error}); choose another --input") from error
    if not follow and lines and _is_table(path, lines):
        raise DataError(f"{path} looks like CSV or Parquet, not JSON lines; use `score` for it, or write JSON lines")


def _first_lines(path: Path) -> list[bytes]:
    """The first two lines that hold something."""
    with path.open("rb") as file:
        pieces = iter(lambda: file.readline(LONGEST), b"")
        kept = (line.removeprefix(b"\xef\xbb\xbf").strip() for line in pieces)
        return list(islice(filter(None, kept), 2))


def _is_table(path: Path, lines: list[bytes]) -> bool:
    """Two lines are looked at, because one broken record at the top of JSON lines makes no CSV."""
    if any(line[:1] in (b"{", b"[") for line in lines):
        return False
    named = path.suffix.lower() in (".csv", ".tsv", ".parquet")
    return named or lines[0].startswith(b"PAR1") or any(byte in SEPARATORS for byte in lines[0])
