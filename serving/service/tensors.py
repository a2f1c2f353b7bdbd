"""Tensors of the v2 protocol to columns: JSON data and binary data, and answers as binary data."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from serving.service.query import kind
from serving.service.rejected import bad

BYTES = "BYTES"
NUMPY: dict[str, Any] = {
    "BOOL": np.bool_, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
    "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "FP16": np.float16, "FP32": np.float32, "FP64": np.float64,
}  # fmt: skip
DATATYPES = (*NUMPY, BYTES)


def from_json(name: str, datatype: str, shape: Sequence[int], data: Any) -> np.ndarray | list[Any]:
    """The values of a tensor in ``shape``; a list if they are text, or if some are missing (null).

    ``data`` is flat, or nested as ``shape``. Raises Rejected for values of other types and for wrong counts.
    """
    flat = _flat(name, shape, data)
    allowed = _allowed(datatype)
    wrong = next((i for i, value in enumerate(flat) if type(value) not in allowed), None)
    if wrong is not None:
        raise bad(f"input {name!r}, value {wrong}: {kind(flat[wrong])} is no {datatype}", input=name, value=wrong)
    if datatype == BYTES:
        return flat if len(shape) == 1 else _alone(name, shape, flat)
    if None not in flat:
        return _array(name, datatype, flat).reshape(shape)
    if len(shape) > 1 and shape[1:] != [1]:
        raise bad(f"input {name!r}, value {flat.index(None)}: null, where each value of an example is needed")
    present = iter(_array(name, datatype, [value for value in flat if value is not None]).tolist())
    return [None if value is None else next(present) for value in flat]


def _allowed(datatype: str) -> set[type]:
    """The Python types of JSON values that a datatype takes; null is a missing value."""
    if datatype.startswith("FP"):
        return {int, float, type(None)}
    return {{"BOOL": bool, "BYTES": str}.get(datatype, int), type(None)}


def _flat(name: str, shape: Sequence[int], data: Any) -> list[Any]:
    """The values in row-major order."""
    if not isinstance(data, list):
        raise bad(f"input {name!r}: data must be a list, not {kind(data)}")
    depth = 1
    while depth < len(shape) and data and all(isinstance(part, list) for part in data):
        if len(data) != int(np.prod(shape[:depth], dtype=object)) or {len(part) for part in data} != {shape[depth]}:
            raise bad(f"input {name!r}: the lists of data do not have the shape {list(shape)}")
        data, depth = [value for part in data for value in part], depth + 1
    expected = int(np.prod(shape, dtype=object))
    if len(data) != expected:
        raise bad(f"input {name!r}: {len(data):,} values, where the shape {list(shape)} has {expected:,}")
    return data


def _alone(name: str, shape: Sequence[int], flat: list[Any]) -> list[Any]:
    if list(shape[1:]) != [1]:
        raise bad(f"input {name!r}: text needs the shape [{shape[0]}], not {list(shape)}")
    return flat


def _array(name: str, datatype: str, values: list[Any]) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):
            made = np.array(values, dtype=NUMPY[datatype])
    except (OverflowError, ValueError) as error:
        raise bad(f"input {name!r}: a value does not fit {datatype}; use a wider datatype", input=name) from error
    if made.dtype.kind == "f" and not np.isfinite(made).all():
        at = int(np.flatnonzero(~np.isfinite(made))[0])
        raise bad(f"input {name!r}, value {at}: too large for {datatype}", input=name, value=at)
    return made


def from_binary(name: str, datatype: str, shape: Sequence[int], data: bytes) -> np.ndarray | list[Any]:
    """The values of a tensor in ``shape``; a list of bytes for BYTES. Raises Rejected for a wrong size."""
    count = int(np.prod(shape, dtype=object))
    if datatype == BYTES:
        return _alone(name, shape, _texts(name, count, data)) if len(shape) > 1 else _texts(name, count, data)
    dtype = np.dtype(NUMPY[datatype]).newbyteorder("<")
    if len(data) != count * dtype.itemsize:
        raise bad(
            f"input {name!r}: {len(data):,} bytes, where the shape {list(shape)} of {datatype} has "
            f"{count * dtype.itemsize:,}"
        )
    if datatype == "BOOL" and np.frombuffer(data, np.uint8).max(initial=0) > 1:
        raise bad(f"input {name!r}: a byte of BOOL data is neither 0 nor 1")
    return np.frombuffer(data, dtype).astype(NUMPY[datatype], copy=False).reshape(shape)


def _texts(name: str, count: int, data: bytes) -> list[bytes]:
    """Values that each follow their length, 4 bytes, little-endian."""
    out: list[bytes] = []
    at = 0
    while at < len(data) and len(out) <= count:
        if at + 4 > len(data):
            raise bad(f"input {name!r}: the length of value {len(out)} is cut off")
        (size,) = struct.unpack_from("<I", data, at)
        at += 4
        if at + size > len(data):
            raise bad(f"input {name!r}: value {len(out)} has {size:,} bytes by its length, and {len(data) - at:,} left")
        out.append(data[at : at + size])
        at += size
    if len(out) != count or at != len(data):
        raise bad(f"input {name!r}: the data does not hold {count:,} values of BYTES")
    return out


def column(name: str, values: np.ndarray | list[Any], datatype: str) -> Any:
    """A tensor as a column of a table: one value a row."""
    if isinstance(values, list):
        return _column_of(name, values, datatype)
    if values.ndim > 2 or values.shape[1:] not in ((), (1,)):
        raise bad(f"input {name!r}: the shape {list(values.shape)} has more than one value a row; give [rows]")
    flat = values.reshape(-1)
    return pa.array(flat.astype(np.float32) if flat.dtype == np.float16 else flat, from_pandas=True)


def _column_of(name: str, values: list[Any], datatype: str) -> Any:
    if datatype != BYTES:
        return pa.array(values, pa.from_numpy_dtype(np.float32 if datatype == "FP16" else NUMPY[datatype]))
    return [text(name, row, value) if isinstance(value, bytes) else value for row, value in enumerate(values)]


def text(name: str, row: int, value: bytes) -> str:
    """UTF-8 text; raises Rejected naming column and row."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        why = f"is not UTF-8 (byte {error.start})"
        raise bad(f"column {name!r}, row {row}: {why}", column=name, row=row, reason=why) from error


def to_binary(values: np.ndarray | list[str]) -> bytes:
    """An output as binary data."""
    if isinstance(values, np.ndarray):
        return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    parts = [value.encode() for value in values]
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)
