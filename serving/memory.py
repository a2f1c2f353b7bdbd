"""What a stream remembers of each key: its last rows, one fewer than a window, and its last time.

It is stored in the output's database and changes in the transaction that moves the position, so that a restart goes on
as if nothing had happened. Only the keys of a micro-batch are written. Keys are bounded: the one not seen for longest
is forgotten, and begins anew if it comes back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.sinks import Tail, Tails
from serving.windows import Windows
from serving.wording import counted

MOST_KEYS = 10_000
LATE = "is at or before the last time of its key: late, or repeated"
_TYPE = np.dtype("<f8")


class LateRow(ValueError):
    """A row is not later than the last one of its key."""


@dataclass
class _Last:
    """The last rows ``(k, channels)`` of a run, their last time, and when the key was last seen."""

    rows: np.ndarray
    time: float
    seen: int


@dataclass
class Memory:
    """The last rows of each key, for one source; ``columns`` says what they are of (``columns_of``).

    ``stored`` are the committed tails, in any order.
    """

    stored: Iterable[Tail] = ()
    columns: dict[str, Any] | None = None
    most: int = MOST_KEYS

    def __post_init__(self) -> None:
        tails = sorted(self.stored, key=lambda tail: tail.seen)
        width = len(self.columns["channels"]) if self.columns else 1
        self._keys = OrderedDict(
            (t.key, _Last(np.frombuffer(t.rows, _TYPE).reshape(-1, width), t.time, t.seen)) for t in tails
        )
        self._seen = tails[-1].seen if tails else 0
        self._changed: set[str] = set()
        self._dropped: set[str] = set()
        self._cleared = False
        self._news, self._said = "", False

    def follow(self, windows: Windows) -> None:
        """Be of these windows from now on; rows of other columns are forgotten."""
        new = columns_of(windows)
        if self.columns == new:
            return
        if self._keys:
            self._news = "the model reads other columns than the one before it: each key waits for a whole window again"
        self.columns = new
        self._keys.clear()
        self._changed.clear()
        self._cleared = True

    def news(self) -> str:
        """What to warn of since the last call; empty if there is nothing."""
        text, self._news = self._news, ""
        return text

    def add(self, windows: Windows, key: str, time: float, values: np.ndarray) -> np.ndarray | None:
        """Add a row ``(channels,)``; returns the window ``(channels, length)`` that it completes, or None.

        Raises LateRow, and changes nothing, if the key has had this time or a later one.
        """
        last = self._keys.get(key)
        if last is not None and time <= last.time:
            raise LateRow(LATE)
        rows = values[None] if last is None or time - last.time > windows.longest else np.vstack([last.rows, values])
        rows = rows[-windows.length :]
        self._seen += 1
        self._keys[key] = _Last(rows[max(0, len(rows) - windows.length + 1) :], time, self._seen)
        self._keys.move_to_end(key)
        self._changed.add(key)
        self._dropped.discard(key)
        if len(self._keys) > self.most:
            self._forget()
        return np.ascontiguousarray(rows.T) if len(rows) == windows.length else None

    def _forget(self) -> None:
        oldest, _ = self._keys.popitem(last=False)
        self._changed.discard(oldest)
        self._dropped.add(oldest)
        if not self._said:
            self._said = True
            self._news = (
                f"more than {counted(self.most, 'key')}: the one not seen for longest is forgotten, first {oldest!r}; "
                "a key that comes back waits for a whole window again"
            )

    def changes(self) -> Tails:
        """What changed since the last call, for the commit."""
        written = [Tail(key, self._keys[key].seen, self._keys[key].time, self._bytes(key)) for key in self._changed]
        found = Tails(sorted(written, key=lambda tail: tail.seen), sorted(self._dropped), self._cleared)
        self._changed, self._dropped, self._cleared = set(), set(), False
        return found

    def _bytes(self, key: str) -> bytes:
        return self._keys[key].rows.astype(_TYPE).tobytes()

    @property
    def state(self) -> dict[str, Any]:
        """What the cursor stores."""
        return {} if self.columns is None else {"windows": self.columns}


def columns_of(windows: Windows) -> dict[str, Any]:
    """The columns of windows and how they are read: rows remembered for one model fit another of the same."""
    return windows.model_dump(mode="json", include={"time", "key", "channels", "clock", "timezone"})
