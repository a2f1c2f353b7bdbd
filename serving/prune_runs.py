"""Removes finished batch runs. A folder is renamed first, so that it disappears atomically, and then deleted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.adopt import NO_DATA, OURS
from serving.crash import crash_point
from serving.errors import DataError, UsageError
from serving.files import sync_folder
from serving.layout import LEASE, MANIFEST, OLD_MANIFEST, OLD_PLAN, PLAN, THRESHOLD, is_run, read_manifest
from serving.lease import Lease
from serving.pruning import Pruning, Removed
from serving.wording import counted, listed

_ENDING = ".pruned"
_NAMES = OURS | NO_DATA | {PLAN, MANIFEST, THRESHOLD, LEASE, OLD_PLAN, OLD_MANIFEST}


def leftover(folder: Path) -> Path:
    """The hidden name that a run gets before its files are deleted."""
    place = Path(os.path.abspath(folder))
    return place.parent / f".{place.name}{_ENDING}"


def runs_in(folder: Path) -> list[Path]:
    """The runs at or below a folder, including partly deleted ones; raises UsageError if there are none.

    Links below the folder are not followed.
    """
    found = [leftover(folder)] if _is_leftover(leftover(folder)) else []
    if is_run(folder):
        return [*found, folder]
    for place, names, _ in os.walk(folder):
        inner = [Path(place) / name for name in sorted(names) if not (Path(place) / name).is_symlink()]
        runs = [path for path in inner if _is_leftover(path) or is_run(path)]
        found += runs
        names[:] = [path.name for path in inner if path not in runs]
    if not found:
        raise UsageError(f"{folder} holds no output of `score`")
    return found


def _is_leftover(path: Path) -> bool:
    """Whether this is a partly deleted run; its plan is deleted last."""
    named = path.name.startswith(".") and path.name.endswith(_ENDING) and path.is_dir()
    return named and (is_run(path) or not any(path.iterdir()))


def prune(folder: Path, runs: list[Path], pruning: Pruning) -> Iterator[Removed]:
    """Delete the runs that are finished, old, and hold nothing that must be kept."""
    quiet = True
    for run in runs:
        why = "" if _is_leftover(run) else _stays(run, pruning)
        if why is None:
            continue
        quiet = False
        if why:
            yield Removed(str(run), "run", 0, 0, pruning.dry_run, [why])
            continue
        size = sum(path.lstat().st_size for path in run.rglob("*") if not path.is_dir())
        if not pruning.dry_run:
            _delete(run, pruning)
        yield Removed(str(run), "run", 1, size, pruning.dry_run)
    if quiet:
        yield Removed(str(folder), "run", 0, 0, pruning.dry_run)


def _stays(run: Path, pruning: Pruning) -> str | None:
    """Why an old run is kept: empty if it can be removed, None if it is not old or not finished."""
    manifest = next((run / name for name in (MANIFEST, OLD_MANIFEST) if (run / name).exists()), None)
    if manifest is None or manifest.stat().st_mtime >= pruning.cutoff:
        return None
    dead = read_manifest(run, DataError)["dead"]
    if dead and not pruning.dead_letters:
        return f"kept: it holds {counted(dead, 'dead letter')}, which --dead-letters removes as well"
    others = sorted(entry.name for entry in run.iterdir() if not _is_ours(entry))
    return f"kept: it holds {listed(others)}, which `score` did not write" if others else ""


def _is_ours(entry: Path) -> bool:
    return entry.name in _NAMES or entry.name.startswith(".tmp-") or entry.match("part-*.parquet")


def _delete(run: Path, pruning: Pruning) -> None:
    run = Path(os.path.abspath(run))  # "." cannot be renamed
    if _is_leftover(run):
        _clear(run)
        return
    gone = leftover(run)
    with Lease(run / LEASE, pruning.wait), _removing(run):
        if _stays(run, pruning) != "":  # it was continued while we waited for the lease
            raise DataError(f"{run} was changed while it was pruned; run the same command again")
        if gone.exists():
            _clear(gone)
        run.rename(gone)
        sync_folder(run.parent)
    crash_point("run_renamed")
    _clear(gone)


def _clear(gone: Path) -> None:
    """Delete a renamed run, its plan last, so that a later call recognises it after a crash."""
    with _removing(gone):
        entries = sorted(gone.iterdir(), key=lambda entry: entry.name in (PLAN, OLD_PLAN))
        for entry in entries:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
            crash_point("run_entry_deleted")
        gone.rmdir()
        sync_folder(gone.parent)


@contextmanager
def _removing(run: Path) -> Iterator[None]:
    """Convert errors of the file system to a one-line UsageError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(
            f"cannot remove {error.filename or run} ({reason}); fix its permissions, or leave {run} out"
        ) from error
