"""Progress and verification of a shared Redis output; only reads (docs/delivery.md, "Shared streams")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import unquote_to_bytes

from serving.errors import IntegrityError, UsageError
from serving.redis.entries import id_of, id_text
from serving.redis.group import COUNTS, DEAD, output_address
from serving.redis.server import Address, answers, client
from serving.wording import counted

COUNTED = ("read", "scored", "anomalies", "dead", "deleted", "lost", "skipped", "dropped")
PAGE = 1000
MOST_PENDING = 10_000_000
Row = dict[str, Any]


class Shared:
    """A shared output, opened for reading; raises UsageError if the key holds none."""

    def __init__(self, url: str) -> None:
        self.output = output_address(url)
        self.client = client(self.output)
        with answers(self.output):
            held = self.counts()
        if "group" not in held:
            self.client.close()
            raise UsageError(f"{self.output.name} is no output of `stream`: {self.counts_key!r} holds no counts")
        self.group, shown = held["group"], held["input"]
        self.input: Address = replace(self.output, key=unquote_to_bytes(shown), shown_key=shown)
        self.dead_key = self.output.key + DEAD

    @property
    def counts_key(self) -> str:
        """The hash with the counts."""
        return (self.output.key + COUNTS).decode("utf-8", "replace")

    def counts(self) -> dict[str, str]:
        """The hash with the counts, as text."""
        found = self.client.hgetall(self.output.key + COUNTS)
        return {key.decode(): value.decode() for key, value in found.items()}

    def standing(self) -> Row:
        """The group in the server's words; empty if the stream or the group is gone."""
        if not self.client.exists(self.input.key):
            return {}
        groups = self.client.xinfo_groups(self.input.key)
        return next((group for group in groups if group["name"].decode() == self.group), {})

    def entries(self, key: bytes, last: str = "+") -> Iterator[tuple[str, dict[bytes, bytes]]]:
        """The entries of an output stream, in pages."""
        after = "-"
        while found := self.client.xrange(key, after, last, count=PAGE):
            for name, fields in found:
                yield name.decode(), fields
            after = f"({found[-1][0].decode()}"


def status(url: str) -> Row:
    """Figures of a shared output (``kind`` "shared"), as JSON values; ``behind`` is None if not known.

    Raises UsageError if the key is no shared output, and DependencyError if the server does not answer.
    """
    shared = Shared(url)
    try:
        with answers(shared.output):
            held, group = shared.counts(), shared.standing()
            consumers = shared.client.xinfo_consumers(shared.input.key, shared.group) if group else []
    finally:
        shared.client.close()
    return {
        "kind": "shared", "path": shared.output.name, "input": shared.input.name, "group": shared.group,
        **{name: int(held.get(name, 0)) for name in COUNTED}, "pending": group.get("pending"),
        "behind": group.get("lag"), "last_commit": held.get("committed_at"), "found": bool(group),
        "consumers": [
            {"name": one["name"].decode(), "pending": one["pending"], "idle": one["idle"] / 1000} for one in consumers
        ],
    }  # fmt: skip


def status_lines(found: Row) -> Iterator[str]:
    """The figures as text."""
    yield found["path"]
    behind = "lag not known" if found["behind"] is None else f"{counted(found['behind'], 'record')} behind"
    if not found["found"]:
        behind = "the stream or its group is gone"
    yield f"  {found['input']}, group {found['group']}"
    yield f"    {found['read']:,} read, {found['pending'] or 0:,} pending, {behind}"
    if found["last_commit"]:
        yield f"    last commit {found['last_commit'][:19].replace('T', ' ')}"
    for one in found["consumers"]:
        yield f"    {one['name']}: {one['pending']:,} pending, last seen {one['idle']:.0f} s ago"
    dead = counted(found["dead"] - found["dropped"], "dead letter")
    yield f"  {found['scored']:,} scored, {counted(found['anomalies'], 'anomaly', 'anomalies')}, {dead}"
    notes = {"deleted": "deleted while pending", "lost": "removed unread", "skipped": "settled by another worker"}
    if said := [f"{found[name]:,} {text}" for name, text in notes.items() if found[name]]:
        yield f"  {', '.join(said)}"


def verify(url: str) -> Row:
    """Recount a shared output: entries read are those scored, dead, deleted and pending, and none is there twice.

    Reads both output streams once, and holds the input ids in memory, about 100 bytes each. Other workers may go on.
    Raises IntegrityError naming what differs.
    """
    shared = Shared(url)
    try:
        with answers(shared.output):
            return _recount(shared)
    finally:
        shared.client.close()


def _recount(shared: Shared) -> Row:
    name = shared.output.name
    pipeline = shared.client.pipeline(transaction=True)
    pipeline.hgetall(shared.output.key + COUNTS)
    pipeline.xpending_range(shared.input.key, shared.group, "-", "+", MOST_PENDING)
    pipeline.xinfo_stream(shared.output.key)
    pipeline.xinfo_stream(shared.dead_key)
    held, waiting, *streams = pipeline.execute(raise_on_error=False)
    if isinstance(waiting, Exception):
        raise IntegrityError(
            f"{name}: group {shared.group!r} of {shared.input.name} is gone; entries cannot be counted"
        )
    counts = {key: int(held.get(key.encode(), 0)) for key in COUNTED} | {"pending": len(waiting)}
    settled = counts["scored"] + counts["dead"] + counts["deleted"] + counts["pending"]
    if counts["read"] != settled:
        raise IntegrityError(
            f"{name}: {counts['read']:,} entries were read, and {settled:,} are scored, dead, deleted or pending; "
            f"{shared.counts_key!r} or the group was changed by hand"
        )
    seen = {one["message_id"].decode(): "pending" for one in waiting}
    checked = 0
    for key, info, kind in zip((shared.output.key, shared.dead_key), streams, ("scored", "dead"), strict=True):
        checked += _check_stream(shared, key, info, kind, counts, seen)
    return counts | {"checked": checked}


def _check_stream(shared: Shared, key: bytes, info: Any, kind: str, counts: Row, seen: dict[str, str]) -> int:
    """Check one output stream; adds its input ids to ``seen`` and returns how many there are."""
    shown = key.decode("utf-8", "replace")
    added = 0 if isinstance(info, Exception) else info["entries-added"]
    if added != counts[kind]:
        raise IntegrityError(f"{shown!r} counts {added:,} entries, and {counts[kind]:,} were written; it was changed")
    checked = 0
    last = "0-0" if isinstance(info, Exception) else id_text(id_of(info["last-generated-id"]))
    for entry, fields in shared.entries(key, last) if added else ():
        source = fields.get(b"id", b"").decode("utf-8", "replace")
        if not source:
            raise IntegrityError(f"{shown!r}: entry {entry} names no entry of the input; it was added by hand")
        if source in seen:
            raise IntegrityError(
                f"{shown!r}: entry {source} of the input is {kind} and {seen[source]}: it is there twice"
            )
        seen[source] = kind
        checked += 1
    return checked


def verify_line(counts: Row) -> str:
    """The counts of ``verify`` as text."""
    written = counts["scored"] + counts["dead"]
    gone = f" ({written - counts['checked']:,} trimmed or dropped since)" if counts["checked"] < written else ""
    lost = f"; {counts['lost']:,} were removed unread" if counts["lost"] else ""
    deleted = f", {counts['deleted']:,} deleted" if counts["deleted"] else ""
    return (
        f"{counted(counts['read'], 'entry', 'entries')} read: {counts['scored']:,} scored, {counts['dead']:,} dead"
        f"{deleted}, {counts['pending']:,} pending; none twice{gone}{lost}"
    )
