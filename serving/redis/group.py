"""A consumer group of a Redis stream, with scores on the same server: many workers, each entry once."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from redis.exceptions import RedisError

from serving.errors import DataError, UsageError
from serving.records import Outcome
from serving.redis import scripts
from serving.redis.entries import START, Fields, Id, id_of, id_text, record_of
from serving.redis.server import Address, Outage, Unreachable, answers, connected, parse
from serving.sinks.lines import line_of
from serving.sources import PAUSE, Record
from serving.wording import say

BLOCK = 50  # milliseconds; an entry that comes between two commands waits as long
DEAD, COUNTS = b":dead", b":counts"
LOSSES = 5.0  # seconds between two counts of entries that were removed unread


@dataclass(frozen=True)
class Sharing:
    """How workers share a stream. ``min_idle``: seconds after which entries of a silent worker are taken over.

    ``group`` defaults to ``ganlib-OUTKEY``, ``consumer`` to host and process id. An entry that was delivered
    ``max_deliveries`` times without a result becomes a dead letter. Raises UsageError for other values.
    """

    group: str | None = None
    consumer: str | None = None
    min_idle: float = 60.0
    max_deliveries: int = 3

    def __post_init__(self) -> None:
        if not 0.001 <= self.min_idle <= 1e9 or self.max_deliveries < 1:
            raise UsageError(
                "--min-idle must be at least 0.001 seconds and --max-deliveries at least 1; got "
                f"{self.min_idle} and {self.max_deliveries}"
            )


@dataclass(frozen=True)
class Pending:
    """An entry that was delivered before, and how often."""

    record: Record
    times: int


@dataclass(frozen=True)
class Done:
    """What a commit wrote; ``skipped`` entries were settled by another worker."""

    scored: int
    anomalies: int
    dead: int
    skipped: int


def addresses(input: str, output: str) -> tuple[Address, Address]:
    """Input stream and output stream; raises UsageError unless both are on one database of one server."""
    scheme, mark, rest = input.partition("://")
    if not mark or scheme not in ("redis", "rediss"):
        raise UsageError(
            "a redis:// output takes its input from a stream of the same Redis, since both change in one step; "
            "for other inputs write FILE.db or FILE.jsonl"
        )
    target = output_address(output)
    source = parse(scheme, rest)
    if (source.scheme, source.host, source.port, source.db) != (target.scheme, target.host, target.port, target.db):
        raise UsageError(
            f"{source.name} and {target.name} are not on the same server and database, so they cannot change in one "
            "step; write to the same database, or to FILE.db"
        )
    if source.key in keys_of(target):
        raise UsageError(f"{target.name} is the input itself; choose another key for the output")
    return source, replace(target, user=source.user or target.user, password=source.password or target.password)


def output_address(output: str) -> Address:
    """The address of an output stream; raises UsageError if the URL is malformed."""
    scheme, _, rest = output.partition("://")
    return parse(scheme, rest, options=())


def keys_of(output: Address) -> list[bytes]:
    """Scores, dead letters and counts."""
    return [output.key, output.key + DEAD, output.key + COUNTS]


class Group:
    """One worker's part of a stream. A server that stops answering is tried again; nothing is committed twice.

    Raises UsageError, DataError or DependencyError if the streams cannot be used.
    """

    def __init__(self, source: Address, output: Address, sharing: Sharing, follow: bool) -> None:
        self.source, self.output, self.sharing, self.follow = source, output, sharing, follow
        self.name = sharing.group or f"ganlib-{output.shown_key}"
        self.consumer = sharing.consumer or f"{socket.gethostname()}-{os.getpid()}"
        self.label = source.shown_key
        self._outage, self._own = Outage(follow), True
        self._claim_at = self._lost_at = 0.0
        self._passed = False
        self.client = connected(source)
        try:
            self._keys = [source.key, *keys_of(output)]
            with answers(source):
                if not follow and not self.client.exists(source.key):
                    raise UsageError(
                        f"there is no stream {source.name}; producers create it with XADD, or use --follow"
                    )
                self._check_opened(*self._run(scripts.OPEN, self.name, source.shown_key))
                self._end = id_of(self.client.xinfo_stream(source.key)["last-generated-id"])
        except BaseException:
            self.client.close()
            raise

    def _run(self, script: str, *values: Any) -> Any:
        return self.client.register_script(script)(keys=self._keys, args=values)

    def _check_opened(self, found: bytes, *details: bytes) -> None:
        """Raise for an output that belongs to something else."""
        texts = [detail.decode("utf-8", "replace") for detail in details]
        output, fix = self.output.name, "choose another output key"
        if found == b"type":
            raise DataError(f"{self.source.server}: the key {texts[0]!r} is a {texts[1]}; {fix}, or delete that key")
        if found == b"other":
            raise UsageError(
                f"{output} holds scores of {texts[1]!r} by group {texts[0]!r}; give that input and --group"
            )
        if found == b"foreign":
            raise UsageError(f"{output} was not written by a stream; {fix}")
        if found == b"used":
            raise UsageError(f"group {self.name!r} of {self.source.name} is in use by another output; choose --group")
        if found == b"lost":
            raise DataError(
                f"group {self.name!r} of {self.source.name} is gone: the stream was deleted, or the group destroyed; "
                f"entries would be scored twice. {fix.capitalize()}, or create the group at the last id that was read"
            )

    def warnings(self) -> Iterator[str]:
        """How scores could be lost although they were written: by a crash of the server, or by eviction."""
        try:
            found: dict[str, str] = {}
            for name in ("appendonly", "appendfsync", "maxmemory", "maxmemory-policy"):
                found |= self.client.config_get(name)
        except RedisError:
            yield f"{self.source.server} does not allow CONFIG, so it is unknown whether its crash could lose scores"
            return
        if found.get("appendonly") != "yes":
            yield f"{self.source.server} has appendonly off: its crash loses scores and entries since its last snapshot"
        elif found.get("appendfsync") != "always":
            yield (
                f"{self.source.server} has appendfsync {found.get('appendfsync')}: a crash of its machine can lose the "
                "last second; lost scores are written again"
            )
        if str(found.get("maxmemory-policy")).startswith("allkeys") and found.get("maxmemory") != "0":
            yield f"{self.source.server} evicts keys when its memory is full, and with them scores; set noeviction"

    # ---------------------------------------------------------------- reading
    def poll(self, limit: int) -> list[Record]:
        """New entries for this worker; none while the server is down."""
        if self._passed or self._outage.waiting():
            return []
        entries = self._try(scripts.READ, self.name, self.consumer, limit)
        if entries is None:
            return []
        ids = [id_of(name) for name, _ in entries]
        self._passed = not self.follow and (not ids or ids[-1] >= self._end)
        return [self._record(entry, flat) for entry, (_, flat) in zip(ids, entries, strict=True)]

    def pending(self) -> Pending | None:
        """One entry that was delivered before, to this consumer or to one that has been silent for ``min_idle``.

        Entries come one by one, so that one that kills its worker takes no others with it.
        """
        while time.monotonic() >= self._claim_at and not self._outage.waiting():
            idle = "-1" if self._own else str(max(1, round(self.sharing.min_idle * 1000)))
            found = self._try(scripts.CLAIM, self.name, self.consumer, idle)
            if found is None:
                return None
            if not found:
                if not self._own:
                    self._claim_at = time.monotonic() + min(self.sharing.min_idle / 4, 5.0)
                self._own = False
            elif len(found) == 3:
                return Pending(self._record(id_of(found[0]), found[2]), found[1])
            else:
                say(f"warning: records may be lost: entry {found[0].decode()} of {self.label} was deleted unscored")
        return None

    def _record(self, entry: Id, flat: Sequence[bytes]) -> Record:
        fields: Fields = dict(zip(flat[::2], flat[1::2], strict=True))
        return record_of(self.source, self.label, entry, fields)

    def _try(self, script: str, *values: Any) -> Any:
        """The answer of a script; None if the server is down."""
        try:
            with answers(self.source):
                found = self._run(script, *values)
        except Unreachable as error:
            self._outage.add(error)
            return None
        self._outage.end(self.source)
        return found

    def wait(self) -> None:
        """Wait a moment for a new entry."""
        if self.follow and not self._outage.now:
            try:
                with answers(self.source):
                    self.client.xread({self.source.key: "$"}, count=1, block=BLOCK)
                return
            except Unreachable as error:
                self._outage.add(error)
        time.sleep(PAUSE)

    def finished(self) -> bool:
        """True once everything up to the end was read and is settled, by whatever worker; unless following."""
        if self.follow or not self._passed or self._outage.now:
            return False
        try:
            with answers(self.source):
                end = id_text(self._end) if self._end != START else "0-1"
                return not self.client.xpending_range(self.source.key, self.name, "-", end, 1)
        except Unreachable as error:
            self._outage.add(error)
            return False

    def lost(self) -> int:
        """Entries that were removed unread since the last call; looked up every few seconds and at the end."""
        if time.monotonic() < self._lost_at and not self._passed:
            return 0
        self._lost_at = time.monotonic() + LOSSES
        return max(0, self._try(scripts.LOST, self.name) or 0)

    # ---------------------------------------------------------------- committing
    def commit(self, done: Outcome, stamp: tuple[str, str], stop: Mapping[str, int]) -> Done | None:
        """Write scores and dead letters and acknowledge their entries, in one step; None if stopped in an outage.

        Repeating it is safe: what is settled is no longer pending.
        """
        values: list[Any] = []
        for row in done.rows:
            values += ["anomaly" if row["is_anomaly"] else "score", _id(row["position"]), line_of(row), ""]
        for letter in done.dead:
            values += ["dead", _id(letter.position), letter.body, letter.reason]
        positions = [row["position"] for row in done.rows] + [letter.position for letter in done.dead]
        ends = (_id(min(positions)), _id(max(positions)))
        while not stop or not self._outage.now:
            found = self._try(scripts.COMMIT, self.name, self.consumer, *stamp, *ends, *values)
            if found is not None:
                return Done(*found)
            while self._outage.waiting() and not stop:
                time.sleep(PAUSE)
        return None

    def close(self) -> None:
        """Remove this consumer if nothing is pending for it, and close the connection."""
        try:
            if not self._outage.now:
                self._run(scripts.LEAVE, self.name, self.consumer)
        except RedisError:
            pass
        self.client.close()


def _id(position: int) -> str:
    return id_text(divmod(position, 1_000_000))
