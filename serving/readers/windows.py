"""The inputs of a model of windows: time, key and channels of a table of readings (``serving.windows``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from serving.errors import DataError
from serving.feeding import Feeding, WindowFeeding
from serving.frame import NO_DATE
from serving.inputs import Reading
from serving.places import places_in_words
from serving.readers import Feeds, Sifted
from serving.readers.example import EXAMPLE, ExampleReader
from serving.readers.table import TableReader
from serving.table import arrow
from serving.table.examples import Layout
from serving.windows import Readings, Windows, joined


class Relative(dict[str, Any]):
    """A record with a window that is relative to its level already; ``new`` is its key if training has not seen it."""

    new: str | None = None


class WindowReader:
    """Reads rows that become windows; see ``serving.readers.Reader``.

    ``feeds`` takes finished windows, as a model of series does: an array ``(n, channels, length)``, or records with the
    entry ``x``; a model of levels needs their key as well. The rows of a table are read by ``read``.
    """

    nested: list[str] = []
    monitored: Sequence[Mapping[str, Any]] = ()

    def __init__(self, windows: Windows, layout: Layout) -> None:
        self.windows = windows
        self._table, self._examples = TableReader(windows.table()), ExampleReader(layout)
        self.check_columns, self.raw_text = self._table.check_columns, self._table.raw_text
        self.layout, self.nothing = layout, self._examples.nothing

    def feeds(self, data: Any) -> Feeds:
        """Finished windows as feeds; raises DataError for a table of readings, whose rows are no windows yet."""
        if hasattr(data, "columns") and EXAMPLE not in arrow.column_names(data):
            windows = self.windows
            raise DataError(
                f"this model reads windows of {windows.length} rows, not single ones: score a file or a stream of "
                f"readings, or give an array of shape (n, {len(windows.channels)}, {windows.length}) or the column 'x'"
            )
        feeds, levels = self._examples.feeds(data), self.windows.levels
        if levels is None or (isinstance(data, Sequence) and all(isinstance(record, Relative) for record in data)):
            return feeds
        keys = self._keys(data)
        if levels.unseen(keys).any():
            raise DataError(
                f"training has seen no {self.windows.key!r} {str(keys[levels.unseen(keys)][0])!r}, so its level is not "
                "known: score a file or a stream, which count such windows, or train again with rows of it"
            )
        return {EXAMPLE: levels.relative(keys, feeds[EXAMPLE])}

    def _keys(self, data: Any) -> np.ndarray:
        """The keys of finished windows; raises DataError if they have none."""
        key = str(self.windows.key)
        if isinstance(data, Sequence) and all(isinstance(d, Mapping) and isinstance(d.get(key), str) for d in data):
            return np.array([record[key] for record in data], dtype=object)
        raise DataError(
            f"this model reads windows relative to the level of each {key!r}: score a file or a stream of readings, or "
            f"give records with the window in 'x' and its key, as text, in {key!r}"
        )

    def ready(self, windows: np.ndarray) -> Feeds:
        """Windows ``(n, channels, length)`` of rows that are relative to their levels, as feeds."""
        return self._examples.feeds(windows)

    @property
    def names(self) -> list[str]:
        """Time, key and channels."""
        return self.windows.names

    def read(self, table: pa.Table) -> Readings:
        """The readable rows of a table; a missing or non-finite value makes a row unreadable."""
        return self._finite(self._table.sift(table, table.num_rows))

    def read_records(self, records: Sequence[Mapping[str, Any]]) -> Readings:
        """The readable ones of records that hold all columns, as ``read``."""
        try:
            return self._finite(Sifted(self._table.feeds(records), np.arange(len(records)), []))
        except DataError:  # one bad value fails all
            return joined([self._alone(row, record) for row, record in enumerate(records)])

    def _alone(self, row: int, record: Mapping[str, Any]) -> Readings:
        """One record, as ``read``."""
        reason = self._table.check_row(record)
        if reason is not None:
            return self._finite(Sifted(self._table.nothing(), np.zeros(0, np.int64), [(row, "", reason)]))
        return self._finite(Sifted(self._table.feeds([record]), np.array([row]), []))

    def _finite(self, sifted: Sifted) -> Readings:
        """The rows whose values are all there."""
        rows, bad = sifted.good, list(sifted.bad)
        kept = np.ones(len(rows), dtype=bool)
        for name in self.windows.names:
            feed = sifted.feeds[name]
            lacks, infinite = _lacking(feed)
            for wrong, why in ((lacks, "is missing"), (infinite, "is infinite")):
                bad += [(int(rows[i]), name, why) for i in np.flatnonzero(wrong & kept)]
                kept &= ~wrong
        feeds = {name: feed[kept] for name, feed in sifted.feeds.items()}
        key = self.windows.key
        keys = np.full(int(kept.sum()), "", dtype=object) if key is None else feeds[key]
        values = np.stack([feeds[name] for name in self.windows.channels], 1)
        return Readings(rows[kept], keys, feeds[self.windows.time].astype(np.float64), values, sorted(bad))

    def feeding(self, reading: Reading) -> Feeding:
        """Windows of a file's rows."""
        return WindowFeeding(self, reading)

    def reasons(self, explained: np.ndarray, flags: np.ndarray, data: Any) -> pa.Array:
        """The places that exceed the limit, in words, by the names of the channels."""
        return places_in_words(explained, flags, self.layout, self.windows.channels)

    def check_row(self, record: Any) -> str | None:
        """Why a record with a finished window cannot be scored, or None."""
        return self._examples.check_row(record)

    def kept(self, types: Mapping[str, pa.DataType]) -> list[str]:
        """Key and time."""
        own = [self.windows.key, self.windows.time]
        return [name for name in own if name is not None and name in types]

    def example(self, key: str, window: np.ndarray) -> Relative:
        """A finished window ``(channels, length)`` of a key as a record for ``feeds``, relative to the key's level."""
        record = Relative({EXAMPLE: self.windows.relative([key], window[None])[0]})
        record.new = key if self.windows.unseen([key])[0] else None
        return record


def _lacking(feed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Masks of missing and of infinite values."""
    never = np.zeros(len(feed), dtype=bool)
    if feed.dtype == object:
        return feed == "", never
    if feed.dtype == np.int64:
        return feed == NO_DATE, never
    return np.isnan(feed), np.isinf(feed)
