"""Columns of arrays: one array per row, as tensors or nested lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa


def column_type(dtype: np.dtype[Any], shape: tuple[int, ...]) -> pa.DataType:
    """The Arrow type of values of a NumPy type: a tensor of ``shape`` per row, or a single value for no axes.

    Raises pa.ArrowException for types that Arrow lacks.
    """
    if dtype.kind in "US" and not shape:
        return pa.string()
    kind = pa.array(np.zeros(0, _native(dtype))).type if dtype.kind == "M" else pa.from_numpy_dtype(_native(dtype))
    return pa.fixed_shape_tensor(kind, shape) if shape else kind


def as_column(values: np.ndarray) -> pa.Array:
    """An array ``(n, ...)`` as a column of ``column_type``."""
    kind = column_type(values.dtype, values.shape[1:])
    if values.ndim == 1:
        return pa.array(values.astype(str) if values.dtype.kind == "S" else values.astype(_native(values.dtype)), kind)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1).astype(_native(values.dtype), copy=False), kind.value_type)
    storage = pa.FixedSizeListArray.from_arrays(flat, type=kind.storage_type)
    return pa.ExtensionArray.from_storage(kind, storage)


def _native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("=")


def is_nested(kind: pa.DataType) -> bool:
    """Whether a type holds an array per row."""
    return isinstance(kind, pa.FixedShapeTensorType) or _is_list(kind)


def is_encoded(kind: pa.DataType) -> bool:
    """Whether a type holds bytes, such as an image file, or the structure of bytes and path of data set libraries."""
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and is_encoded(kind.field("bytes").type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def stacked(column: pa.Array | pa.ChunkedArray) -> np.ndarray | None:
    """The arrays of a column as one array ``(n, ...)``.

    None if they differ in shape, if a value is missing, or if the column holds no numbers.
    """
    if not len(column):
        return None
    array = _whole(column)
    if isinstance(array.type, pa.FixedShapeTensorType):
        kind = array.type
        if array.null_count or (kind.permutation is not None and list(kind.permutation) != sorted(kind.permutation)):
            return None
        inside = stacked(array.storage)
        return None if inside is None else inside.reshape(len(array), *kind.shape)
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    sizes: list[int] = [len(array)]
    while _is_list(array.type):
        size = _common_length(array)
        if array.null_count or size is None:
            return None
        sizes.append(size)
        array = array.flatten()
    if array.null_count or not _is_number(array.type) or len(sizes) == 1:
        return None
    return array.to_numpy(zero_copy_only=False).reshape(sizes)


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _common_length(array: Any) -> int | None:
    """The length of each list; None if they differ."""
    if pa.types.is_fixed_size_list(array.type):
        return int(array.type.list_size)
    lengths = np.diff(array.offsets.to_numpy())
    if not len(lengths):  # lists in empty lists
        return 0
    return int(lengths[0]) if (lengths == lengths[0]).all() else None


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
