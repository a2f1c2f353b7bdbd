"""Examples in the cells of a column: image files, tensors, nested lists, JSON lists or base64.

``cells`` yields the array of each cell, unchanged. ``Layout`` says which arrays a model takes, and ``read`` converts a
column to them or says of each other row why it does not fit.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa

from serving.table.pictures import PictureRefused, decode
from serving.table.tensors import stacked

Column: TypeAlias = "pa.Array | pa.ChunkedArray | np.ndarray | Sequence[Any]"
# Rounding may carry a pixel a little beyond its range (ganlib.data.images).
SLACK = 1e-5


class CellRefused(ValueError):
    """A cell cannot be read; the message is a predicate, such as ``is missing``."""


@dataclass(frozen=True)
class Layout:
    """The arrays that a model takes: axes and type of one example as its user has it.

    Images are bytes (``uint8``) or floats in [0, 1] or [-1, 1] (``float32`` with ``low``), of shape ``(h, w)``, or with
    an axis of 1 or 3 ``channels`` first or last. Series are ``float64`` or bytes, of shape ``(channels, length)``.
    """

    modality: Literal["image", "series"]
    shape: tuple[int, ...]
    dtype: Literal["uint8", "float32", "float64"]
    channels: Literal["first", "last"] | None = None
    low: float | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of an image, or channels and length of a series."""
        inside = {"first": self.shape[1:], "last": self.shape[:-1]}.get(self.channels or "", self.shape)
        return int(inside[0]), int(inside[1])

    @property
    def colours(self) -> int:
        """Channels of an image: 1 or 3."""
        return 1 if self.channels is None else self.shape[0 if self.channels == "first" else -1]

    @property
    def said(self) -> str:
        """The type and range, for messages."""
        if self.dtype == "float64":
            return "finite numbers"
        return "bytes from 0 to 255" if self.dtype == "uint8" else f"floats from {self.low:g} to 1"


@dataclass(frozen=True)
class Cell:
    """The array of one cell. ``decoded``: from an image file; ``typed``: its type was stated, not guessed from JSON."""

    values: np.ndarray
    typed: bool = True
    decoded: bool = False


def read(column: Column, layout: Layout, most: int) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """The fitting rows of a column as one array ``(k, *shape)``, and the others with the reason.

    Stops once more than ``most`` rows do not fit. Raises UsageError for image files without Pillow.
    """
    whole = stacked(column) if isinstance(column, pa.Array | pa.ChunkedArray) else None
    if isinstance(column, np.ndarray) and column.dtype != object:
        whole = column
    if whole is not None:
        made, bad = _fitted(whole, layout, True)
        return (made if not bad else np.delete(made, [row for row, _ in bad], 0)), bad
    rows, bad = [], []
    for row, cell in enumerate(cells(column, layout.size if layout.modality == "image" else None)):
        why = str(cell) if isinstance(cell, CellRefused) else ""
        if isinstance(cell, Cell):
            made, wrong = _one(cell, layout)
            why = wrong or why
            rows += [] if wrong else [made]
        if why:
            bad.append((row, why))
            if len(bad) > most:
                break
    return (np.concatenate(rows) if rows else np.zeros((0, *layout.shape), layout.dtype)), bad


def cells(column: Column, size: tuple[int, int] | None = None) -> Iterator[Cell | CellRefused]:
    """The array of each cell, or why it has none; image files of another ``size`` are not decoded."""
    for value in column:
        try:
            yield _cell(value, size)
        except CellRefused as rejected:
            yield rejected


def _cell(value: Any, size: tuple[int, int] | None) -> Cell:
    value, kind = _plain(value)
    if isinstance(value, dict):
        value = _bytes_of(value)
    if isinstance(value, str):
        value = _text(value)
    if value is None:
        raise CellRefused("is missing")
    if isinstance(value, bytes | bytearray | memoryview):
        try:
            return Cell(decode(bytes(value), size), decoded=True)
        except PictureRefused as error:
            raise CellRefused(str(error)) from error
    if isinstance(value, np.ndarray) and value.dtype != object:
        return Cell(value)
    if isinstance(value, list | tuple | np.ndarray):
        return _listed(list(value), kind)
    raise CellRefused(f"is {_shown(value)}, where an array or an image is needed")


def _plain(value: Any) -> tuple[Any, np.dtype[Any] | None]:
    """A value as Python and NumPy hold it, and the type of the numbers in Arrow lists."""
    if not isinstance(value, pa.Scalar):
        return value, None
    if isinstance(value, pa.ExtensionScalar) and value.is_valid:
        if isinstance(value.type, pa.FixedShapeTensorType):
            return value.to_numpy(), None
        value = value.value
    return value.as_py(), _leaf(value.type)


def _leaf(kind: pa.DataType) -> np.dtype[Any] | None:
    """The NumPy type of the values in nested lists; None if they are no numbers."""
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return np.dtype(kind.to_pandas_dtype()) if numeric else None


def _bytes_of(value: dict[str, Any]) -> Any:
    if value.get("bytes") is None:
        if value.get("path"):
            raise CellRefused(f"names the file {_shown(value['path'])} but does not hold it; embed the files' bytes")
        raise CellRefused("is missing")
    return value["bytes"]


def _text(text: str) -> list[Any] | bytes | None:
    """A JSON list, or the bytes of base64, also with the head of a data URL; None for empty text."""
    text = text.strip()
    if not text:
        return None
    try:
        if text.startswith("["):
            return json.loads(text)
        return base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
    except (ValueError, RecursionError, binascii.Error) as error:
        raise CellRefused(f"is {_shown(text)}, which is neither a list of numbers nor an image in base64") from error


def _listed(value: list[Any], kind: np.dtype[Any] | None) -> Cell:
    try:
        array = np.array(value)
    except (ValueError, RecursionError, OverflowError) as error:
        raise CellRefused("holds lists of different lengths") from error
    if array.dtype == object and all(isinstance(part, np.ndarray) for part in array.flat):
        raise CellRefused("holds lists of different lengths")
    if array.dtype == object or array.dtype.kind not in "biuf" or not array.size:
        raise CellRefused("holds a value that is missing or no number" if array.size else "is empty")
    return Cell(array if kind is None else array.astype(kind), typed=kind is not None)


def _shown(value: Any) -> str:
    said = repr(value)
    return said if len(said) <= 40 else said[:39] + "…"


def _one(cell: Cell, layout: Layout) -> tuple[np.ndarray, str]:
    """A cell as an array of one row, or why it does not fit."""
    values = cell.values
    if cell.decoded:
        if layout.modality != "image":
            return values, "is an image file, where the model takes series"
        values, why = _coloured(values, layout)
        if why:
            return values, why
        if layout.dtype != "uint8":
            values = values / np.float32(255) if layout.low == 0 else values / np.float32(127.5) - np.float32(1)
    made, bad = _fitted(values[None], layout, cell.typed)
    return made, bad[0][1] if bad else ""


def _coloured(pixels: np.ndarray, layout: Layout) -> tuple[np.ndarray, str]:
    """Decoded pixels with the channels of the layout, or why they do not fit."""
    if layout.colours == 1 and pixels.ndim == 3:
        if not (pixels == pixels[..., :1]).all():
            return pixels, "has colours, where the model takes grey images"
        pixels = pixels[..., 0]
    if layout.channels is None:
        return pixels, ""
    deep = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], layout.colours, 2)
    return (deep if layout.channels == "last" else deep.transpose(2, 0, 1)), ""


def _fitted(values: np.ndarray, layout: Layout, typed: bool) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """Arrays ``(n, ...)`` in the type of the layout, and the rows that do not fit. All rows may not."""
    why = _unfit(values, layout, typed)
    if why:
        return np.zeros((len(values), *layout.shape), layout.dtype), [(row, why) for row in range(len(values))]
    if layout.dtype == "uint8":
        wrong = _rows((values < 0) | (values > 255)) if values.dtype != np.uint8 else np.zeros(0, int)
        return values.astype(np.uint8), [(int(r), _beyond(values[r], layout)) for r in wrong]
    made = values.astype(layout.dtype)
    outside = ~np.isfinite(made)
    if layout.low is not None:
        outside |= (made < layout.low - SLACK) | (made > 1 + SLACK)
    return made, [(int(r), _beyond(made[r], layout)) for r in _rows(outside)]


def _unfit(values: np.ndarray, layout: Layout, typed: bool) -> str:
    """Why arrays of this shape and type are not what the model takes; empty if they are."""
    if values.shape[1:] != layout.shape:
        return f"has the shape {_axes(values.shape[1:])}, where the model takes {_axes(layout.shape)}"
    allowed = {"uint8": "iu", "float32": "bf" if typed else "bfiu", "float64": "iuf"}[layout.dtype]
    if values.dtype.kind in allowed:
        return ""
    return f"holds values of type {values.dtype}, where the model takes {layout.said}"


def _axes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "of a single value"


def _rows(wrong: np.ndarray) -> np.ndarray:
    return np.flatnonzero(wrong.any(axis=tuple(range(1, wrong.ndim))))


def _beyond(values: np.ndarray, layout: Layout) -> str:
    """Why one row's values do not fit, with the first at fault."""
    with np.errstate(invalid="ignore"):
        low, high = (0, 255) if layout.dtype == "uint8" else (layout.low, 1)
        right = np.isfinite(values)
        if low is not None:
            right &= (values >= low - SLACK) & (values <= high + SLACK)
    first = values[~right].flat[0]
    return f"holds {first:g}, where the model takes {layout.said}"
