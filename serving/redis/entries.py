"""Entries of Redis streams: ids, records, and the figures of a stream on the server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.errors import DataError
from serving.redis.server import Address
from serving.sources import LARGEST_KEPT, Record

Id = tuple[int, int]  # milliseconds and sequence number
Fields = Mapping[bytes, bytes]
START: Id = (0, 0)
_SEQUENCES = 1_000_000  # of one millisecond
_LARGEST = (1 << 63) - 1


@dataclass(frozen=True)
class Info:
    """A stream at one moment: entries in it and ever added, last id ever given, and ids of its first and last entry.

    ``deleted`` is the largest id that XDEL removed. ``first`` and ``final`` are None if the stream is empty.
    """

    length: int
    added: int
    last: Id
    deleted: Id
    first: Id | None
    final: Id | None


def info_of(found: Mapping[str, Any]) -> Info:
    """The answer of XINFO STREAM."""
    first, final = found["first-entry"], found["last-entry"]
    return Info(
        found["length"], found["entries-added"], id_of(found["last-generated-id"]),
        id_of(found["max-deleted-entry-id"]), None if first is None else id_of(first[0]),
        None if final is None else id_of(final[0]),
    )  # fmt: skip


def id_of(text: bytes | str) -> Id:
    """An id as numbers."""
    milliseconds, _, sequence = (text.decode() if isinstance(text, bytes) else text).partition("-")
    return int(milliseconds), int(sequence or 0)


def id_text(entry: Id) -> str:
    """An id as Redis writes it."""
    return f"{entry[0]}-{entry[1]}"


def position_of(address: Address, entry: Id) -> int:
    """The position of an entry: milliseconds, then six digits of the sequence number.

    Raises DataError for ids that were set by hand and do not fit.
    """
    position = entry[0] * _SEQUENCES + entry[1]
    if entry[1] >= _SEQUENCES or position > _LARGEST:
        raise DataError(
            f"{address.name}: the id {id_text(entry)} has no position; use ids with fewer than a million entries a "
            "millisecond, such as those that XADD * gives"
        )
    return position


def record_of(address: Address, source: str, entry: Id, fields: Fields) -> Record:
    """The record of an entry: its field ``address.field``, or all fields as one JSON object of texts."""
    body = fields.get(address.field.encode())
    if body is None:
        texts = {_text(name): _text(value) for name, value in fields.items()}
        body = json.dumps(texts, ensure_ascii=False).encode("utf-8", "surrogateescape")
    size = len(body) if len(body) > LARGEST_KEPT else None
    return Record(source, position_of(address, entry), body[:LARGEST_KEPT], size)


def _text(value: bytes) -> str:
    # Bytes that are no UTF-8 stay, so that the record becomes a dead letter with that reason.
    return value.decode("utf-8", "surrogateescape")


def fingerprint(fields: Fields) -> str:
    """Identifies the content of an entry."""
    digest = hashlib.sha256()
    for part in (part for pair in fields.items() for part in pair):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]
