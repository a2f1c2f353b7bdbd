"""Find the files of a location: a file, a folder, a glob or a URL of one."""

from __future__ import annotations

import glob
import posixpath
from collections.abc import Iterable
from datetime import UTC, datetime
from datetime import date as day
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from serving.errors import DataError, DependencyError, UsageError
from serving.files import is_utf8
from serving.inputs.base import Input
from serving.inputs.opening import COMPRESSIONS, filesystem
from serving.secrets import holds_secret, without_secrets

FORMATS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet"}
ENDINGS = ".parquet, .csv, .tsv or .jsonl (text also as .gz, .bz2 or .zst)"
_NULL_KEY = "__HIVE_DEFAULT_PARTITION__"
_MAGIC = frozenset("*?[")


def place_date(text: str, date: str | None) -> str:
    """``text`` with ``{date}`` filled in: ``date`` (YYYY-MM-DD), or today in UTC. Raises UsageError on another form."""
    if date is not None:
        try:
            date = day.fromisoformat(date).isoformat()
        except ValueError as error:
            raise UsageError(f"--date {date!r} is no day; write it as YYYY-MM-DD") from error
    return text.replace("{date}", date or datetime.now(UTC).date().isoformat())


def list_inputs(location: str | Path, date: str | None = None) -> list[Input]:
    """The data files of a location, in the order of their names.

    ``location`` is a file, a folder (read with all folders in it), a glob, or a URL of one of them; ``{date}`` in it
    becomes ``date``. Files and folders whose names begin with ``_`` or ``.`` are passed over, as pandas and Spark do.
    An existing folder without any file has no inputs. Raises UsageError if there is no such place, a glob matches
    nothing or an extra is not installed; DataError for a folder that holds files of other kinds alone; DependencyError
    if a store does not answer.
    """
    text = place_date(str(location), date)
    text = text.removeprefix("file://")
    return _remote(text) if "://" in text else _local(text)


def _local(text: str) -> list[Input]:
    path = Path(text)
    if path.is_file():
        return [_single(path)]
    if path.is_dir():
        base, found = path, [p for p in path.rglob("*") if p.is_file()]
    elif _MAGIC & set(text):
        base = Path(_base(text))
        found = [f for p in map(Path, glob.glob(text, recursive=True)) for f in ([p] if p.is_file() else p.rglob("*"))]
        found = [f for f in dict.fromkeys(found) if f.is_file()]
        if not found:
            raise UsageError(f"no file matches {text}")
    else:
        raise UsageError(f"there is no input {text}")
    names = {f.relative_to(base).as_posix(): f for f in found}
    chosen = _chosen(names, text)
    return [_of(names[name], name, base.as_posix()) for name in chosen]


def _base(pattern: str) -> str:
    """The folder before the first part of a path that is a pattern."""
    parts = pattern.split("/")
    first = next(i for i, part in enumerate(parts) if _MAGIC & set(part))
    return "/".join(parts[:first]) or ("/" if pattern.startswith("/") else ".")


def _chosen(names: Iterable[str], text: str) -> list[str]:
    """The data files among ``names``; raises DataError where there are only others."""
    seen = [name for name in names if not any(p[0] in "._" and "=" not in p for p in name.split("/"))]
    data = sorted(name for name in seen if kind_of(name) is not None)
    if seen and not data:
        raise DataError(f"{text} holds no data file; data files end in {ENDINGS}")
    return data


def kind_of(name: str) -> tuple[str, str | None] | None:
    """Format and compression by a file's name; None for one that is no data."""
    stem, ending = posixpath.splitext(name.lower())
    compression = COMPRESSIONS.get(ending)
    if compression:
        ending = posixpath.splitext(stem)[1]
    kind = FORMATS.get(ending)
    return None if kind is None or (compression and kind == "parquet") else (kind, compression)


def _single(path: Path) -> Input:
    """A file that was named itself: one more ending, and Parquet by its first bytes."""
    kind = kind_of(path.name) or (("csv", None) if path.suffix.lower() == ".txt" else None)
    if kind is None:
        with path.open("rb") as file:
            if file.read(4) != b"PAR1":
                raise UsageError(f"{path} is no table by its name; give a file ending in {ENDINGS}")
        kind = ("parquet", None)
    return _of(path, path.name, path.parent.as_posix(), kind)


def _of(path: Path, name: str, base: str, kind: tuple[str, str | None] | None = None) -> Input:
    try:
        stat = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}); fix its permissions or name") from error
    if not is_utf8(path):
        raise DataError(f"the name of {str(path)!r} is not UTF-8, and scores name their source; rename it")
    form, compression = kind or kind_of(name) or ("csv", None)
    return Input(
        str(path), name, form, compression, partition_keys(f"{base}/{name}"), stat.st_size, str(stat.st_mtime_ns)
    )


def partition_keys(path: str) -> tuple[tuple[str, str | None], ...]:
    """What the folders of a path say: ``day=2026-11-26/`` is the column ``day``."""
    pairs = [part.partition("=") for part in path.split("/")[:-1]]
    said = {unquote(key): unquote(value) for key, mark, value in pairs if mark and key}
    return tuple((key, None if value == _NULL_KEY else value) for key, value in said.items())


def _remote(text: str) -> list[Input]:
    if holds_secret(text):
        raise UsageError(
            f"{without_secrets(text)} holds a password or token, which would be kept with the scores; take it out and "
            "give it to the storage library by its own variables, such as FSSPEC_SFTP_PASSWORD"
        )
    fs, path = filesystem(text)
    try:
        found, base = _remote_files(fs, path, text)
    except UsageError:
        raise
    except FileNotFoundError as error:
        raise UsageError(f"there is no input {text}") from error
    except Exception as error:  # each storage library has its own errors
        raise DependencyError(f"{text} cannot be listed ({str(error)[:200]}); try again") from error
    inputs = []
    for name in _chosen(found, text):
        full, info = found[name]
        form, compression = kind_of(name) or ("csv", None)
        keys = partition_keys(f"{base}/{name}")
        inputs.append(Input(fs.unstrip_protocol(full), name, form, compression, keys, int(info["size"]), _stamp(info)))
    return inputs


def _remote_files(fs: Any, path: str, text: str) -> tuple[dict[str, tuple[str, dict[str, Any]]], str]:
    """Files by their name relative to a base, and the base."""
    if _MAGIC & set(path):
        base = _base(path)
        found = {full: info for full, info in fs.glob(path, detail=True).items() if info["type"] == "file"}
        if not found:
            raise UsageError(f"no file matches {text}")
    elif fs.isfile(path):
        base, found = posixpath.dirname(path), {path: fs.info(path)}
    elif not fs.exists(path):
        raise FileNotFoundError(path)
    else:
        base, found = path.rstrip("/"), fs.find(path, detail=True)
    return {full.removeprefix(base).lstrip("/"): (full, info) for full, info in found.items()}, base


def _stamp(info: dict[str, Any]) -> str:
    """When an object was last changed, as its store says."""
    keys = ("ETag", "etag", "mtime", "LastModified", "updated", "created")
    return next((f"{key}={info[key]}" for key in keys if info.get(key)), "")
