"""Dead letters of a stream's output: listed by reason, shown with columns masked, dropped (docs/delivery.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from serving.errors import UsageError
from serving.files import disk_errors
from serving.lease import Lease
from serving.readonly import ask
from serving.redis import is_redis, leaf
from serving.sinks import lease_of, state_of
from serving.sinks.counts import count_removed
from serving.sinks.state import StateDatabase

MASK = "***"
_LONGEST = 2000  # characters of a record that are printed
_COLUMN = re.compile(r"(column '(?P<name>(?:[^'\\]|\\.)*)': )?(?P<rest>.*)", re.S)
_VALUE = re.compile(r"'[^']*'|\"[^\"]*\"|\b\d[\w.,:+-]*")
Key = tuple[str, int]


@dataclass(frozen=True)
class Letter:
    """A dead letter without its record. ``id`` is that of a Redis entry, empty elsewhere."""

    source: str
    position: int
    reason: str
    model_version: str
    dead_at: str
    attempts: int = 1
    id: str = ""

    @property
    def key(self) -> Key:
        """Identifies the letter in its output."""
        return self.source, self.position


class Store(Protocol):
    """The dead letters of one output. Methods raise TemporaryError if the output is in use."""

    name: str

    def letters(self) -> list[Letter]:
        """All dead letters, oldest first."""

    def records(self, keys: Sequence[Key]) -> dict[Key, bytes]:
        """The records of some dead letters."""

    def drop(self, keys: Sequence[Key]) -> int:
        """Delete dead letters; returns how many there were."""


class Files:
    """The dead letters of ``FILE.db`` or ``FILE.jsonl``; raises UsageError if no stream wrote the file."""

    def __init__(self, output: Path) -> None:
        self.output, self.name, self.state = output, str(output), state_of(output)

    def letters(self) -> list[Letter]:
        """As ``Store.letters``."""
        query = "SELECT source, position, reason, model_version, dead_at, attempts FROM dead_letters ORDER BY rowid"
        return [Letter(row[0], row[1], row[2], row[3] or "", row[4] or "", row[5]) for row in self._rows(query)]

    def records(self, keys: Sequence[Key]) -> dict[Key, bytes]:
        """As ``Store.records``."""
        query = "SELECT body FROM dead_letters WHERE source = ? AND position = ?"
        found = {key: self._rows(query, *key) for key in keys}
        return {key: bytes(rows[0][0]) for key, rows in found.items() if rows}

    def _rows(self, query: str, *values: Any) -> list[Any]:
        return ask(self.state, lambda connection: connection.execute(query, values).fetchall())

    def drop(self, keys: Sequence[Key]) -> int:
        """As ``Store.drop``; a stream that writes the output must be stopped first."""
        with (
            Lease(lease_of(self.output), what=self.name) as lease, closing(StateDatabase(self.state)) as database,
            disk_errors(self.name), database.connection as connection,
        ):  # fmt: skip
            connection.execute("BEGIN IMMEDIATE")
            lease.check()
            query = "DELETE FROM dead_letters WHERE source = ? AND position = ?"
            count = connection.executemany(query, keys).rowcount if keys else 0
            count_removed(connection, "dead_letters", count)
            return count


def store_of(output: str) -> Store:
    """The dead letters of an output: FILE.db, FILE.jsonl or redis://HOST:PORT/DB/KEY."""
    return cast(Store, leaf("letters").SharedLetters(output)) if is_redis(output) else Files(Path(output))


# ---------------------------------------------------------------- reasons and records without values
def kind_of(reason: str) -> str:
    """A reason without the value at fault, so that letters of one kind are counted together."""
    found = _COLUMN.fullmatch(reason)
    assert found is not None
    rest = found["rest"]
    if not found[1] and rest.startswith("missing column"):
        return reason
    return (found[1] or "") + _VALUE.sub("…", rest)


def masked_reason(reason: str, masked: Sequence[str]) -> str:
    """A reason to print: if columns are masked, without any value; of a masked column, without the rest."""
    if not masked:
        return reason
    if reason.startswith("cannot be scored: "):  # the text of an exception may hold anything
        return ":".join(reason.split(":")[:2])
    found = _COLUMN.fullmatch(reason)
    name = None if found is None else found["name"]
    if name is not None and any(repr(column) == f"'{name}'" or column == name for column in masked):
        return f"column '{name}': {MASK}"
    return kind_of(reason)


def masked_record(record: bytes, masked: Sequence[str]) -> tuple[str, set[str]]:
    """A record to print, and the masked columns that it has. What is not a JSON object is masked as a whole."""
    text = record.decode("utf-8", "backslashreplace")
    if not masked:
        return _cut(text), set()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        return f"{MASK} (no JSON object, {len(record):,} bytes)", set()
    held = value.keys() & set(masked)
    return _cut(json.dumps(value | dict.fromkeys(held, MASK), ensure_ascii=False)), held


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"


# ---------------------------------------------------------------- what the verbs print
def groups(store: Store, masked: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Dead letters by kind of reason, most frequent first: reason, count, sources, first and last time."""
    found: dict[str, list[Letter]] = {}
    for letter in store.letters():
        found.setdefault(masked_reason(kind_of(letter.reason), masked), []).append(letter)
    rows = [
        {"reason": reason, "count": len(some), "sources": sorted({one.source for one in some}),
         "first": min(one.dead_at for one in some), "last": max(one.dead_at for one in some)}
        for reason, some in found.items()
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (-row["count"], row["reason"]))


def chosen(store: Store, reason: str | None) -> list[Letter]:
    """The dead letters whose reason, with or without its value, contains a text; all if it is None."""
    return [one for one in store.letters() if reason is None or reason in one.reason or reason in kind_of(one.reason)]


def shown(
    store: Store, reason: str | None, limit: int, masked: Sequence[str] = ()
) -> tuple[list[dict[str, Any]], list[str]]:
    """The newest dead letters with their records, and the masked columns that none of them has."""
    if limit < 1:
        raise UsageError(f"--limit must be at least 1; got {limit}")
    some = chosen(store, reason)[-limit:]
    records = store.records([one.key for one in some])
    rows, held = list[dict[str, Any]](), set[str]()
    for one in some:
        record, columns = masked_record(records.get(one.key, b""), masked)
        held |= columns
        rows.append({**asdict(one), "reason": masked_reason(one.reason, masked), "record": record})
    return rows, [name for name in masked if name not in held] if rows else []
