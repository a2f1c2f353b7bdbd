"""Reads a log that grows by lines, through rotation, truncation and restarts.

The cursor holds a fingerprint (``logfiles.Print``) of each file of the log that may still grow. A rotated file is thus
found under its new name, and its unread rest is scored. If it cannot be found, a gap is reported.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from serving.errors import DataError, UsageError
from serving.sources import PAUSE, Cursor, Gap, Record, Source, Standing
from serving.sources.lines import Line
from serving.sources.logfiles import LogFile, Print, modified, print_of, rotated
from serving.sources.pipe import Pipe, takes

GRACE = 60.0  # seconds without a write after which a rotated file is done
TICK = 1.0  # seconds within which two changes may have the same modification time
REMEMBERED = 16  # files that were read to their end and must not be read again
LONGEST = 1 << 16
SEPARATORS = b",;\t|"


def open_path(location: str, follow: bool) -> Source:
    """The source for a path: a log, or a pipe if the path is a FIFO or a device."""
    path = Path(location)
    if path.exists() and takes(path.stat().st_mode):
        return Pipe(location, follow)
    return GrowingFile(location, follow)


class GrowingFile:
    """A log file. Each line is a record, positioned by its byte offset; files are ``name``, ``name#1``, ``name#2``, ...

    A rotated file is read until no one has written to it for ``GRACE`` seconds. A last line without a line end is held
    until it is complete. At the end of the input it is read if it is a complete JSON object; in a rotated file always.
    """

    def __init__(self, location: str, follow: bool, now: Callable[[], float] = time.time) -> None:
        self.path, self.follow, self.now = Path(location), follow, now
        _check_file(self.path, follow)
        self.id, self.label = "", self.path.name
        self.files: list[LogFile] = []
        self._done: list[dict[str, Any]] = []
        self._next = 0
        self._lost: list[tuple[int, int, str]] = []
        self._finished = False
        # The time (seconds since 1970) up to which all files of the log are known, and the folder's time then.
        self._newest, self._folder = 0.0, 0.0

    # ---------------------------------------------------------------- the cursor
    def resume(self, known: Mapping[str, Cursor], state: Path) -> None:
        """Find the cursor by the path or, if the folder was moved, by the files' contents; then find its files."""
        self.id = self._find(known) or f"file:{uuid.uuid4().hex}"
        cursor = known.get(self.id, {})
        entries = cursor.get("files", [cursor] if "identity" in cursor else [])
        self._done = list(cursor.get("done", []))
        self._newest = float(cursor.get("modified", 0.0))
        self._next = int(cursor.get("generation", 0)) + bool(entries)
        for entry in entries:
            self._find_again(entry, last=entry is entries[-1])
        if not entries:
            self._open_new([])
        if "modified" not in cursor:
            # First read, or the cursor of an earlier release: skip files that were rotated before.
            others = [p for p in rotated(self.path) if not any(file.is_at(p) for file in self.files)]
            self._done = [seen for p in others if (seen := print_of(p))][-REMEMBERED:]
            self._newest = max([0.0, *(file.modified() for file in self.files)])

    def _find(self, known: Mapping[str, Cursor]) -> str | None:
        here = str(self.path.resolve())
        if f"file:{here}" in known:
            return f"file:{here}"
        mine = [name for name, cursor in known.items() if cursor.get("path") == here]
        moved = [
            name for name, cursor in known.items()
            if not mine and cursor.get("files") and not Path(cursor["path"]).exists()
            and Path(cursor["path"]).name == self.path.name
            and any(Print.read(e).offset and self._locate(Print.read(e)) for e in cursor["files"])
        ]  # fmt: skip
        return next(iter([*mine, *moved]), None)

    def _locate(self, print_: Print) -> Path | None:
        return next((p for p in [self.path, *reversed(rotated(self.path))] if print_.fits(p)), None)

    def _find_again(self, entry: dict[str, Any], last: bool) -> None:
        """Open a file of the cursor at its current path; after the last one, also open the later files."""
        print_, number = Print.read(entry), int(entry.get("generation", 0))
        where = self._locate(print_)
        if where is not None:
            self.files.append(LogFile(where, number, print_.offset))
        elif print_.size or not self._later(None):  # later files are read in their own right
            self._lose(number, print_.offset, "was replaced, and what it held is not among the rotated files")
        if last:
            self._open_new(self._later(where))

    def _later(self, where: Path | None) -> list[Path]:
        """The unknown rotated files that follow ``where`` or were written after the last write that was seen."""
        others = rotated(self.path)
        after = others[others.index(where) + 1 :] if where in others else []
        # Times are coarse, so a file with the same time may be later.
        late = [p for p in others if p in after or (self._newest and modified(p) >= self._newest)]
        known = [*map(Print.read, self._done), *(file.print() for file in self.files)]
        return [p for p in late if not any(print_.fits(p) for print_ in known)]

    def _open_new(self, rotated_since: Iterable[Path]) -> None:
        """Open files from their start: those that were rotated meanwhile, then the log itself."""
        for path in [*rotated_since, self.path]:
            if any(file.is_at(path) for file in self.files):
                continue
            try:
                self.files.append(LogFile(path, self._next))
            except FileNotFoundError:
                continue
            self._next += 1
        # The file with the log's own name is the last one, even if others were found after it.
        self.files.sort(key=lambda file: file.is_at(self.path))

    def _lose(self, number: int, offset: int, why: str) -> None:
        self._lost.append((number, offset, f"{self.path}, read to byte {offset:,}, {why}"))

    def cursor(self) -> Cursor:
        """The files that may still grow, and fingerprints of the files that are finished."""
        done = [file for file in self.files if self._is_done(file)]
        return {
            "scheme": "file",
            "path": str(self.path.resolve()),
            "files": [{**f.print().to_dict(), "generation": f.number} for f in self.files if f not in done],
            "done": [*self._done, *(f.print().to_dict() for f in done)][-REMEMBERED:],
            "generation": self._next - 1,
            "modified": self._newest,
        }

    def _name(self, number: int) -> str:
        return self.label + (f"#{number}" if number else "")

    # ---------------------------------------------------------------- reading
    def poll(self, limit: int) -> list[Record]:
        """Complete lines up to the current ends of the files, oldest file first."""
        self._look_for_rotation()
        records: list[Record] = []
        for file in list(self.files):
            if not file.lines.ready and file.was_cut():
                self._cut(file)
                continue
            records += [_record(self._name(file.number), p, line) for p, line in file.take(limit - len(records))
                        if line.body.strip()]  # fmt: skip
            if len(records) >= limit:
                return records
        if not records:
            self._look_around()
        return records

    def _cut(self, file: LogFile) -> None:
        """Handle a truncated or rewritten file: continue in its copy (copytruncate), or report a gap."""
        place = self.files.index(file)
        print_ = file.print()
        copy = next((p for p in reversed(rotated(self.path)) if print_.fits(p)), None)
        file.close()
        if copy is None:
            self._lose(file.number, file.offset, "was truncated, and no copy of it is among the rotated files")
            del self.files[place]
        else:
            self.files[place] = LogFile(copy, file.number, file.offset)
        self._open_new(self._later(copy) if copy else [])

    def _look_for_rotation(self) -> None:
        """If the folder changed, open the files that rotation created since then.

        Runs before reading, so that the time of the last known write is certain: a file that was empty when it was
        seen may be copied and truncated without a trace in itself.
        """
        latest = max([self._newest, *(file.modified() for file in self.files)])
        changed = modified(self.path.parent)
        # Two changes within one tick of the file system's clock have the same time.
        if changed != self._folder or abs(self.now() - changed) < TICK:
            newest = self.files[-1] if self.files else None
            at = next((p for p in rotated(self.path) if newest and newest.is_at(p)), None)
            self._open_new(self._later(at) if newest else [])
            self._folder = changed
        self._newest = latest

    def _look_around(self) -> None:
        """At the end of the input: close old files, and finish if not following."""
        for file in [f for f in self.files if self._is_old(f)]:
            if self._let_go(file):
                return
        if not self.follow and not self._finished:
            for file in self.files:
                file.end_line(only_whole=not self._is_old(file))
            self._finished = not any(file.lines.ready for file in self.files)

    def _is_old(self, file: LogFile) -> bool:
        """Whether it was rotated and no one has written to it for a while."""
        return file is not self.files[-1] and self.now() - file.modified() > GRACE

    def _is_done(self, file: LogFile) -> bool:
        """Whether nothing more will be read from it."""
        return self._is_old(file) and not (file.lines.ready or file.lines.unfinished or file.has_more())

    def _let_go(self, file: LogFile) -> bool:
        """Close a rotated file; returns True if its last line must be polled first."""
        file.end_line(only_whole=False)
        if file.lines.ready:
            return True
        self._done = [*self._done, file.print().to_dict()][-REMEMBERED:]
        self.files.remove(file)
        file.close()
        return False

    def gaps(self) -> list[Gap]:
        """The gaps found since the last call."""
        lost, self._lost = self._lost, []
        return [Gap(self._name(number), offset, why) for number, offset, why in lost]

    def wait(self) -> None:
        """Wait a moment."""
        time.sleep(PAUSE)

    def committed(self) -> None:
        """Does nothing: this source keeps no records."""

    def finished(self) -> bool:
        """True at the end of the input, unless following."""
        return self._finished

    def left(self) -> str:
        """A message about an unfinished last line."""
        file = self.files[-1] if self.files else None
        if file is None or not file.lines.unfinished:
            return ""
        return f"{self._name(file.number)}: the last line has no end yet ({file.lines.unfinished:,} bytes); it waits"

    def close(self) -> None:
        """Close the files."""
        for file in self.files:
            file.close()


def standing(cursor: Cursor, state: Path) -> Standing:
    """Unread bytes of the log and its rotated files, located as after a restart."""
    path, files = Path(cursor["path"]), cursor["files"]
    newest = f"byte {files[-1]['offset']:,} of {path.name}" if files else f"end of {path.name}"
    number = files[-1].get("generation", 0) if files else 0
    position = newest + (f"#{number}" if number else "")
    if path.exists() and not path.is_file():
        return Standing(position, note=f"{path} is no file any more")
    source = GrowingFile(str(path), follow=True)
    try:
        source.resume({"log": cursor}, state)
        lost = "; ".join(gap.reason for gap in source.gaps())
        if not source.files:
            return Standing(position, note=lost or f"{path} is gone")
        return Standing(position, sum(file.behind() for file in source.files), "byte", lost)
    finally:
        source.close()


def _record(name: str, position: int, line: Line) -> Record:
    return Record(name, position, line.body, None if line.whole else line.size)


# ---------------------------------------------------------------- before the output is made
def _check_file(path: Path, follow: bool) -> None:
    """Raise UsageError if the input is missing or a folder, and DataError if it is clearly not JSON lines."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; a stream reads one file of JSON lines, `score` reads folders")
    if not path.exists():
        if follow:
            return
        raise UsageError(f"there is no input {path}; check the path")
    try:
        lines = _first_lines(path)
    except OSError as error:
        raise UsageError(f"cannot read {path} ({error.strerror or error}); choose another --input") from error
    if not follow and lines and _is_table(path, lines):
        raise DataError(f"{path} looks like CSV or Parquet, not JSON lines; use `score` for it, or write JSON lines")


def _first_lines(path: Path) -> list[bytes]:
    """The first two lines that are not blank."""
    kept: list[bytes] = []
    with path.open("rb") as file:
        while len(kept) < 2 and (line := file.readline(LONGEST)):
            if line := line.removeprefix(b"\xef\xbb\xbf").strip():
                kept.append(line)
    return kept


def _is_table(path: Path, lines: list[bytes]) -> bool:
    """Whether a file looks like a table. Uses two lines, because JSON lines may begin with one malformed record."""
    if any(line[:1] in (b"{", b"[") for line in lines):
        return False
    named = path.suffix.lower() in (".csv", ".tsv", ".parquet")
    return named or lines[0].startswith(b"PAR1") or any(byte in SEPARATORS for byte in lines[0])
