"""Files that this package reads and writes outside its registry; a failed write leaves no file behind."""

from __future__ import annotations

import difflib
import fnmatch
import glob
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import UsageError, cannot_write
from serving.files import is_url, is_utf8, replacing

if TYPE_CHECKING:
    import pandas as pd

ANOTHER = "choose another --output"


@contextmanager
def placing(path: str | Path, fix: str = ANOTHER) -> Iterator[None]:
    """Raise an OSError of this block as UsageError (2) or TryAgain (75) about writing ``path``."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error, fix) from error


@contextmanager
def written(path: Path, fix: str = ANOTHER) -> Iterator[Path]:
    """A temporary file to write; it replaces ``path`` at the end of the block, and is removed if that fails."""
    with placing(path, fix), replacing(path) as temporary:
        yield temporary


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write CSV or Parquet by the suffix; a failed write leaves no file."""
    with placing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with written(path) as temporary:
        if path.suffix.lower() == ".parquet":
            frame.to_parquet(temporary, index=False)
        else:
            frame.to_csv(temporary, index=False)


def check_output(path: Path, suffixes: tuple[str, ...] = (), source: str | None = None, fix: str = ANOTHER) -> None:
    """Raise UsageError, before any work, if a file cannot be written, or is or would be read as the ``source``."""
    if suffixes and path.suffix.lower() not in suffixes:
        endings = ", ".join([*suffixes[:-2], " or ".join(suffixes[-2:])])
        raise UsageError(f"the output {path} must end in {endings}")
    if is_url(path) or not is_utf8(path):
        fault = "a URL" if is_url(path) else "not UTF-8"
        raise UsageError(f"the output {path} is {fault}; name a file on this machine")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file in it")
    if path.exists() and not path.is_file():  # it would be replaced: for root, also a device
        raise UsageError(f"{path} is no file but a device, pipe or socket; name a file")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}; create it first")
    if source is not None:
        _check_apart(path, source)
    with placing(path, fix), tempfile.TemporaryFile(dir=path.parent):
        pass


def _check_apart(output: Path, source: str) -> None:
    """Raise UsageError if the output is the source under any name: another spelling, a link or a pattern."""
    from serving.inputs import place_date

    text = place_date(source, None).removeprefix("file://")
    found = glob.glob(text, recursive=True) if "://" not in text and not Path(text).exists() else [text]
    for place in map(Path, found):
        if output.resolve() == place.resolve() or (output.exists() and place.exists() and output.samefile(place)):
            raise UsageError(f"the output {output} is the input; choose another")
        if place.is_dir() and output.resolve().is_relative_to(place.resolve()):
            raise UsageError(f"the output {output} lies in the folder that is read, {place}; choose another")
    if any(map(set("*?[").__contains__, text)) and _matches(output, text):
        raise UsageError(f"the output {output} would be read as data by {text}; choose another")


def _matches(output: Path, pattern: str) -> bool:
    """Whether a pattern finds the file, or a folder that holds it."""
    whole, path = os.path.abspath(pattern), Path(os.path.abspath(output))
    if "**" in pattern:
        return fnmatch.fnmatch(str(path), whole.replace("**/", "*"))
    return any(place.match(whole) for place in (path, *path.parents))


def read_yaml(path: str | Path, what: str, fix: str) -> Any:
    """A YAML file's values; raises UsageError naming the file, the line and column, and the fix."""
    from serving.table import documents

    path = Path(path)
    try:
        return documents.read_yaml(path)
    except FileNotFoundError as error:
        raise UsageError(f"there is no {what} {path}; {close_files(path) or fix}") from error
    except OSError as error:
        raise UsageError(f"{what} {path} cannot be read ({error.strerror}); {fix}") from error
    except ValueError as error:
        raise UsageError(f"{what} {path} cannot be read: {error}; fix it there, or {fix}") from error


def close_files(path: Path) -> str:
    """The closest file names in its folder, as a question."""
    names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=2, cutoff=0.8)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else ""
