"""Finds the data files of a location: a file, a folder, a glob, or a URL of one of these."""

from __future__ import annotations

import difflib
import glob
import os
import posixpath
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from datetime import date as day
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from serving.errors import DataError, DependencyError, UsageError
from serving.files import is_utf8
from serving.inputs import images
from serving.inputs.base import Input
from serving.inputs.opening import COMPRESSIONS, file_state, filesystem, object_state
from serving.secrets import holds_secret, without_secrets
from serving.table.pictures import SUFFIXES

TEXT = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
FORMATS = TEXT | {".parquet": "parquet", ".pq": "parquet", ".npz": "npz", ".npy": "npy"}
FORMATS |= dict.fromkeys(SUFFIXES, "images")
ENDINGS = ".parquet, .csv, .tsv or .jsonl (text also as .gz, .bz2 or .zst), .npz, .npy, or of images, such as .png"
_NULL_KEY = "__HIVE_DEFAULT_PARTITION__"
_MAGIC = frozenset("*?[")


def place_date(text: str, date: str | None) -> str:
    """A location with ``{date}`` replaced by ``date`` (YYYY-MM-DD; default: today in UTC) and ``~`` expanded.

    Raises UsageError if ``date`` has another format.
    """
    if date is not None:
        try:
            date = day.fromisoformat(date).isoformat()
        except ValueError as error:
            raise UsageError(f"--date {date!r} is no day; write it as YYYY-MM-DD") from error
    return os.path.expanduser(text.replace("{date}", date or datetime.now(UTC).date().isoformat()))


def list_inputs(location: str | Path, date: str | None = None) -> list[Input]:
    """The data files of a location, sorted by name.

    ``location`` is a file, a folder (read recursively), a glob, or a URL of one of these; ``{date}`` in it is replaced
    by ``date``. Files and folders whose names begin with ``_`` or ``.`` are skipped, as in pandas and Spark. An empty
    folder has no inputs. All image files of a location are one input; the images are its rows.

    Raises UsageError if the location does not exist, a glob matches nothing or an extra is not installed; DataError if
    a folder holds only files of other formats, or images and other data; DependencyError if a store does not answer.
    """
    text = place_date(str(location), date)
    text = text.removeprefix("file://")
    files = list_files(text)
    return [images.as_one(text, files)] if any(file.format == "images" for file in files) else files


def list_files(text: str) -> list[Input]:
    """As ``list_inputs``, but with an input for each image file."""
    return _remote(text) if "://" in text else _local(text)


def _local(text: str) -> list[Input]:
    path = Path(text)
    if path.is_file():
        return [_single(path)]
    if path.is_dir():
        base, found = path, list(_files(path))
    elif _MAGIC & set(text):
        base = Path(_base(text))
        matches = map(Path, glob.glob(text, recursive=True))
        found = list(dict.fromkeys(f for p in matches for f in (_files(p) if p.is_dir() else [p]) if _is_file(f)))
        if not found:
            raise UsageError(f"no file matches {text}; check the pattern")
    else:
        raise UsageError(f"there is no input {text}; {_near(path) or 'check the path'}")
    names = {f.relative_to(base).as_posix(): f for f in found}
    chosen = _chosen(names, text)
    return [_of(names[name], name, base.as_posix()) for name in chosen]


def _files(folder: Path) -> Iterator[Path]:
    """The files of a folder and its subfolders, without those that are skipped by name.

    Raises DataError if a folder cannot be listed, because its rows would be missing silently.
    """

    def fail(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be listed ({error.strerror}); fix its permissions") from error

    for place, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not _is_skipped(name)]
        yield from filter(_is_file, (Path(place, name) for name in names))


def _is_file(path: Path) -> bool:
    """Whether a path is a file; includes dangling links, so that opening them fails visibly."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def _is_skipped(name: str) -> bool:
    return name[0] in "._" and "=" not in name


def _near(path: Path) -> str:
    """A "did you mean" hint with data files of similar name beside a missing one; compares names without endings."""
    try:
        beside = sorted(path.parent.iterdir())
    except OSError:
        return ""
    stems = {p.name: _stem(p.name) for p in beside if p.is_dir() or kind_of(p.name) or p.suffix.lower() == ".txt"}
    close = difflib.get_close_matches(_stem(path.name), set(stems.values()), n=2, cutoff=0.75)
    names = [repr(name) for near in close for name, stem in stems.items() if stem == near]
    return f"did you mean {' or '.join(names[:3])}?" if names else ""


def _stem(name: str) -> str:
    """A name without the endings for format and compression."""
    stem, ending = posixpath.splitext(name.lower())
    return posixpath.splitext(stem)[0] if ending in COMPRESSIONS else stem


def _base(pattern: str) -> str:
    """The folder before the first pattern in a path."""
    parts = pattern.split("/")
    first = next(i for i, part in enumerate(parts) if _MAGIC & set(part))
    return "/".join(parts[:first]) or ("/" if pattern.startswith("/") else ".")


def _chosen(names: Iterable[str], text: str) -> list[str]:
    """The data files among ``names``; raises DataError if there are only other files."""
    seen = [name for name in names if not any(map(_is_skipped, name.split("/")))]
    data = sorted(name for name in seen if kind_of(name) is not None)
    if seen and not data:
        raise no_data_in(text)
    return data


def no_data_in(location: str | Path) -> DataError:
    """The error for a folder without readable data files."""
    return DataError(f"{location} holds no data file; data files end in {ENDINGS}")


def kind_of(name: str) -> tuple[str, str | None] | None:
    """Format and compression by a file's name; None if it is not a data file."""
    stem, ending = posixpath.splitext(name.lower())
    compression = COMPRESSIONS.get(ending)
    if compression:
        ending = posixpath.splitext(stem)[1]
    kind = FORMATS.get(ending)
    return None if kind is None or (compression and kind not in TEXT.values()) else (kind, compression)


def _single(path: Path) -> Input:
    """A file that was named directly: also accepts .txt as CSV, and Parquet by its first bytes."""
    kind = kind_of(path.name) or (("csv", None) if path.suffix.lower() == ".txt" else None)
    if kind is None:
        if _starts(path) != b"PAR1":
            raise UsageError(f"{path} does not have the name of a table; give a file ending in {ENDINGS}")
        kind = ("parquet", None)
    return _of(path, path.name, path.parent.as_posix(), kind)


def _starts(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path} cannot be read ({error.strerror or error}); fix its permissions or name")


def _of(path: Path, name: str, base: str, kind: tuple[str, str | None] | None = None) -> Input:
    try:
        stat = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    if not is_utf8(path):
        raise DataError(f"the name of {str(path)!r} is not UTF-8, and scores name their source; rename it")
    form, compression = kind or kind_of(name) or ("csv", None)
    return Input(str(path), name, form, compression, partition_keys(f"{base}/{name}"), **file_state(stat))


def partition_keys(path: str) -> tuple[tuple[str, str | None], ...]:
    """The partition keys in a path: the folder ``day=2026-11-26`` is the column ``day``."""
    pairs = [part.partition("=") for part in path.split("/")[:-1]]
    said = {unquote(key): unquote(value) for key, mark, value in pairs if mark and key}
    return tuple((key, None if value == _NULL_KEY else value) for key, value in said.items())


def _remote(text: str) -> list[Input]:
    if holds_secret(text):
        raise UsageError(
            f"{without_secrets(text)} holds a password or token, which would be stored with the scores; remove it and "
            "set it in the storage library's environment variables, such as FSSPEC_SFTP_PASSWORD"
        )
    fs, path = filesystem(text)
    try:
        found, base = _remote_files(fs, path, text)
    except UsageError:
        raise
    except FileNotFoundError as error:
        raise UsageError(f"there is no input {text}; check the URL") from error
    except Exception as error:  # each storage library has its own errors
        raise DependencyError(f"{text} cannot be listed ({str(error)[:200]}); try again") from error
    inputs = []
    for name in _chosen(found, text):
        full, info = found[name]
        form, compression = kind_of(name) or ("csv", None)
        keys = partition_keys(f"{base}/{name}")
        inputs.append(Input(fs.unstrip_protocol(full), name, form, compression, keys, **object_state(info)))
    return inputs


def _remote_files(fs: Any, path: str, text: str) -> tuple[dict[str, tuple[str, dict[str, Any]]], str]:
    """The files by their name relative to a base, and that base."""
    if _MAGIC & set(path):
        base = _base(path)
        found = {full: info for full, info in fs.glob(path, detail=True).items() if info["type"] == "file"}
        if not found:
            raise UsageError(f"no file matches {text}; check the pattern")
    elif fs.isfile(path):
        base, found = posixpath.dirname(path), {path: fs.info(path)}
    elif not fs.exists(path):
        raise FileNotFoundError(path)
    else:
        base, found = path.rstrip("/"), fs.find(path, detail=True)
    return {full.removeprefix(base).lstrip("/"): (full, info) for full, info in found.items()}, base
