"""Columns of types that pandas adds to Arrow, as Parquet holds them, without pandas: periods and intervals.

Where pandas was never imported, such a column looks like its storage, numbers of periods or pairs of ends; the field's
metadata says what it is.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from serving.errors import DataError

_NAME, _SAID = b"ARROW:extension:name", b"ARROW:extension:metadata"
# NumPy's unit of a pandas frequency, and how many of them a period has.
_FREQUENCIES = {"D": ("D", 1), "h": ("h", 1), "min": ("m", 1), "s": ("s", 1), "ms": ("ms", 1), "us": ("us", 1),
                "ns": ("ns", 1), "M": ("M", 1), "Q": ("M", 3), "Q-DEC": ("M", 3), "Y": ("Y", 1), "Y-DEC": ("Y", 1),
                "A-DEC": ("Y", 1)}  # fmt: skip
_CLOSED = {"left": ("[", ")"), "right": ("(", "]"), "both": ("[", "]"), "neither": ("(", ")")}


def stored(field: pa.Field, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column with its periods as dates of their start and its intervals as text; any other column unchanged.

    Raises DataError, naming the column, on periods that end on other days than those of the calendar.
    """
    name, said = _extension(field)
    if name not in ("pandas.period", "pandas.interval"):
        return column
    whole = column.combine_chunks()
    whole = pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole
    plain = whole.storage if isinstance(whole, pa.ExtensionArray) else whole
    made = _starts(field.name, plain, said["freq"]) if name == "pandas.period" else _ends(plain, said["closed"])
    return pa.chunked_array([made])


def _extension(field: pa.Field) -> tuple[str, dict[str, Any]]:
    """The name of a field's extension type and what it says of itself."""
    if isinstance(field.type, pa.ExtensionType):
        name, said = field.type.extension_name, field.type.__arrow_ext_serialize__()
    else:
        known = field.metadata or {}
        name, said = known.get(_NAME, b"").decode(), known.get(_SAID, b"")
    return name, json.loads(said) if said and name.startswith("pandas.") else {}


def _starts(name: str, numbers: pa.Array, frequency: str) -> pa.Array:
    """The first moments of periods that are counted from 1970."""
    if frequency not in _FREQUENCIES:
        raise DataError(
            f"column {name!r} holds periods of frequency {frequency!r}, which are read from memory only; write their "
            "first days as dates"
        )
    unit, many = _FREQUENCIES[frequency]
    lacks = numbers.is_null().to_numpy(zero_copy_only=False)
    counts = numbers.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64) * many
    return pa.array(counts.astype(f"datetime64[{unit}]").astype("datetime64[us]"), mask=lacks)


def _ends(pairs: pa.Array, closed: str) -> pa.Array:
    before, after = _CLOSED[closed]
    texts = [None if p is None or None in p.values() else f"{before}{p['left']}, {p['right']}{after}"
             for p in pairs.to_pylist()]  # fmt: skip
    return pa.array(texts, pa.string())
