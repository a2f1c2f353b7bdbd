"""Opens local, remote and compressed files as streams of bytes."""

from __future__ import annotations

import codecs
import io
import os
import posixpath
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from serving.errors import DependencyError, UsageError

if TYPE_CHECKING:
    from serving.inputs.base import Input

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".zstd": "zstd"}
# The extra that installs the library for a scheme (pyproject.toml).
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
_CHUNK = 1 << 20
_CONVERT = "convert it, e.g. with iconv -f latin1 -t utf-8"


def filesystem(location: str) -> tuple[Any, str]:
    """The fsspec file system of a URL and the path in it; raises UsageError naming a missing extra."""
    scheme = location.partition("://")[0]
    extra = EXTRAS.get(scheme, "remote")
    try:
        import fsspec

        return fsspec.core.url_to_fs(location)
    except ImportError as error:
        raise UsageError(f"reading {scheme}:// needs an extra: pip install 'ganlib[{extra}]'") from error
    except ValueError as error:
        raise UsageError(f"{location}: {' '.join(str(error).split())}; use a path, s3://, gs:// or file://") from error
    except Exception as error:  # storage libraries raise their own types, e.g. for missing credentials
        raise DependencyError(f"{location} cannot be reached ({str(error)[:200]}); try again") from error


def open_file(source: Input) -> Any:
    """A local path, or a seekable Arrow file for a URL, as Parquet needs."""
    if not source.remote:
        return source.path
    fs, path = filesystem(source.path)
    return pa.PythonFile(fs.open(path, "rb"), mode="r")


def open_bytes(source: Input) -> pa.NativeFile:
    """The bytes of a file, decompressed."""
    file = open_file(source)
    raw = pa.OSFile(file, "rb") if isinstance(file, str) else file
    return raw if source.compression is None else pa.CompressedInputStream(raw, source.compression)


def open_text(source: Input) -> io.TextIOWrapper:
    """The text of a file, without a byte order mark."""
    return io.TextIOWrapper(io.BufferedReader(open_bytes(source), _CHUNK), encoding="utf-8-sig", newline="")


def not_utf8(source: Input) -> str:
    """The message for a file that is not UTF-8: where it stops being so, and how to fix it."""
    decoder, done, lines = codecs.getincrementaldecoder("utf-8")(), 0, 1
    with open_bytes(source) as file:
        while True:
            chunk, held = file.read(_CHUNK), decoder.getstate()[0]
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                text = held + chunk
                byte, line = done - len(held) + error.start, lines + text[: error.start].count(b"\n")
                where = f"byte {byte} (0x{text[error.start]:02x}, line {line}): {error.reason}"
                return f"{source.path} is not UTF-8: {where}; {_CONVERT}"
            if not chunk:
                return f"{source.path} is not UTF-8; {_CONVERT}"
            done, lines = done + len(chunk), lines + chunk.count(b"\n")


def states(source: Input) -> Iterator[dict[str, Any]]:
    """Size and stamp that a file has now; raises OSError if it is gone.

    Some stores report an object's time differently in its own entry and in a listing. Both are yielded then, the
    faster one first.
    """
    if not source.remote:
        yield file_state(os.stat(source.path))
        return
    fs, path = filesystem(source.path)
    fs.invalidate_cache()
    yield object_state(fs.info(path))
    yield from (object_state(info) for info in fs.ls(posixpath.dirname(path), detail=True) if info["name"] == path)


def file_state(stat: os.stat_result) -> dict[str, Any]:
    """Size and stamp of a local file."""
    return {"size": stat.st_size, "stamp": str(stat.st_mtime_ns)}


def object_state(info: dict[str, Any]) -> dict[str, Any]:
    """Size of an object, and a stamp of its last change as reported by its store."""
    keys = ("ETag", "etag", "mtime", "LastModified", "updated", "created")
    stamp = next((f"{key}={info[key]}" for key in keys if info.get(key)), "")
    return {"size": int(info["size"]), "stamp": stamp}
