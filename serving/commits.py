"""The commits of a run: how a unit's files get their names, and which committed units are still as they were."""

from __future__ import annotations

import sys
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.crash import crash_point
from serving.errors import DataError, TemporaryError, UsageError
from serving.files import disk_errors, read_checked, sync_and_hash, sync_folder, write_checked
from serving.layout import COMMITS, DEAD, SCORED, SELECTED, THRESHOLD, part_name, tail_of
from serving.lease import Claim
from serving.plan import Plan
from serving.wording import listed

Commit = dict[str, Any]


@dataclass(frozen=True)
class Naming:
    """A finished file, the name that it gets, and the crash point behind that."""

    temporary: Path
    path: Path
    point: str


def described(file: Path, named: Path, key: str) -> Commit:
    """Name, sha-256 and size for a commit; the file is durable then."""
    return {key: named.name, "sha256": sync_and_hash(file), "bytes": file.stat().st_size}


def publish(claim: Claim, files: Sequence[Naming], note: Path, commit: Commit) -> None:
    """Give files their names and commit them: one step for others, who cannot take the lease over within it.

    The commit is created, never replaced. Where the file system broke the lock, the second of two finds it there: it
    deletes its own files and no others, and raises TemporaryError.
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
    """Sweep what no sound commit names, and number the parts as the plan does; returns the units that are committed.

    A commit is sound if it can be read and what it names is there in the size that it says (``verify`` compares the
    hashes). Others are deleted, and what they named is said on stderr.
    """
    with disk_errors(f"in {folder}"):
        kept = _Kept(folder, plan, place)
        files = {folder / COMMITS / f"{unit}.json" for unit in kept.scored}
        files |= {folder / SELECTED / f"{unit}.json" for unit in kept.selected}
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
    "": "part-*.parquet", SCORED: "part-*.parquet", COMMITS: "*.json", SELECTED: "*.json", DEAD: "dead-*.jsonl",
}  # fmt: skip


class _Kept:
    """The sound commits of a plan's units, by unit: of the scores, and of the selection by a false discovery rate.

    ``parts`` maps each part that stays to the name that it should have, ``lost`` a unit to what it lacks.
    """

    def __init__(self, folder: Path, plan: Plan, place: Path) -> None:
        self.folder = folder
        self.numbers = {unit.id: number for number, unit in enumerate(plan.units)}
        self.lost: dict[str, str] = {}
        # Copies of a selection stand for the scored parts, as long as it is known how they were chosen.
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
        """By unit its commit and its part; None for the part of a unit that is ``copied``, which may be gone."""
        held: dict[str, list[Path]] = {}
        for file in sorted(place.glob("part-*.parquet")):
            held.setdefault(tail_of(file.name), []).append(file)
        sound: dict[str, tuple[Commit, Path | None]] = {}
        for path in sorted((self.folder / where).glob("*.json")):
            if (unit := path.stem) not in self.numbers:
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
        """What a commit names and is not there; empty if nothing."""
        if commit["unit"] != unit:
            return f"{unit}.json"
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
    """The commits of all units in the order of the plan, their parts named as they are numbered now."""
    return [
        numbered(read_checked(folder / COMMITS / f"{unit.id}.json", again), number)
        for number, unit in enumerate(plan.units)
    ]


def again(reason: str) -> DataError:
    """The error for a commit that cannot be read: the next run writes it anew."""
    return DataError(f"{reason}; run the same command again")


def numbered(commit: Commit, number: int) -> Commit:
    """A commit that names its part by the number that its unit has in the plan."""
    return commit | {"part": part_name(number, tail_of(commit["part"]))}
