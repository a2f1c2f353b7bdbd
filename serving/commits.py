"""The commits of a run: publish a unit's files, and find which committed units are still intact."""

from __future__ import annotations

import sys
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.crash import crash_point
from serving.errors import DataError, TemporaryError, UsageError
from serving.files import disk_errors, read_checked, sync_and_hash, sync_folder, write_checked
from serving.layout import (
    COMMITS,
    DEAD,
    LETTERS,
    NOTES,
    SCORED,
    SELECTED,
    THRESHOLD,
    note,
    noted,
    part_name,
    tail_of,
)
from serving.lease import Claim
from serving.plan import Plan
from serving.wording import listed

Commit = dict[str, Any]


@dataclass(frozen=True)
class Naming:
    """A finished temporary file, its final name, and the crash point after the rename."""

    temporary: Path
    path: Path
    point: str


def described(file: Path, named: Path, key: str) -> Commit:
    """Make a file durable; returns its name, sha-256 and size for the commit."""
    return {key: named.name, "sha256": sync_and_hash(file), "bytes": file.stat().st_size}


def publish(claim: Claim, files: Sequence[Naming], note: Path, commit: Commit) -> None:
    """Rename files to their final names and commit them, in one step during which no one can take the lease over.

    The commit is created, never replaced. If the file system lost the lock and another run committed first, this run
    deletes only its own files and raises TemporaryError.
    """
    with claim.guard(), disk_errors(f"in {note.parent.parent}"):
        for file in files:
            file.temporary.replace(file.path)
            sync_folder(file.path.parent)
            crash_point(file.point)
        if write_checked(note, commit, exclusive=True):
            return
        for file in files:
            file.path.unlink(missing_ok=True)
        claim.check()
        raise TemporaryError(f"{note} was written by another run meanwhile; run the same command again")


def settle(folder: Path, plan: Plan, place: Path) -> set[str]:
    """Delete files that no sound commit names, renumber the parts by the plan, and return the committed units.

    A commit is sound if it is readable and the files it names exist with the recorded sizes (``verify`` also compares
    hashes). Other commits are deleted, and the files they named are listed on stderr.
    """
    with disk_errors(f"in {folder}"):
        kept = _Kept(folder, plan, place)
        files = {note(folder / COMMITS, unit) for unit in kept.scored}
        files |= {note(folder / SELECTED, unit) for unit in kept.selected}
        files |= {folder / DEAD / c["dead_letters"]["file"] for c in kept.scored.values() if c.get("dead")}
        files |= set(kept.parts)
        for where, pattern in _OURS.items():
            _sweep([*(folder / where).glob(pattern), *(folder / where).glob(".tmp-*")], files)
        for part, named in kept.parts.items():
            if part != named:
                part.replace(named)
    if kept.lost:
        print(f"gone or changed, and written anew: {listed(list(kept.lost.values()))}", file=sys.stderr)
    return set(kept.scored)


_OURS = {
    "": "part-*.parquet", SCORED: "part-*.parquet", COMMITS: NOTES, SELECTED: NOTES, DEAD: LETTERS,
}  # fmt: skip


class _Kept:
    """The sound commits of a plan by unit, for the scores and for the selection by a false discovery rate.

    ``parts`` maps each part to keep to its correct name; ``lost`` maps a unit to its missing file.
    """

    def __init__(self, folder: Path, plan: Plan, place: Path) -> None:
        self.folder = folder
        self.numbers = {unit.id: number for number, unit in enumerate(plan.units)}
        self.lost: dict[str, str] = {}
        # The selected copies replace the scored parts, provided that the threshold they were chosen by is readable.
        decided = place != folder and _readable(folder / THRESHOLD)
        selected = self._sound(SELECTED, folder, {}) if decided else {}
        scored = self._sound(COMMITS, place, selected)
        chosen = {unit: found for unit, found in selected.items() if unit in scored}
        self.scored = {unit: commit for unit, (commit, _) in scored.items()}
        self.selected = list(chosen)
        self.parts = {
            held: held.with_name(part_name(self.numbers[unit], tail_of(held.name)))
            for found in (scored, chosen)
            for unit, (_, held) in found.items()
            if held is not None
        }

    def _sound(self, where: str, place: Path, copied: Container[str]) -> dict[str, tuple[Commit, Path | None]]:
        """Commit and part by unit. The part is None for a unit in ``copied``, whose part may be gone."""
        held: dict[str, list[Path]] = {}
        for file in sorted(place.glob("part-*.parquet")):
            held.setdefault(tail_of(file.name), []).append(file)
        sound: dict[str, tuple[Commit, Path | None]] = {}
        for path in sorted((self.folder / where).glob(NOTES)):
            if (unit := noted(path)) not in self.numbers:
                continue
            try:
                commit = read_checked(path, DataError)
                part = next((p for p in held.get(tail_of(commit["part"]), ()) if _sized(p, commit)), None)
                lacks = self._lacks(commit, unit, part is not None or unit in copied)
            except (DataError, KeyError, TypeError, AttributeError):
                lacks = path.name
            if lacks:
                self.lost.setdefault(unit, lacks)
            else:
                sound[unit] = commit, part
        return sound

    def _lacks(self, commit: Commit, unit: str, whole: bool) -> str:
        """The missing file that a commit names; empty if none is missing."""
        if commit["unit"] != unit:
            return note(self.folder / COMMITS, unit).name
        letters = commit["dead_letters"] if commit.get("dead") else None
        if letters and not _sized(self.folder / DEAD / letters["file"], letters):
            return letters["file"]
        return "" if whole else commit["part"]


def _readable(path: Path) -> bool:
    try:
        read_checked(path, DataError)
    except DataError:
        return False
    return True


def _sized(path: Path, commit: Commit) -> bool:
    return path.is_file() and path.stat().st_size == commit["bytes"]


def _sweep(found: list[Path], wanted: set[Path]) -> None:
    unwanted = [path for path in found if path not in wanted]
    for path in unwanted:
        if path.is_dir() and not path.is_symlink():
            raise UsageError(f"{path} is a folder, where a file of the run belongs; delete it and run again")
        path.unlink()
    for place in {path.parent for path in unwanted}:
        sync_folder(place)


def read_commits(folder: Path, plan: Plan) -> list[Commit]:
    """The commits of all units in the order of the plan, with the current part names."""
    return [
        numbered(read_checked(note(folder / COMMITS, unit.id), again), number) for number, unit in enumerate(plan.units)
    ]


def again(reason: str) -> DataError:
    """The error for an unreadable commit; the next run writes it again."""
    return DataError(f"{reason}; run the same command again")


def numbered(commit: Commit, number: int) -> Commit:
    """A commit whose part name carries the unit's number in the plan."""
    return commit | {"part": part_name(number, tail_of(commit["part"]))}
