"""JSON lines: one object per line. Values become strings, formatted like categories (docs/artifact.md).

Numbers are converted to text; a missing key and ``null`` are missing values. A line is malformed if it is not an
object, or if a column that is read holds a list or an object. Lists of ``nested`` columns are kept as JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from serving.inputs.base import ROWS, Broken, Piece
from serving.inputs.opening import open_text
from serving.wording import listed

if TYPE_CHECKING:
    from serving.inputs.base import Input

BYTES = 32 << 20


def types(source: Input) -> list[tuple[str, pa.DataType]]:
    """Every key of its records, in the order of their first appearance."""
    return [(name, pa.string()) for name in _survey(source)[1]]


def count(source: Input) -> int:
    """Lines that are not blank."""
    return _survey(source)[0]


def lines(source: Input) -> Iterator[int]:
    """The line of each record, counted from 1."""
    with open_text(source) as text:
        yield from (number for number, line in enumerate(text, 1) if line.strip())


@lru_cache(maxsize=4096)
def _survey(source: Input) -> tuple[int, tuple[str, ...]]:
    rows = 0
    names: dict[str, None] = {}
    for _, record, _ in _records(source):
        rows += 1
        if isinstance(record, dict):
            names |= dict.fromkeys(record)
    return rows, tuple(names)


def _records(source: Input) -> Iterator[tuple[str, Any, str]]:
    """Each line with its parsed value, or with the reason why it cannot be parsed."""
    with open_text(source) as text:
        for line in text:
            if not line.strip():
                continue
            try:
                yield line, json.loads(line), ""
            except (ValueError, RecursionError) as error:
                yield line, None, f"is not JSON: {str(error)[:200]}"


def pieces(
    source: Input, columns: list[str], start: int, needed: Collection[str], nested: Collection[str] = ()
) -> Iterator[Piece]:
    """All rows, from the first, about 32 MB at a time."""
    at, size = 0, 0
    values: dict[str, list[str | None]] = {name: [] for name in columns}
    broken: list[Broken] = []
    row = 0
    for row, (line, record, why) in enumerate(_records(source), 1):
        column, reason = _judge(record, why, columns, needed, nested)
        if reason:
            broken.append(Broken(row - 1, column, reason, line.rstrip("\r\n")))
        else:
            for name, kept in values.items():
                kept.append(_text(record.get(name)))
        size += len(line)
        if row - at == ROWS or size >= BYTES:
            yield _piece(values, at, row, broken)
            at, size, values, broken = row, 0, {name: [] for name in columns}, []
    if row > at:
        yield _piece(values, at, row, broken)


def _piece(values: dict[str, list[str | None]], start: int, stop: int, broken: list[Broken]) -> Piece:
    table = pa.table({name: pa.array(kept, pa.string()) for name, kept in values.items()})
    return Piece(table, start, stop, tuple(broken))


def _judge(
    record: Any, why: str, columns: list[str], needed: Collection[str], nested: Collection[str]
) -> tuple[str, str]:
    """The column at fault and the reason if a record is malformed; two empty strings otherwise."""
    if why or not isinstance(record, dict):
        return "", why or f"is not an object but {type(record).__name__}"
    if lacking := [name for name in needed if name not in record]:
        return lacking[0], f"missing {'column' if len(lacking) == 1 else 'columns'}: {listed(lacking)}"
    for name in columns:
        value = record.get(name)
        if isinstance(value, list | dict) and name not in nested:
            what = "a list" if isinstance(value, list) else "an object"
            return name, f"is {what}, where a single value is needed"
        if isinstance(value, str) and not _encodes(value):
            return name, "holds half a character (a lone surrogate); fix its encoding"
    return "", ""


def _encodes(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(value: Any) -> str | None:
    if value is None or value != value:
        return None
    if isinstance(value, list | dict):
        return json.dumps(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    return str(value)
