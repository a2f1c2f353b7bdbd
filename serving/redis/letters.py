"""The dead letters of a shared Redis output."""

from __future__ import annotations

from collections.abc import Sequence

from serving.letters import Key, Letter
from serving.redis.entries import id_of, position_of
from serving.redis.group import COUNTS
from serving.redis.report import Shared
from serving.redis.server import answers

# Counts what was removed, since `verify` compares the counts.
DROP = """
local removed = redis.call('XDEL', KEYS[1], unpack(ARGV))
redis.call('HINCRBY', KEYS[2], 'dropped', removed)
return removed
"""
_CHUNK = 1000


class SharedLetters:
    """The entries of ``OUTKEY:dead``. Workers may go on meanwhile."""

    def __init__(self, url: str) -> None:
        self.shared = Shared(url)
        self.name = self.shared.output.name
        self._entries: dict[Key, str] = {}
        self._records: dict[Key, bytes] = {}

    def letters(self) -> list[Letter]:
        """As ``Store.letters``."""
        found = []
        with answers(self.shared.output):
            for entry, fields in self.shared.entries(self.shared.dead_key):
                text = {name.decode(): value.decode("utf-8", "replace") for name, value in fields.items()
                        if name != b"record"}  # fmt: skip
                source = id_of(text["id"])
                letter = Letter(
                    self.shared.input.shown_key, position_of(self.shared.input, source), text["reason"],
                    text["model_version"], text["dead_at"], id=text["id"],
                )  # fmt: skip
                self._entries[letter.key] = entry
                self._records[letter.key] = fields[b"record"]
                found.append(letter)
        return found

    def records(self, keys: Sequence[Key]) -> dict[Key, bytes]:
        """As ``Store.records``."""
        return {key: self._records[key] for key in keys}

    def drop(self, keys: Sequence[Key]) -> int:
        """As ``Store.drop``."""
        names = [self._entries[key] for key in keys]
        script = self.shared.client.register_script(DROP)
        places = [self.shared.dead_key, self.shared.output.key + COUNTS]
        with answers(self.shared.output):
            return sum(
                script(keys=places, args=names[start : start + _CHUNK]) for start in range(0, len(names), _CHUNK)
            )
