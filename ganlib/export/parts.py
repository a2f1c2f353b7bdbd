"""Shared by the exporters of all kinds of artifacts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import onnx

from ganlib.data.schema import Column
from ganlib.errors import ConfigError
from ganlib.export.parity import Parity


@dataclass(frozen=True)
class Sealed:
    """A graph that passed the parity gate, and its metadata; ``save_sealed`` writes it."""

    kind: str
    model: onnx.ModelProto
    exporter: str
    parity: Parity
    metadata: Mapping[str, Any]
    alpha_min: float | None = None


def check_names(columns: Iterable[Column], reserved: Iterable[str]) -> None:
    """Raise ConfigError if a column has an input name that the graph itself uses."""
    for column in columns:
        if column.input in reserved or not column.input:
            raise ConfigError(
                f"column {column.name!r} cannot be fed as {column.input!r}, a name that the sealed graph itself uses; "
                f"set its `input` in the schema file to 'column:{column.name}', or rename it in the data"
            )
