"""Types and shapes of a graph's inputs and outputs."""

from __future__ import annotations

from serving.opening.entries import Column
from serving.textfeatures import CHANNELS

# Type, and shape of one row; None for a scalar input.
Port = tuple[str, tuple[int, ...] | None]
Ports = dict[str, Port]
NUMBERS = {"uint8": "uint8", "float32": "float", "float64": "double"}
_TYPES = {"number": "double", "integer": "double", "boolean": "double", "date": "int64", "category": "string"}


def column_port(column: Column) -> Port:
    """Type and shape of a column as an input or output."""
    if column.kind == "text":
        return "float", (CHANNELS + (column.buckets or 0),)
    return ("string" if column.role == "group" else _TYPES[column.kind]), ()
