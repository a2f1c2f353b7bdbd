"""Files that this package reads and writes outside its registry: whole or absent, and refused in one line."""

from __future__ import annotations

import contextlib
import difflib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.errors import UsageError, cannot_write
from serving.files import is_url, is_utf8

ANOTHER = "choose another --output"


@contextmanager
def placing(path: str | Path, mend: str = ANOTHER) -> Iterator[None]:
    """What the file system refuses in this block is about writing ``path``: UsageError (2), or TryAgain (75)."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error, mend) from error


@contextmanager
def written(path: Path, mend: str = ANOTHER) -> Iterator[Path]:
    """A temporary file to write; it becomes ``path`` at the block's end, and is gone where that fails."""
    from serving.files import sync_folder

    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with placing(path, mend):
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def check_output(path: Path, suffixes: tuple[str, ...] = (), source: str | None = None, mend: str = ANOTHER) -> None:
    """Refuse, before any work, a file that could not be written or that is, or lies among, the ``source``."""
    if suffixes and path.suffix.lower() not in suffixes:
        raise UsageError(f"the output {path} must end in {' or '.join(suffixes)}")
    if is_url(path) or not is_utf8(path):
        fault = "a URL" if is_url(path) else "not UTF-8"
        raise UsageError(f"the output {path} is {fault}; name a file on this machine")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file in it")
    if path.exists() and not path.is_file():  # it would be replaced: for root, also a device
        raise UsageError(f"{path} is no file but a device, pipe or socket; name a file")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}; make it first")
    if source is not None:
        _check_apart(path, Path(source).expanduser())
    with placing(path, mend), tempfile.TemporaryFile(dir=path.parent):
        pass


def _check_apart(output: Path, source: Path) -> None:
    """Under whatever name: another spelling, a link."""
    if output.resolve() == source.resolve() or (output.exists() and source.exists() and output.samefile(source)):
        raise UsageError(f"the output {output} is the input; choose another")
    if source.is_dir() and output.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"the output {output} lies in the folder that is read, {source}; choose another")


def read_yaml(path: str | Path, what: str, mend: str) -> Any:
    """A YAML file's values; raises UsageError naming the file, the line and column, and the mend."""
    from serving.table import documents

    path = Path(path)
    try:
        return documents.read_yaml(path)
    except FileNotFoundError as error:
        raise UsageError(f"there is no {what} {path}; {_near(path) or mend}") from error
    except OSError as error:
        raise UsageError(f"{what} {path} cannot be read ({error.strerror}); {mend}") from error
    except ValueError as error:
        raise UsageError(f"{what} {path} cannot be read: {error}; mend it there, or {mend}") from error


def _near(path: Path) -> str:
    """The closest file names beside it, as a question."""
    names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=2, cutoff=0.8)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else ""
