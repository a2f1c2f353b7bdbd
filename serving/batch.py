"""Batch scoring with the commit protocol of docs/delivery.md."""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from serving.artifact import load_artifact
from serving.crash import crash_point
from serving.discovery import check_rate
from serving.errors import DataError, UsageError
from serving.files import disk_errors, read_json, sync_folder, write_json
from serving.lease import Lease
from serving.plan import Plan, input_files, is_run, make_plan
from serving.scorer import Scorer
from serving.selection import select_rows
from serving.units import Job, Lineage
from serving.wording import counted
from serving.workers import Source, in_processes, in_turn

log = logging.getLogger("serving")


@dataclass(frozen=True)
class Summary:
    """What a run did: rows scored in all, how many alarmed or were selected, units done now and skipped, and where."""

    output: str
    rows: int
    anomalies: int
    units: int
    skipped: int
    alpha: float
    model_name: str
    model_version: str
    artifact_sha256: str
    seconds: float
    fdr_selected: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    def line(self) -> str:
        """The same for people."""
        chosen = "" if self.fdr_selected is None else f", {self.fdr_selected:,} selected by their false discovery rate"
        odd = counted(self.anomalies, "anomaly", "anomalies")
        return f"{counted(self.rows, 'row')} scored, {odd} at alpha {self.alpha:g}{chosen}: {self.output}"


def score_batch(
    model: str | Path | bytes,
    input: str | Path,
    output: str | Path,
    *,
    alpha: float | None = None,
    explain: bool = False,
    fdr: float | None = None,
    workers: int = 1,
    new_run: bool = False,
    wait: float = 0.0,
    sha256: str | None = None,
    model_name: str | None = None,
    model_version: str = "",
) -> Summary:
    """Score a CSV, a Parquet file or a folder of them into ``output``; rerun the same call to continue after a crash.

    ``fdr`` (0 to 1) adds the column ``fdr_selected``: rows among which at most this share is expected to be normal.
    ``workers`` processes share the units; one unit is never split. Raises DataError where the folder is for another
    plan (unless ``new_run``) or the data does not fit, UsageError where the folder holds files of others or cannot be
    written, TemporaryError where another worker holds it or the disk is full, and whatever ``load_artifact`` raises.
    """
    if workers < 1:
        raise UsageError(f"workers must be at least 1, not {workers}")
    start = time.perf_counter()
    folder = Path(output)
    _check_output(folder, Path(input))
    artifact = load_artifact(model, sha256)
    scorer = Scorer(artifact, alpha)
    name = model_name or (Path(model).stem if isinstance(model, str | Path) else "artifact")
    lineage = Lineage(name, model_version, artifact.sha256)
    plan = make_plan(Path(input), artifact.sha256, scorer.alpha, explain, check_rate(fdr))
    _check_columns(Path(input), plan, scorer)
    with disk_errors(f"in {folder}"):
        for part in (folder / "parts", folder / "_commits"):
            part.mkdir(parents=True, exist_ok=True)
    with Lease(folder / "_lease.json", wait):
        _adopt_plan(folder, plan, new_run)
        crash_point("plan_written")
        crash_point("lease_taken")
        finished = (folder / "manifest.json").exists()
        job = Job(folder, input_files(Path(input))[0], scorer, lineage, explain)
        skipped = _score_units(job, plan, Source(model, artifact.sha256, scorer.alpha), workers)
        manifest = _write_manifest(folder, plan, lineage)
        crash_point("manifest_written")
    if finished and skipped == len(plan.units):
        print(f"already complete: nothing was left to do in {folder}", file=sys.stderr)
    return Summary(
        str(folder), manifest["rows"], manifest["anomalies"], len(plan.units) - skipped, skipped, scorer.alpha,
        name, model_version, artifact.sha256, round(time.perf_counter() - start, 3), manifest.get("fdr_selected"),
    )  # fmt: skip


OURS = {"parts", "_commits", "selected", "_selected"}
NO_DATA = {"_lease.json", "lost+found", ".gitkeep", ".gitignore", ".DS_Store"}


def _check_output(folder: Path, source: Path) -> None:
    """Refuse a folder that holds anything but an earlier run, or that the next scan of the input would read."""
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
    """Whether a run that never got to its plan leaves this, or nobody would miss it."""
    if entry.name in OURS and entry.is_dir():
        return all(inner.name.startswith(".tmp-") for inner in entry.iterdir())
    return entry.name in NO_DATA or entry.name.startswith(".tmp-")


def _check_columns(root: Path, plan: Plan, scorer: Scorer) -> None:
    """Refuse a wrong header before anything is written."""
    base = root if root.is_dir() else root.parent
    for source in {u.source: u for u in plan.units}.values():
        path = base / source.source
        names = pq.read_schema(path).names if source.format == "parquet" else _csv_header(path)
        if source.format == "csv":
            _check_separator(path, names, scorer.adapter.names)
        try:
            scorer.adapter.check_columns(names)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error


def _check_separator(path: Path, header: list[str], needed: list[str]) -> None:
    """Refuse a file whose header is one long name, by what it looks separated with."""
    if len(header) != 1 or header[0] in needed:
        return
    for mark, said in ((";", "';'"), ("\t", "tabs"), ("|", "'|'")):
        if mark in header[0]:
            raise DataError(f"{path} looks separated by {said}: save it with commas")


def _csv_header(path: Path) -> list[str]:
    import csv

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 (byte {error.start}: {error.reason}); convert it, e.g. with iconv"
        ) from error
    return header


def _adopt_plan(folder: Path, plan: Plan, new_run: bool) -> None:
    """Make the folder this plan's. Another plan gives way where it has no commit, or on ``new_run``."""
    path = folder / "plan.json"
    old = _old_plan(path, new_run) if path.exists() else None
    if old is not None and old.identity == plan.identity:
        return
    begun = any((folder / "_commits").glob("*.json"))
    if old is not None and begun and not new_run:
        raise DataError(
            f"{folder} was made for {_difference(old, plan)}; choose another --output, or --new-run to replace it"
        )
    # What a false discovery rate decided holds for all of its run's rows, and its parts are gone: keep nothing of it.
    whole = old is None or old.fdr is not None
    with disk_errors(f"in {folder}"):
        _clear(folder, set() if whole else {u.id for u in plan.units})
    write_json(path, plan.to_dict())


def _old_plan(path: Path, new_run: bool) -> Plan | None:
    """The plan of an earlier run; None for one that cannot be read and is to be replaced."""
    try:
        return Plan.from_dict(read_json(path, DataError))
    except (DataError, KeyError, TypeError) as error:
        if new_run:
            return None
        raise DataError(f"{path} cannot be read ({error}); use --new-run to start over") from error


def _clear(folder: Path, wanted: set[str]) -> None:
    """Delete what an earlier plan left, but for the units ``wanted``.

    Commits go, and are seen to be gone, before what they name: stopped anywhere, this leaves an earlier run that lacks
    some units, and that run could still be continued.
    """
    (folder / "manifest.json").unlink(missing_ok=True)
    for place in (folder / name for name in ("_commits", "_selected", "parts", "selected")):
        for file in place.glob("*.*"):
            if file.stem.removeprefix("part-") not in wanted:
                file.unlink()
        if place.is_dir():
            sync_folder(place)
    (folder / "_threshold.json").unlink(missing_ok=True)


def _difference(old: Plan, new: Plan) -> str:
    if old.artifact_sha256 != new.artifact_sha256:
        return f"another model (sha-256 {old.artifact_sha256[:12]}…)"
    if round(old.alpha, 9) != round(new.alpha, 9):
        return f"alpha={old.alpha:g}, not {new.alpha:g}"
    if old.fdr != new.fdr:
        return f"another false discovery rate ({'none' if old.fdr is None else old.fdr})"
    if old.explain != new.explain:
        return "another setting of --explain"
    return "other input: files were added, removed or changed since"


def _score_units(job: Job, plan: Plan, source: Source, workers: int) -> int:
    """Score what is not committed; returns how many units were."""
    for leftover in (job.folder / "parts").glob(".tmp-*"):
        leftover.unlink(missing_ok=True)
    done = {p.stem for p in (job.folder / "_commits").glob("*.json")}
    todo = [u for u in plan.units if u.id not in done]
    with _Progress(len(plan.units), len(plan.units) - len(todo)) as progress:
        for _ in in_processes(source, job, todo, workers) if workers > 1 else in_turn(job, todo):
            progress.advance()
    return len(plan.units) - len(todo)


def _write_manifest(folder: Path, plan: Plan, lineage: Lineage) -> dict[str, Any]:
    """Name every committed part; readers read what the manifest names."""
    commits = []
    for unit in plan.units:
        path = folder / "_commits" / f"{unit.id}.json"
        commits.append(read_json(path, lambda reason: DataError(f"{reason}; run the same command again")))
    chosen: dict[str, Any] = {}
    if plan.fdr is not None:
        threshold, commits = select_rows(folder, commits, plan.fdr)
        selected = sum(c["selected"] for c in commits)
        chosen = {"folder": "selected", "fdr": plan.fdr, "fdr_threshold": threshold, "fdr_selected": selected}
    manifest = {
        "version": 1,
        "rows": sum(c["rows"] for c in commits),
        "anomalies": sum(c["anomalies"] for c in commits),
        "alpha": plan.alpha,
        **asdict(lineage),
        **chosen,
        "parts": commits,
    }
    write_json(folder / "manifest.json", manifest)
    if plan.fdr is not None:
        for part in (folder / "parts").glob("part-*.parquet"):
            part.unlink()
    return manifest


class _Progress:
    """A bar over units on a terminal; silence elsewhere."""

    def __init__(self, total: int, done: int) -> None:
        self.total, self.done = total, done
        self._bar: Any = None

    def __enter__(self) -> _Progress:
        if sys.stderr.isatty() and self.total > 1:
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("scoring", total=self.total, completed=self.done)
        return self

    def advance(self) -> None:
        if self._bar is not None:
            self._bar.advance(self._task)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def open_scores(folder: str | Path) -> pa.Table:
    """All committed score rows of a finished run, in the order of its plan."""
    manifest = read_json(Path(folder) / "manifest.json", lambda reason: DataError(f"{reason}; the run is not finished"))
    place = Path(folder) / manifest.get("folder", "parts")
    return pa.concat_tables(pq.read_table(place / p["part"]) for p in manifest["parts"])
