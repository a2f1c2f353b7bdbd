"""A Redis stream, read by one reader whose position is in the sink (docs/delivery.md, "Redis"). Writes nothing.

A stream counts the entries that were ever added. Together with the number of those that were read, this shows exactly
how many were deleted or trimmed before they were read.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from redis.exceptions import ResponseError

from serving.errors import DataError, UsageError
from serving.redis.entries import START, Fields, Id, Info, fingerprint, id_of, id_text, info_of, position_of, record_of
from serving.redis.server import Address, Outage, Unreachable, answers, client, connected, parse
from serving.sources import PAUSE, Cursor, Gap, Record, Standing
from serving.wording import counted, say

BLOCK = 200  # milliseconds; a signal is seen after them
QUICK = 3.0  # seconds that `status` waits for an answer


def open_plain(location: str, follow: bool) -> RedisStream:
    """The stream at ``redis://LOCATION``."""
    return RedisStream(parse("redis", location), follow)


def open_tls(location: str, follow: bool) -> RedisStream:
    """The stream at ``rediss://LOCATION``."""
    return RedisStream(parse("rediss", location), follow)


class RedisStream:
    """Reads the entries after the cursor. Without ``follow`` it ends at the id that was last at the start.

    Raises DependencyError if the server does not answer, UsageError if there is no stream to read and ``follow`` is not
    given, and DataError if the key holds something else or the stream is not the one that the cursor belongs to.
    """

    def __init__(self, address: Address, follow: bool) -> None:
        self.address, self.follow = address, follow
        self.id, self.label = "", address.shown_key
        self.client = connected(address)
        self._outage, self._gaps = Outage(follow), list[Gap]()
        self._last = self._complete = START  # the last entry that was read; up to where none is missing
        self._added, self._entry, self._empty = 0, "", False
        try:
            with answers(address):
                if _info(self.client, address) is None:
                    self._absent()
        except BaseException:
            self.client.close()
            raise

    def _absent(self) -> None:
        if not self.follow:
            raise UsageError(f"there is no stream {self.address.name}; producers create it with XADD, or use --follow")
        say(f"warning: there is no stream {self.address.name} yet; waiting for it")

    def resume(self, known: Mapping[str, Cursor], state: Path) -> None:
        """Find the cursor by the address, or by key and content of the last entry if the stream was moved."""
        with answers(self.address):
            info = _info(self.client, self.address)
            mine = [name for name, cursor in known.items() if cursor.get("stream") == self.address.place]
            mine = mine or [name for name, cursor in known.items() if self._is_moved(cursor)]
            self.id = mine[0] if mine else f"redis:{uuid.uuid4().hex}"
            if cursor := known.get(self.id, {}):
                self._last = self._complete = id_of(cursor["id"])
                self._added, self._entry = cursor["added"], cursor["entry"]
                self._check_entry(info)
            else:
                self._added = info.added - info.length if info else 0
        self._end = info.last if info else START

    def _is_moved(self, cursor: Cursor) -> bool:
        """Whether a cursor of another address belongs to this stream."""
        if cursor.get("key") != self.address.shown_key or not cursor.get("entry"):
            return False
        found = self.client.xrange(self.address.key, cursor["id"], cursor["id"])
        return bool(found) and fingerprint(found[0][1]) == cursor["entry"]

    def poll(self, limit: int) -> list[Record]:
        """The next entries by id; none while the server is down."""
        if self._outage.waiting():
            return []
        try:
            with answers(self.address):
                if self._outage.now:
                    self._check_entry(_info(self.client, self.address))
                entries, info = self._read(limit)
        except Unreachable as error:
            self._outage.add(error)
            return []
        self._outage.end(self.address)
        self._check(info)
        return self._take(entries, info)

    def _read(self, limit: int) -> tuple[list[tuple[bytes, Fields]], Info | None]:
        """Entries and stream at one moment."""
        end = "+" if self.follow else id_text(self._end)
        pipeline = self.client.pipeline(transaction=True)
        pipeline.xrange(self.address.key, f"({id_text(self._last)}", end, count=limit)
        pipeline.xinfo_stream(self.address.key)
        entries, found = pipeline.execute(raise_on_error=False)
        if isinstance(entries, Exception):
            raise entries
        return entries, _info_or_none(found)

    def _take(self, entries: Sequence[tuple[bytes, Fields]], info: Info | None) -> list[Record]:
        before, self._empty = self._last, not entries
        records = [record_of(self.address, self.label, id_of(name), fields) for name, fields in entries]
        if entries:
            self._last, self._entry = id_of(entries[-1][0]), fingerprint(entries[-1][1])
        self._added += len(entries)
        if info is not None:
            self._find_lost(info, before, len(entries))
        return records

    def _find_lost(self, info: Info, before: Id, taken: int) -> None:
        """Count entries that were removed unread. The count is known when all entries, or none, have been read."""
        if info.final is None or info.final <= self._last:
            lost = info.added - self._added
        elif info.first is not None and info.first > before:
            lost = info.added - info.length - (self._added - taken)
        else:
            return
        if lost < 0:
            raise self._other(f"it counts {info.added:,} entries, and {self._added:,} of it were read")
        if lost:
            after = id_text(self._complete)
            reason = f"{self.address.name}: {counted(lost, 'entry', 'entries')} after {after} "
            reason += f"{'was' if lost == 1 else 'were'} deleted or trimmed unread"
            self._gaps.append(Gap(self.label, position_of(self.address, self._complete), reason))
            self._added += lost
        self._complete = self._last

    # ---------------------------------------------------------------- is it still the same stream?
    def _check(self, info: Info | None) -> None:
        """Raise DataError if the stream is older than what was read of it."""
        if self._last == START:
            return
        if info is None:
            raise self._other("it is gone")
        if info.last < self._last:
            raise self._other(f"its last id is {id_text(info.last)}")
        if info.added < self._added:
            raise self._other(f"it counts {info.added:,} entries, and {self._added:,} of it were read")

    def _check_entry(self, info: Info | None) -> None:
        """Also compare the last entry that was read, if it is still there."""
        self._check(info)
        if self._last == START or info is None or not self._entry:
            return
        found = self.client.xrange(self.address.key, id_text(self._last), id_text(self._last))
        if found and fingerprint(found[0][1]) != self._entry:
            raise self._other("that entry has other content")
        if not found and info.first is not None and info.first < self._last and info.deleted < self._last:
            raise self._other("that entry was never in it")

    def _other(self, why: str) -> DataError:
        return DataError(
            f"{self.address.name} was read up to {id_text(self._last)}, and now {why}: it was deleted and created "
            "again, restored from an older backup, or is on another server. Restore it, or choose a new --output"
        )

    # ---------------------------------------------------------------- the rest of the protocol
    def cursor(self) -> Cursor:
        """Address, last id, the number of entries up to it, and the fingerprint of the last entry."""
        address = self.address
        return {
            "scheme": address.scheme, "stream": address.place, "key": address.shown_key, "user": address.user,
            "id": id_text(self._last), "added": self._added, "entry": self._entry,
        }  # fmt: skip

    def gaps(self) -> list[Gap]:
        """Entries that were removed before they were read."""
        found, self._gaps = self._gaps, []
        return found

    def wait(self) -> None:
        """Wait for a new entry, at most ``BLOCK`` milliseconds."""
        if self._outage.now:
            time.sleep(PAUSE)
            return
        try:
            with answers(self.address):
                self.client.xread({self.address.key: id_text(self._last)}, count=1, block=BLOCK)
        except Unreachable:
            time.sleep(PAUSE)  # the next poll reports it

    def committed(self) -> None:
        """Does nothing: the entries belong to the producer."""

    def finished(self) -> bool:
        """True once everything up to the end was read, unless following."""
        return not self.follow and (self._empty or self._last >= self._end)

    def left(self) -> str:
        """Always empty."""
        return ""

    def close(self) -> None:
        """Close the connection."""
        self.client.close()


def _info(made: Any, address: Address) -> Info | None:
    """The stream now; None if the key does not exist."""
    try:
        return info_of(made.xinfo_stream(address.key))
    except ResponseError as error:
        return _info_or_none(error)


def _info_or_none(found: Any) -> Info | None:
    if isinstance(found, Exception):
        if "no such key" in str(found):
            return None
        raise found
    return info_of(found)


def standing(cursor: Cursor, state: Path) -> Standing:
    """The number of unread entries, including those that were removed."""
    position = f"id {cursor['id']}"
    user = f"{cursor['user']}@" if cursor["user"] else ""
    address = parse(cursor["scheme"], user + cursor["stream"])
    made = client(address, QUICK)
    try:
        with answers(address):
            info = _info(made, address)
    finally:
        made.close()
    if info is None or info.last < id_of(cursor["id"]) or info.added < cursor["added"]:
        return Standing(position, note=f"{address.name} is gone, or another stream now")
    return Standing(position, info.added - cursor["added"], "record")
