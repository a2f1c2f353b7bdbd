"""Converts frames, tables and records to Arrow columns. Accepted are:

- pandas frames of every scalar dtype of pandas and Arrow: numbers, nullable numbers, booleans, strings, dates with or
  without zone, durations, periods, intervals, categories, sparse columns, Arrow types, and objects (numbers, Decimal,
  dates, bytes, UUID, Enum, mixed);
- frames of any library with the Arrow C interface: polars, DuckDB, PyArrow;
- lists of records.

Complex numbers, lists, mappings and invalid Unicode raise an error that names the column.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from serving.errors import DataError, ValueRefused
from serving.table.extensions import stored

_VIEWS = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
_HALF = "holds half a character (a lone surrogate); fix its encoding"


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, NaT or pandas' NA."""
    return (
        value is None
        or (isinstance(value, float | np.floating) and math.isnan(value))
        or (isinstance(value, decimal.Decimal) and value.is_nan())
        or str(value) in ("<NA>", "NaT")
    )


def plain_text(value: Any) -> str:
    """A scalar as a string: ``true``/``false``, whole numbers without a decimal point, anything else by ``str``."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, enum.Enum):
        return str(value)
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return str(int(value)) if float(value).is_integer() else str(float(value))
    return str(value)


def as_table(data: Any, names: Iterable[str]) -> pa.Table:
    """The named columns of a frame, table or batch, as Arrow columns; names are compared as strings."""
    if isinstance(data, pa.RecordBatch):
        data = pa.Table.from_batches([data])
    if not isinstance(data, pa.Table) and not _is_pandas(data) and hasattr(data, "__arrow_c_stream__"):
        data = pa.table(data)
    if isinstance(data, pa.Table):
        wanted = set(names)
        chosen = data.select([i for i, name in enumerate(data.column_names) if name in wanted])
        columns = [stored(field, column) for field, column in zip(chosen.schema, chosen.columns, strict=True)]
        return pa.Table.from_arrays(columns, names=chosen.column_names)
    place = {str(name): i for i, name in enumerate(data.columns)}
    return pa.table({name: column(name, data.iloc[:, place[name]]) for name in names})


def cells(data: Any, name: str) -> pa.ChunkedArray | list[Any]:
    """A column of examples: an Arrow column unchanged, a pandas column as a list of its objects."""
    if not isinstance(data, pa.Table | pa.RecordBatch) and not _is_pandas(data) and hasattr(data, "__arrow_c_stream__"):
        data = pa.table(data)
    return data.column(name) if isinstance(data, pa.Table | pa.RecordBatch) else list(data[name])


def without_views(table: pa.Table) -> pa.Table:
    """Cast string and binary views to Arrow's older types, which pandas supports."""
    fields = [f.with_type(_VIEWS.get(f.type, f.type)) for f in table.schema]
    return table.cast(pa.schema(fields, table.schema.metadata))


def column_names(data: Any) -> list[str]:
    """The names of a frame's or a table's columns, as strings."""
    names = data.schema.names if isinstance(data, pa.Table | pa.RecordBatch) else data.columns
    return [str(name) for name in names]


def _is_pandas(data: Any) -> bool:
    return type(data).__module__.partition(".")[0] == "pandas"


def column(name: str, values: Any) -> pa.Array:
    """One column as Arrow: a pandas Series, an array or a list.

    Mixed Python values become strings, so that an error message can name the value that does not fit.
    """
    values = _ordinary(name, values)
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return flat(values)
    try:
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, UnicodeEncodeError):
        return _texts(name, values)
    return flat(array) if not isinstance(array.type, pa.BaseExtensionType) else _texts(name, values)


def flat(values: Any) -> pa.Array:
    """One array of plain values: joins chunks and decodes dictionaries and extension types.

    Times are truncated to microseconds.
    """
    array = values
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], type=array.type)
    if pa.types.is_dictionary(array.type):
        array = flat(array.dictionary).take(array.indices)
    if array.type in _VIEWS:  # polars' strings, which few Arrow functions support
        array = array.cast(_VIEWS[array.type])
    if isinstance(array.type, pa.BaseExtensionType):
        return pa.array([None if v is None else plain_text(v) for v in array.to_pylist()], pa.string())
    if pa.types.is_run_end_encoded(array.type):
        return pc.run_end_decode(array)
    if pa.types.is_float16(array.type):  # few Arrow functions support float16
        return array.cast(pa.float32())
    if pa.types.is_timestamp(array.type) and array.type.unit == "ns":  # a plain cast would round towards 1970
        return pc.floor_temporal(array, unit="microsecond").cast(pa.timestamp("us", array.type.tz))
    return array


def _ordinary(name: str, values: Any) -> Any:
    """Convert a pandas column of a type that Arrow lacks to one that it supports."""
    dtype = getattr(values, "dtype", None)
    kind = type(dtype).__name__
    if kind == "CategoricalDtype":
        levels = column(name, values.cat.categories.to_series())
        return levels.take(pa.array(values.cat.codes.to_numpy(), mask=(values.cat.codes < 0).to_numpy()))
    if kind == "SparseDtype":
        return _ordinary(name, values.sparse.to_dense())
    if kind == "PeriodDtype":
        return values.dt.to_timestamp()
    if kind == "IntervalDtype":
        return values.astype(object)
    if getattr(dtype, "kind", "") == "c":
        raise DataError(f"column {name!r} holds complex numbers (complex data not supported); split them in two")
    if getattr(dtype, "kind", "") == "f" and getattr(dtype, "itemsize", 0) > 8 and isinstance(dtype, np.dtype):
        return values.astype(np.float64)
    if str(dtype) == "object":
        return _zoned(values)
    return values


def _zoned(values: Any) -> Any:
    """Convert times of several zones in one column to UTC; Arrow would assign the first zone to all of them."""
    sample = next((v for v in values if not is_missing(v)), None)
    if not isinstance(sample, dt.datetime) or not any(getattr(v, "tzinfo", None) for v in values):
        return values
    return [
        v.astimezone(dt.UTC) if isinstance(v, dt.datetime) and v.tzinfo and not is_missing(v) else v for v in values
    ]


def _texts(name: str, values: Any) -> pa.Array:
    nested = (list, dict, set, tuple, np.ndarray)
    texts: list[str | None] = []
    for row, value in enumerate(values):
        if isinstance(value, nested):
            raise ValueRefused(name, row, f"{shown(value)} is no single value; spread it over columns")
        if isinstance(value, complex):
            raise DataError(f"column {name!r} holds complex numbers (complex data not supported); split them in two")
        texts.append(None if is_missing(value) else plain_text(value))
        try:
            (texts[-1] or "").encode()
        except UnicodeEncodeError:
            raise ValueRefused(name, row, _HALF) from None
    return pa.array(texts, type=pa.string())


def shown(value: Any) -> str:
    """A value for a message, cut to 80 characters."""
    said = repr(value.item() if isinstance(value, np.generic) else value)
    return said if len(said) <= 80 else said[:79] + "…"
