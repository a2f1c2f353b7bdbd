"""One reader for each kind of data: it turns a person's data into a network's tensors, and back.

Estimators know only the protocol ``Reader`` and ``reader_for``. A new kind of data is a file with its reader and a row
of ``READERS``; callers name it by ``modality``, unless ``kind_of`` can recognise it.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from ganlib.data.readers.arrays import kind_of
from ganlib.data.readers.image import ImageReader
from ganlib.data.readers.protocol import Reader
from ganlib.data.readers.series import SeriesReader
from ganlib.data.readers.table import TableReader
from ganlib.data.schema import Schema
from ganlib.errors import ConfigError

__all__ = ["READERS", "ImageReader", "Reader", "SeriesReader", "TableReader", "reader_for"]

READERS: dict[str, type[Any]] = {reader.modality: reader for reader in (TableReader, ImageReader, SeriesReader)}


def reader_for(
    X: Any,
    modality: str | None = None,
    reads: Collection[str] = (),
    *,
    schema: Schema | str | Path | None = None,
    group: str | None = None,
    for_generation: bool = False,
) -> Reader:
    """The unfitted reader of data like ``X``: of a table, or of an array of images or series (three or four axes).

    - ``modality``: the kind of an array, which is then not guessed; ``reads`` are the kinds that the model reads: if
      these are arrays of one kind only, that kind is meant.
    - ``schema``, ``group``, ``for_generation``: of tables (``TableReader``).

    Raises ConfigError for an unknown modality, and for a schema or a group of arrays; DataError for a path, for
    examples of different sizes, and for an array of unclear kind.
    """
    kinds = [name for name, reader in READERS.items() if not reader.tabular]
    if modality is not None and modality not in kinds:
        raise ConfigError(f"modality is {' or '.join(map(repr, kinds))}, for arrays; not {modality!r}")
    kind = modality or kind_of(X, [name for name in kinds if name in reads])
    if kind == TableReader.modality:
        return TableReader(schema, group, for_generation)
    if schema is not None:
        raise ConfigError("a schema is for tables; leave it out for images and series")
    if group is not None:
        raise ConfigError("groups are for tables; leave them out for images and series")
    reader: Reader = READERS[kind]()
    return reader
