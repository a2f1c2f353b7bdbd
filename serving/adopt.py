"""Claim an output folder for a plan: check it, write the plan, keep the committed units that the plan shares."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from serving.errors import DataError, UsageError
from serving.files import disk_errors, read_checked, sync_folder, write_checked
from serving.layout import (
    COMMITS,
    DEAD,
    GALLERY,
    LETTERS,
    MANIFEST,
    NOTES,
    OLD_MANIFEST,
    OLD_PARTS,
    OLD_PLAN,
    OLD_SELECTED,
    PLAN,
    SCORED,
    SELECTED,
    THRESHOLD,
    check_version,
    is_run,
    noted,
    unit_of,
)
from serving.plan import Plan
from serving.wording import counted, listed, say

OURS = {COMMITS, SCORED, SELECTED, DEAD, OLD_PARTS, OLD_SELECTED}
NO_DATA = {GALLERY, "_lease.json", "lost+found", ".gitkeep", ".gitignore", ".DS_Store"}


def check_output(folder: Path, source: Path) -> None:
    """Raise UsageError if the folder holds anything but an earlier run, or lies inside the input."""
    if source.is_dir() and source.resolve() in folder.resolve().parents:
        raise UsageError(
            f"--output {folder} lies in --input {source}: its scores would be read as data; choose another"
        )
    with disk_errors(f"in {folder}"):
        if not folder.is_dir() or is_run(folder):
            return
        held = sorted(entry.name for entry in folder.iterdir() if not _left_over(entry))
    if held:
        raise UsageError(
            f"{folder} holds {held[0]!r}, which is no output of `score`; give --output an empty or a new folder"
        )


def _left_over(entry: Path) -> bool:
    """Whether an entry is disposable, or was left by a run that crashed before it wrote its plan."""
    if entry.name in OURS and entry.is_dir():
        return all(inner.name.startswith(".tmp-") for inner in entry.iterdir())
    return entry.name in NO_DATA or entry.name.startswith(".tmp-")


def old_plan(folder: Path, new_run: bool) -> Plan | None:
    """The plan of an earlier run; None if there is none, or if it is unreadable and ``new_run`` is set.

    Raises UsageError if a later release wrote it, and DataError if it is unreadable without ``new_run``.
    """
    path = folder / PLAN
    if not path.exists():
        return None
    try:
        values = read_checked(path, DataError)
        check_version(path, values, UsageError)
        return Plan.from_dict(values)
    except (DataError, KeyError, TypeError, ValueError) as error:
        if new_run:
            return None
        raise DataError(f"{path} cannot be read ({error}); use --new-run to start over") from error


def adopt_plan(folder: Path, plan: Plan, new_run: bool) -> None:
    """Write the plan into the folder, replacing an earlier one.

    If the earlier plan has the same settings, the units that both plans share are kept. Any other plan is replaced if
    it has no commits or if ``new_run`` is set; otherwise raises DataError.
    """
    old = old_plan(folder, new_run)
    if old is not None and old.same_as(plan):
        return
    begun = any((folder / COMMITS).glob(NOTES))
    why = _objection(folder, old, plan)
    if begun and why and not new_run:
        raise DataError(f"{folder} {why}; choose another --output, or --new-run to replace it")
    # A false discovery rate decides over all rows of a run, and the scores it was computed from are deleted.
    decided = old is None or (old.settings.fdr is not None and (folder / THRESHOLD).exists())
    wanted = set() if decided else {noted(p) for p in (folder / COMMITS).glob(NOTES)} & plan.ids
    if begun and old is not None and not why:
        say(_changes(old, plan, wanted))
    with disk_errors(f"in {folder}"):
        _clear(folder, wanted)
    write_checked(folder / PLAN, plan.to_dict())
    with disk_errors(f"in {folder}"):
        _forget_old_layout(folder)


def _objection(folder: Path, old: Plan | None, plan: Plan) -> str:
    """Why an earlier run cannot be continued; empty if it can."""
    if old is None:
        return "was begun by an earlier release with another layout" if (folder / OLD_PLAN).exists() else ""
    if difference := old.settings.difference(plan.settings):
        return f"was made for {difference}"
    if old.input != plan.input and not old.ids & plan.ids:
        return f"was made for other input ({old.input})"
    return ""


def _changes(old: Plan, plan: Plan, kept: Collection[str]) -> str:
    """Describe a changed input: which files changed, and how many units are scored again."""
    new = [name for name in plan.files if name not in old.files]
    changed = [name for name, (identity, _) in plan.files.items() if old.files.get(name, (identity,))[0] != identity]
    gone = [name for name in old.files if name not in plan.files]
    said = [(changed, "changed"), (new, "new"), (gone, "removed")]
    reasons = ", ".join(f"{word}: {listed(names)}" for names, word in said if names) or "its columns have other types"
    again = counted(len(plan.units) - len(kept), "unit")
    return f"the input was changed ({reasons}); {again} scored anew, {len(kept):,} kept"


def _clear(folder: Path, wanted: Collection[str]) -> None:
    """Delete the files of an earlier plan, except those of the units ``wanted``.

    Commits are deleted durably before the files they name. An interruption at any point therefore leaves an earlier
    run that lacks some units and can still be continued.
    """
    for name in (MANIFEST, OLD_MANIFEST):
        (folder / name).unlink(missing_ok=True)
    for place in (folder / name for name in (COMMITS, SELECTED)):
        _delete(place, wanted)
    (folder / THRESHOLD).unlink(missing_ok=True)
    shutil.rmtree(folder / GALLERY, ignore_errors=True)
    for place in (folder, *(folder / name for name in (SCORED, DEAD, OLD_PARTS, OLD_SELECTED))):
        _delete(place, wanted)


def _delete(place: Path, wanted: Collection[str]) -> None:
    pattern = NOTES if place.name in (COMMITS, SELECTED) else "part-*.parquet"
    for file in place.glob(LETTERS if place.name == DEAD else pattern):
        if unit_of(file) not in wanted:
            file.unlink()
    if place.is_dir():
        sync_folder(place)


def _forget_old_layout(folder: Path) -> None:
    (folder / OLD_PLAN).unlink(missing_ok=True)
    for name in (OLD_PARTS, OLD_SELECTED):
        if (folder / name).is_dir() and not any((folder / name).iterdir()):
            (folder / name).rmdir()
