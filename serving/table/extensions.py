"""Reads the types that pandas adds to Arrow, periods and intervals, from Parquet without pandas.

If pandas was never imported, such a column appears as its storage type: period numbers or pairs of ends. The field's
metadata names the type.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from serving.errors import DataError

_NAME, _SAID = b"ARROW:extension:name", b"ARROW:extension:metadata"
# The NumPy unit of a pandas frequency, and the number of units per period.
_FREQUENCIES = {"D": ("D", 1), "h": ("h", 1), "min": ("m", 1), "s": ("s", 1), "ms": ("ms", 1), "us": ("us", 1),
                "ns": ("ns", 1), "M": ("M", 1), "Q": ("M", 3), "Q-DEC": ("M", 3), "Y": ("Y", 1), "Y-DEC": ("Y", 1),
                "A-DEC": ("Y", 1)}  # fmt: skip
_CLOSED = {"left": ("[", ")"), "right": ("(", "]"), "both": ("[", "]"), "neither": ("(", ")")}


def stored(field: pa.Field, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert periods to their start dates and intervals to text; returns other columns unchanged.

    Raises DataError, naming the column, for periods whose frequency cannot be read from a file.
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
    """The name of a field's extension type, and its parameters."""
    if isinstance(field.type, pa.ExtensionType):
        name, said = field.type.extension_name, field.type.__arrow_ext_serialize__()
    else:
        known = field.metadata or {}
        name, said = known.get(_NAME, b"").decode(), known.get(_SAID, b"")
    return name, json.loads(said) if said and name.startswith("pandas.") else {}


def _starts(name: str, numbers: pa.Array, frequency: str) -> pa.Array:
    """The start times of periods that are counted from 1970."""
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
