"""Verifies a batch run: plan, commits, manifest and files agree, and each source row appears exactly once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from serving.adopt import NO_DATA, OURS
from serving.commits import Commit, numbered
from serving.dead import read_dead
from serving.errors import IntegrityError, UsageError
from serving.files import read_checked
from serving.layout import (
    COMMITS,
    DEAD,
    MANIFEST,
    OLD_MANIFEST,
    OLD_PLAN,
    PLAN,
    SELECTED,
    THRESHOLD,
    check_version,
    note,
    read_manifest,
)
from serving.unseen import unseen_of
from serving.verify_stream import stream_line, verify_stream
from serving.waiting import rows_of, waiting_counts, waiting_rows, waiting_text
from serving.wording import counted

AGAIN = "delete it and run the same score command again"


def verify(folder: str | Path) -> dict[str, Any]:
    """Verify a batch run, or the output of a stream (``serving.verify_stream``), and return its counts.

    Raises UsageError if the folder holds no run, and IntegrityError naming the first file that differs. Detects files
    that were deleted, added, renamed, damaged or edited, but not an edit that also recomputes hashes and checksums.
    """
    if Path(folder).is_file():
        return verify_stream(Path(folder))
    try:
        return _recount(_opened(Path(folder)))
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__} {error}"
        raise IntegrityError(
            f"the JSON files of {folder} lack required values ({reason}); run score with --new-run"
        ) from error


def _recount(run: _Run) -> dict[str, Any]:
    commits = run.commits()
    _check_manifest(run, commits)
    for commit in commits:
        _check_part(run, commit, _dead_rows(run.folder, commit))
    _check_cover(run, commits)
    _check_strays(run, commits)
    counts = {key: run.manifest[key] for key in ("rows", "dead", "anomalies")}
    counts |= {"waiting": found} if (found := waiting_counts(commits)) else {}
    return {**counts, "parts": len(commits), "sources": len({commit["source"] for commit in commits})}


def line(counts: dict[str, Any]) -> str:
    """The counts of ``verify`` as text."""
    if counts.get("kind") == "stream":
        return stream_line(counts)
    dead = f" and {counted(counts['dead'], 'dead letter')}" if counts["dead"] else ""
    waiting = f"; {waiting_text(counts['waiting'])}" if "waiting" in counts else ""
    return f"{counted(counts['rows'], 'row')} in {counted(counts['parts'], 'part')}{dead}: each exactly once{waiting}"


@dataclass(frozen=True)
class _Run:
    """A finished run: its plan and manifest, and their paths."""

    folder: Path
    plan_path: Path
    manifest_path: Path
    plan: dict[str, Any]
    manifest: dict[str, Any]

    @property
    def first_layout(self) -> bool:
        return self.plan_path.name == OLD_PLAN

    @property
    def notes(self) -> Path:
        """The folder of the commits that the manifest holds."""
        return self.folder / (COMMITS if self.plan["fdr"] is None else SELECTED)

    def part(self, commit: Commit) -> Path:
        """The path of a committed part."""
        return self.folder / self.manifest["folder"] / commit["part"]

    def commits(self) -> list[Commit]:
        """The commits in the order of the plan; raises IntegrityError if one is for other rows than planned."""
        found = []
        for number, unit in enumerate(self.plan["units"]):
            for place in (self.folder / COMMITS, self.notes):
                commit = _read(path := note(place, unit["id"]))
                rows = commit["rows"] + commit.get("dead", 0) + waiting_rows(commit)
                # Layout 1 did not count the rows of text files in the plan.
                planned = [unit["id"], unit["source"], unit["start_row"], unit["rows"] if unit["rows"] >= 0 else rows]
                if [commit["unit"], commit["source"], commit["start_row"], rows] != planned:
                    raise IntegrityError(f"{path} is not for the rows that {self.plan_path.name} names; {AGAIN}")
            found.append(commit if self.first_layout else numbered(commit, number))
        return found


def _opened(folder: Path) -> _Run:
    path = next((folder / name for name in (PLAN, OLD_PLAN) if (folder / name).exists()), None)
    if path is None:
        raise UsageError(f"{folder} is no output of `score`: it holds no {PLAN}")
    end = folder / (MANIFEST if path.name == PLAN else OLD_MANIFEST)
    if not end.exists():
        raise IntegrityError(f"{folder} is not finished: no {end.name}. Run the same score command again")
    plan = read_checked(path, _replaced)
    check_version(path, plan, IntegrityError)
    manifest = read_manifest(folder, _renewed)
    if manifest["version"] < plan["version"]:
        raise _renewed(f"{end} is of an earlier layout than {path.name}")
    return _Run(folder, path, end, {"fdr": None, "files": {}, "kept": [], **plan}, manifest)


def _replaced(reason: str) -> IntegrityError:
    return IntegrityError(f"{reason}; without its plan the run cannot be continued, so run score with --new-run")


def _renewed(reason: str) -> IntegrityError:
    return IntegrityError(f"{reason}; {AGAIN}")


def _read(path: Path) -> Commit:
    if not path.exists():
        raise IntegrityError(f"{path} is gone; run the same score command again")
    return read_checked(path, _renewed)


def _check_manifest(run: _Run, commits: list[Commit]) -> None:
    """Check that the manifest agrees with the plan and the commits."""
    manifest, plan = run.manifest, run.plan
    for commit, entry in zip(commits, manifest["parts"], strict=False):
        if commit != entry:
            note = run.notes / f"{commit['unit']}.json"
            raise IntegrityError(f"{note} and {run.manifest_path} differ on {commit['part']}; delete both and run the "
                                 "same score command again")  # fmt: skip
    expected = {
        "parts": commits,
        "rows": sum(c["rows"] for c in commits),
        "dead": sum(c.get("dead", 0) for c in commits),
        "anomalies": sum(c["anomalies"] for c in commits),
        **{key: plan[key] for key in ("alpha", "artifact_sha256")},
        **{key: plan[key] for key in ("model_name", "model_version") if plan.get(key) is not None},
    }
    if waiting := waiting_counts(commits):
        expected["waiting"] = waiting
    expected |= unseen_of(commits).noted()
    if plan["fdr"] is not None:
        threshold = _read(run.folder / THRESHOLD)
        expected |= {"fdr": plan["fdr"], "fdr_threshold": threshold["threshold"]}
        expected["fdr_selected"] = sum(c["selected"] for c in commits)
    for key, value in expected.items():
        if manifest.get(key) != value:
            raise _renewed(f"{run.manifest_path} has another {key!r} than the plan and the commits")


def _dead_rows(folder: Path, commit: Commit) -> np.ndarray:
    """The dead-letter rows of a unit, from a file that is checked against its commit."""
    if not commit.get("dead"):
        return np.zeros(0, np.int64)
    path = folder / DEAD / commit["dead_letters"]["file"]
    _check_file(path, commit["dead_letters"])
    rows = np.array([letter["source_row"] for letter in read_dead(path)], np.int64)
    if len(rows) != commit["dead"]:
        raise IntegrityError(f"{path} holds {counted(len(rows), 'dead letter')}, its commit says {commit['dead']}")
    return rows


def _check_part(run: _Run, commit: Commit, dead: np.ndarray) -> None:
    """Check that a part is unchanged and that its rows are consecutive and of this run; reads in batches."""
    path = run.part(commit)
    _check_file(path, commit)
    same = {"source": commit["source"], "artifact_sha256": run.plan["artifact_sha256"]}
    same |= {key: commit[key] for key in ("model_name", "model_version") if key in commit}
    counts = {"anomalies": "is_anomaly"} | ({"selected": "fdr_selected"} if "selected" in commit else {})
    idle = rows_of(commit)
    rows = np.arange(commit["start_row"], commit["start_row"] + commit["rows"] + len(dead) + len(idle))
    expected = rows[~np.isin(rows, np.concatenate([dead, idle]))]
    at, found = 0, dict.fromkeys(counts, 0)
    file = pq.ParquetFile(path, read_dictionary=list(same))
    columns = ["source_row", *same, *counts.values()]
    for batch in file.iter_batches(1 << 16, columns=columns, use_threads=False):
        if not np.array_equal(batch.column("source_row").to_numpy(), expected[at : at + len(batch)]):
            after = rows[0] + at if len(rows) else 0
            raise IntegrityError(f"{path}: rows are missing or out of order after row {after} of {commit['source']}")
        for name, value in same.items():
            if any(word != value for word in pc.unique(batch.column(name)).to_pylist()):
                raise IntegrityError(f"{path}: rows have another {name!r} than {value!r}; {AGAIN}")
        for key, name in counts.items():
            found[key] += pc.sum(batch.column(name)).as_py() or 0
        at += len(batch)
    for key, number in {"rows": at, **found}.items():
        if number != commit[key]:
            raise IntegrityError(f"{path} holds {number:,} {key}, its commit says {commit[key]:,}")
    if len(expected) != at:
        raise IntegrityError(f"{path} holds {counted(at, 'row')}, its unit has {len(expected)}")


def _check_file(path: Path, commit: Commit) -> None:
    """Check that a file is unchanged since its commit."""
    if not path.is_file():
        raise IntegrityError(f"{path} is gone; run the same score command again")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if path.stat().st_size != commit["bytes"] or digest.hexdigest() != commit["sha256"]:
        raise IntegrityError(f"{path} was changed after it was committed; {AGAIN}")


def _check_cover(run: _Run, commits: list[Commit]) -> None:
    """Check that the units of each source cover its rows from 0 to the end, without gaps."""
    ends: dict[str, int] = dict.fromkeys(run.plan["files"], 0)
    for commit in sorted(commits, key=lambda c: (c["source"], c["start_row"])):
        if commit["start_row"] != ends.get(commit["source"], 0):
            raise IntegrityError(f"{run.plan_path}: rows of {commit['source']} are missing or planned twice")
        ends[commit["source"]] = commit["start_row"] + commit["rows"] + commit.get("dead", 0) + waiting_rows(commit)
    for source, (_, rows) in run.plan["files"].items():
        if ends[source] != rows:
            raise IntegrityError(f"{run.plan_path}: {source} has {counted(rows, 'row')}, its units {ends[source]:,}")


def _check_strays(run: _Run, commits: list[Commit]) -> None:
    """Check that the folder holds no files beyond those of the run, because readers open the whole folder."""
    known = {run.plan_path, run.manifest_path, *map(run.part, commits)}
    known |= {note(place, c["unit"]) for c in commits for place in (run.folder / COMMITS, run.notes)}
    known |= {run.folder / DEAD / c["dead_letters"]["file"] for c in commits if c.get("dead")}
    if run.plan["fdr"] is not None:
        known.add(run.folder / THRESHOLD)
    for path in _entries(run.folder):
        if path.name.startswith(".tmp-"):
            raise IntegrityError(f"{path} was left by a run that was killed; run the same score command again")
        if path not in known:
            raise IntegrityError(f"{path} is no part of this run; delete it")


def _entries(folder: Path) -> Iterator[Path]:
    """The entries of the folder and of its run subfolders, without the files that other programs leave anywhere."""
    for entry in sorted(folder.iterdir()):
        if entry.name in OURS and entry.is_dir() and not entry.is_symlink():
            yield from sorted(entry.iterdir())
        elif entry.name not in NO_DATA:
            yield entry
