"""What of a file's rows goes into the session: each row by itself, or the window that ends at it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa

from serving.inputs import Input, Piece, Reading
from serving.readers import Sifted
from serving.unseen import NONE, Unseen
from serving.windows import REPEATED, Runs, runs_of

if TYPE_CHECKING:
    from serving.readers.windows import WindowReader

_VALUES = 1 << 22  # numbers in the windows of one piece: 32 MB


class Feeding(Protocol):
    """Reads ranges of a file's rows, and separates those that can be scored; a reader makes one for each scorer."""

    def pieces(
        self, source: Input, columns: Sequence[str], start: int, stop: int, needed: Collection[str],
        nested: Collection[str],
    ) -> Iterator[Piece]:  # fmt: skip
        """As ``Input.pieces``."""

    def sift(self, source: Input, piece: Piece, most: int) -> Sifted:
        """The feeds of a piece of this file; as ``serving.readers.table.TableReader.sift``."""


class RowFeeding:
    """Feeds each row by itself; ``sift`` is that of a reader."""

    def __init__(self, sift: Callable[[pa.Table, int], Sifted], reading: Reading) -> None:
        self._sift, self.pieces = sift, reading.pieces

    def sift(self, source: Input, piece: Piece, most: int) -> Sifted:
        """The rows of the piece's table."""
        return self._sift(piece.table, most)


@dataclass(frozen=True)
class _File:
    """The runs of a file, where each of its rows lies in them (-1: nowhere), and column and reason of bad rows.

    ``new`` names the keys that training has not seen, and ``new_of`` holds the place in it for each row (-1: none); it
    is empty without such keys.
    """

    source: Input
    runs: Runs
    place: np.ndarray
    bad: dict[int, tuple[str, str]]
    new: list[str]
    new_of: np.ndarray

    def unseen(self, rows: np.ndarray) -> Unseen:
        """Those of these rows whose key training has not seen."""
        if not self.new:
            return NONE
        places = self.new_of[rows]
        places = places[places >= 0]
        return Unseen(len(places), self.new[places[0]]) if len(places) else NONE


class WindowFeeding:
    """Feeds the window that ends at each row. Windows lie within one file, whose keys and times are held in memory.

    Channels are read again for each range, with the rows that its windows begin in.
    """

    def __init__(self, reader: WindowReader, reading: Reading) -> None:
        self._reader, self._reading, self._channels = reader, reading, Reading()
        self._file: _File | None = None
        self._first, self._values = 0, np.zeros((0, len(reader.windows.channels)))

    def pieces(
        self, source: Input, columns: Sequence[str], start: int, stop: int, needed: Collection[str],
        nested: Collection[str],
    ) -> Iterator[Piece]:  # fmt: skip
        """As ``Input.pieces``, in pieces whose windows fit into memory."""
        windows = self._reader.windows
        most = max(1, _VALUES // (len(windows.channels) * windows.length))
        self._hold(self._opened(source), start, stop)
        for piece in self._reading.pieces(source, columns, start, stop, needed, nested):
            for at in range(piece.start, piece.stop, most):
                yield piece.cut(at, at + most)

    def sift(self, source: Input, piece: Piece, most: int) -> Sifted:
        """Windows that end in the piece, its bad rows, and those that end no window."""
        file, rows, length = self._opened(source), piece.rows(), self._reader.windows.length
        bad = [(i, *file.bad[int(row)]) for i, row in enumerate(rows) if int(row) in file.bad] if file.bad else []
        if len(bad) > most:
            return Sifted({}, rows[:0], bad)
        there = np.flatnonzero(file.place[rows] >= 0)
        places = file.place[rows[there]]
        complete = file.runs.complete(places, length)
        waiting = {why: there[idle] for why, idle in file.runs.waiting(places, length).items()}
        members = file.runs.members(places[complete], length) - self._first
        made = np.ascontiguousarray(self._values[members].transpose(0, 2, 1))
        return Sifted(self._reader.ready(made), there[complete], bad, waiting, file.unseen(rows[there[complete]]))

    def _opened(self, source: Input) -> _File:
        """The runs of a file; reads it once."""
        if self._file is None or self._file.source != source:
            self._file = self._indexed(source)
            self._first, self._values = 0, self._values[:0]
        return self._file

    def _indexed(self, source: Input) -> _File:
        known: dict[str, int] = {}
        bad: dict[int, tuple[str, str]] = {}
        codes, times, rows = [np.zeros(0, np.int64)], [np.zeros(0)], [np.zeros(0, np.int64)]
        end = 0
        for piece in source.pieces(self._reader.names, needed=self._reader.names):
            found, positions = self._reader.read(piece.table), piece.rows()
            bad |= {int(positions[row]): (column, why) for row, column, why in found.bad}
            names, inverse = _distinct(found.keys)
            codes.append(np.array([known.setdefault(name, len(known)) for name in names], np.int64)[inverse])
            times.append(found.times)
            rows.append(positions[found.rows])
            end = piece.stop
        where = np.concatenate(rows)
        runs, repeated = runs_of(np.concatenate(codes), np.concatenate(times), self._reader.windows.longest)
        bad |= dict.fromkeys(where[repeated].tolist(), (self._reader.windows.time, REPEATED))
        runs = Runs(where[runs.order], runs.start, runs.first)
        place = np.full(end, -1)
        place[runs.order] = np.arange(len(runs.order))
        new, new_of = self._new(list(known), np.concatenate(codes), where, end)
        return _File(source, runs, place, bad, new, new_of)

    def _new(self, names: list[str], codes: np.ndarray, where: np.ndarray, end: int) -> tuple[list[str], np.ndarray]:
        """The keys that training has not seen, and the place of each row's among them."""
        unseen = self._reader.windows.unseen(names)
        if not unseen.any():
            return [], np.zeros(0, np.int64)
        found = np.full(end, -1)
        found[where] = np.where(unseen, np.cumsum(unseen) - 1, -1)[codes]
        return [name for name, new in zip(names, unseen, strict=True) if new], found

    def _hold(self, file: _File, start: int, stop: int) -> None:
        """Hold the channels of all rows in windows that end in this range; keeps those held before that are needed."""
        places = file.place[start:stop]
        reach = file.runs.reach(places[places >= 0], self._reader.windows.length)
        if reach is None:
            return
        low, high = reach
        held, values = self._first + len(self._values), np.full((high - low, self._values.shape[1]), np.nan)
        begin = low
        if self._first <= low < held:
            common = min(held, high)
            values[: common - low] = self._values[low - self._first : common - self._first]
            begin = common
        for piece in self._channels.pieces(file.source, self._reader.names, begin, high, self._reader.names):
            found = self._reader.read(piece.table)
            values[piece.rows()[found.rows] - low] = self._reader.windows.relative(found.keys, found.values)
        self._first, self._values = low, values


def _distinct(keys: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Distinct texts and the place of each row's in them."""
    encoded = pa.array(keys, pa.string()).dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False)
