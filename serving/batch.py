"""Batch scoring with the commit protocol of docs/delivery.md."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from serving import watch
from serving.adopt import adopt_plan, check_output, old_plan
from serving.artifact import load_artifact
from serving.commits import again, read_commits, settle
from serving.crash import crash_point
from serving.discovery import check_rate, least_p_value, nothing_selected
from serving.errors import DataError, TemporaryError, UsageError
from serving.files import disk_errors, is_url, read_checked, write_checked
from serving.gallery import page_of, write_gallery
from serving.inputs import Input, place_date
from serving.keep import kept_columns, names_to_keep
from serving.layout import COMMITS, LEASE, MANIFEST, SCORED, VERSION, note, read_manifest
from serving.lease import Lease
from serving.plan import Plan, Settings, Unit, data_files, make_plan
from serving.progress import Progress
from serving.readers import Reader, check_inputs
from serving.scorer import Scorer
from serving.selection import select_rows
from serving.units import BadRows, BatchJob, Lineage, ScorerFile
from serving.unseen import unseen_of
from serving.waiting import waiting_counts, waiting_text
from serving.wording import MOST, counted, listed, say
from serving.workers import EXECUTORS, Executor

MAX_BAD_SHARE = 0.1


@dataclass(frozen=True)
class Summary:
    """The counts of a run: rows scored, dead letters, anomalies, selected rows, and units scored now or skipped.

    ``shares`` holds the shares of missing, unseen and non-finite values by column, over the whole run. ``doubts`` lists
    the shares outside the band of the training data, and ``exceeded`` the limits that were exceeded. ``waiting`` counts
    the rows that end no window, by reason, for models of windows (``serving.windows``), and ``drift`` holds the
    population stability index of each column, largest first.
    """

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
    dead: int = 0
    alarm_share: float = 0.0
    shares: dict[str, dict[str, float]] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)
    exceeded: list[str] = field(default_factory=list)
    waiting: dict[str, int] = field(default_factory=dict)
    drift: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    def line(self) -> str:
        """One line of text for the console."""
        chosen = "" if self.fdr_selected is None else f", {self.fdr_selected:,} selected by their false discovery rate"
        anomalies = counted(self.anomalies, "anomaly", "anomalies")
        dead = f", {counted(self.dead, 'dead letter')}" if self.dead else ""
        return f"{counted(self.rows, 'row')} scored, {anomalies} at alpha {self.alpha:g}{chosen}{dead}: {self.output}"

    def report(self) -> str:
        """The line, followed by the shares of each column with missing or unknown values."""
        idle = [f"  {waiting_text(self.waiting)}"] if self.waiting else []
        return "\n".join([self.line(), *idle, *watch.report(self.shares)])

    def check(self) -> None:
        """Raise DataError if a limit is exceeded; the output is already complete."""
        if self.exceeded:
            raise DataError("; ".join(self.exceeded[:MOST]))


def score_batch(
    model: str | Path | bytes,
    input: str | Path,
    output: str | Path,
    *,
    alpha: float | None = None,
    explain: bool = False,
    fdr: float | None = None,
    keep: Sequence[str] | None = None,
    bad_rows: Literal["keep", "stop"] = "keep",
    max_bad_share: float = MAX_BAD_SHARE,
    require_rows: bool = False,
    max_alarm_share: float | None = None,
    max_missing_share: float | None = None,
    max_drift: float | None = None,
    date: str | None = None,
    workers: int | None = None,
    executor: str = "local",
    require_gpu: bool = False,
    new_run: bool = False,
    wait: float = 0.0,
    sha256: str | None = None,
    model_name: str | None = None,
    model_version: str = "",
) -> Summary:
    """Score a file, a folder, a glob or a URL into ``output``; run the same call again to continue after a crash.

    - ``fdr`` (0 to 1) adds the column ``fdr_selected``; at most this share of the selected rows is expected to be
      normal.
    - ``keep``: input columns to copy to each score row; defaults to the identifiers of the model's schema, or to all
      columns of single values beside images and series.
    - ``bad_rows``: write rows that cannot be scored as dead letters, or stop at the first one.
    - ``max_bad_share``: raise DataError if more than this share of all rows are dead letters.
    - ``require_rows``: raise DataError if the input, or one of its files, has no rows.
    - ``max_alarm_share``, ``max_missing_share``, ``max_drift``: limits reported in ``Summary.exceeded``; nothing is
      raised here. ``max_drift`` is a population stability index, beyond chance.
    - ``date`` (YYYY-MM-DD) replaces ``{date}`` in input and output; defaults to today in UTC.
    - ``workers``: number of processes that share the units, 1 if None; a unit is never split.
    - ``executor``: ``local``, or ``ray`` for actors on the machines of a Ray cluster (``serving.ray_actors``), with
      ``workers`` actors, or one for each CPU if None.
    - ``require_gpu``: raise UsageError if a process that scores has no GPU.

    Raises DataError if the folder holds another plan (unless ``new_run``) or the data does not fit the schema;
    UsageError if the folder holds foreign files or cannot be written; TemporaryError if another worker holds the
    folder or the disk is full; and the errors of ``load_artifact``.
    """
    start = time.perf_counter()
    limits = {"max-bad-share": max_bad_share, "max-alarm-share": max_alarm_share}
    _check_options(workers, executor, bad_rows, str(output), limits | {"max-missing-share": max_missing_share})
    if max_drift is not None and not 0 <= max_drift < math.inf:
        raise UsageError(f"--max-drift must be at least 0, not {max_drift:g}")
    location, folder = place_date(str(input), date), Path(place_date(str(output), date))
    check_output(folder, Path(location))
    # Actors of a cluster score elsewhere: the GPU that is required is theirs.
    artifact = load_artifact(model, sha256, require_gpu=require_gpu and executor == "local")
    scorer = Scorer(artifact, alpha)
    scorer.check_explain(explain)
    name = model_name or (Path(model).stem if isinstance(model, str | Path) else "artifact")
    lineage = Lineage(name, model_version, artifact.sha256)
    inputs = data_files(location)
    check_inputs(inputs, scorer.reader)
    _warn_of_types(inputs, scorer.reader)
    names = names_to_keep(keep, scorer.reader, inputs)
    settings = Settings(artifact.sha256, scorer.alpha, explain, check_rate(fdr), names, name, model_version)
    plan = make_plan(location, inputs, settings, kept_columns(names, inputs), old_plan(folder, new_run))
    _check_rows(plan, location, require_rows)
    place = folder if fdr is None else folder / SCORED
    with disk_errors(f"in {folder}"):
        for part in (folder / COMMITS, place):
            part.mkdir(parents=True, exist_ok=True)
    with Lease(folder / LEASE, wait) as lease:
        crash_point("lease_taken")
        _check_listing(location, inputs, old_plan(folder, new_run))
        with lease.claim.guard():
            adopt_plan(folder, plan, new_run)
            crash_point("plan_written")
            done = settle(folder, plan, place)
            if done != plan.ids:
                (folder / MANIFEST).unlink(missing_ok=True)
        bounds = BadRows(
            0 if bad_rows == "stop" else math.floor(max_bad_share * plan.rows + 1e-9), plan.rows, max_bad_share,
            bad_rows == "stop",
        )  # fmt: skip
        job = BatchJob(
            folder, place, {source.name: source for source in inputs},
            {file: identity for file, (identity, _) in plan.files.items()},
            {unit.id: number for number, unit in enumerate(plan.units)},
            ScorerFile(model, artifact.sha256, scorer.alpha, require_gpu), lineage, explain, plan.kept,
            bounds, lease.claim,
        )  # fmt: skip
        _score_units(job, plan, done, EXECUTORS[executor](scorer, workers))
        manifest, written = _write_manifest(job, plan, artifact.metadata)
        crash_point("manifest_written")
        if explain and artifact.modality == "image" and (written or not page_of(folder).exists()):
            with lease.claim.guard():
                page = write_gallery(folder, manifest, job.inputs, artifact.layout)
            say(f"the worst images: {page}")
    if not written:
        say(f"already complete: nothing was left to do in {folder}")
    for doubt in manifest["doubts"]:
        say(f"warning: {doubt}")
    return Summary(
        str(folder), manifest["rows"], manifest["anomalies"], len(plan.units) - len(done), len(done), scorer.alpha,
        name, model_version, artifact.sha256, round(time.perf_counter() - start, 3), manifest.get("fdr_selected"),
        manifest["dead"], manifest["alarm_share"], manifest["shares"], manifest["doubts"],
        watch.exceeded(manifest["shares"], manifest["alarm_share"], max_alarm_share, max_missing_share)
        + _drifted(artifact.metadata.get("profile"), manifest, max_drift),
        manifest.get("waiting", {}), manifest.get("drift", {}),
    )  # fmt: skip


def _drifted(profile: dict[str, Any] | None, manifest: dict[str, Any], limit: float | None) -> list[str]:
    """The columns that drifted beyond a limit; none without one."""
    bins = {} if limit is None else watch.total(manifest["parts"])["bins"]
    return [f"--max-drift: {said}" for said in watch.moved(profile, bins, limit or 0.0)]


def _check_options(
    workers: int | None, executor: str, bad_rows: str, output: str, shares: dict[str, float | None]
) -> None:
    if workers is not None and workers < 1:
        raise UsageError(f"workers must be at least 1, not {workers}")
    if executor not in EXECUTORS:
        raise UsageError(f"--executor is {' or '.join(EXECUTORS)}, not {executor!r}")
    if bad_rows not in ("keep", "stop"):
        raise UsageError(f"--bad-rows is keep or stop, not {bad_rows!r}")
    for name, share in shares.items():
        if share is not None and not 0 <= share <= 1:
            raise UsageError(f"--{name} must lie between 0 and 1, not {share:g}")
    if is_url(output):
        raise UsageError(f"--output {output} is a URL; scores are written to a local folder, copy them from there")


def _warn_of_types(inputs: Sequence[Input], reader: Reader) -> None:
    columns = reader.monitored
    changed = {said: f.path for f in reversed(inputs) for said in watch.changed_types(columns, f.types())}
    for said, path in list(changed.items())[:MOST]:
        say(f"warning: {path}: {said}")


def _check_listing(location: str, inputs: Sequence[Input], old: Plan | None) -> None:
    """Raise DataError if the plan is out of date: its files changed, or the folder holds a newer plan."""
    now = data_files(location)
    later = {source.name for source in now if old and source.name in old.files} - {source.name for source in inputs}
    if later or not set(inputs) <= set(now):
        raise DataError(f"{location} was changed while it was planned; run the same command again")


def _check_rows(plan: Plan, location: str, required: bool) -> None:
    """Print which files hold no rows, or raise DataError if ``required``."""
    empty = [name for name, (_, rows) in plan.files.items() if not rows]
    if plan.files and not empty:
        return
    what = f"no rows in {listed(empty)} of {location}" if plan.rows else f"there are no rows to score in {location}"
    if required:
        raise DataError(f"{what}; --require-rows needs some in every file")
    say(f"{what}; --require-rows makes this exit 4")


def _score_units(job: BatchJob, plan: Plan, done: Collection[str], executor: Executor) -> None:
    """Score the units that are not in ``done``."""
    skipped = [u for u in plan.units if u.id in done]
    tally = _Tally(job)
    for unit in skipped:
        tally.add(unit)
    units = executor.run(job, [u for u in plan.units if u.id not in done])
    with Progress(plan.rows, sum(u.rows for u in skipped)) as progress, closing(units):
        for unit in units:
            tally.add(unit)
            progress.advance(unit.rows)


class _Tally:
    """Counts dead letters of committed units and stops the run when there are too many."""

    def __init__(self, job: BatchJob) -> None:
        self.job, self.dead, self.first = job, 0, ""

    def add(self, unit: Unit) -> None:
        """Count the dead letters of a unit; raises DataError above the limit."""
        commit = read_checked(note(self.job.folder / COMMITS, unit.id), again)
        if not commit["dead"]:
            return
        self.dead += commit["dead"]
        self.first = self.first or commit["dead_letters"]["first"]
        if why := self.job.bad_rows.beyond(self.dead):
            raise DataError(f"{self.first}; {why}")


def _write_manifest(job: BatchJob, plan: Plan, metadata: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Write the manifest, which names every committed part; also returns False if it was already there."""
    folder, fdr = job.folder, plan.settings.fdr
    commits = read_commits(folder, plan)
    chosen: dict[str, Any] = {}
    if fdr is not None:
        threshold, commits = select_rows(folder, commits, fdr, least_p_value(metadata["calibration"]), job.claim)
        selected = sum(c["selected"] for c in commits)
        chosen = {"fdr": fdr, "fdr_threshold": threshold, "fdr_selected": selected}
    manifest = _manifest(plan, job.lineage, metadata, chosen, commits)
    with job.claim.guard(), disk_errors(f"in {folder}"):
        if settle(folder, plan, job.place) != plan.ids:
            raise TemporaryError(f"files in {folder} were deleted while it was written; run the same command again")
        if written := not _is_written(folder, manifest):
            write_checked(folder / MANIFEST, manifest)
        if fdr is not None:
            for part in (folder / SCORED).glob("part-*.parquet"):
                part.unlink()
    return manifest, written


def _is_written(folder: Path, manifest: dict[str, Any]) -> bool:
    try:
        return read_manifest(folder, DataError) == json.loads(json.dumps(manifest))
    except DataError:
        return False


def _manifest(
    plan: Plan, lineage: Lineage, metadata: dict[str, Any], chosen: dict[str, Any], commits: list[dict[str, Any]]
) -> dict[str, Any]:
    counts, rows = watch.total(commits), sum(c["rows"] for c in commits)
    doubts, unseen = watch.doubts(metadata, counts, plan.settings.alpha), unseen_of(commits)
    if unseen.rows:
        doubts.append(unseen.text())
    if rows and chosen.get("fdr_selected") == 0:
        doubts.append(nothing_selected(chosen["fdr"], rows, least_p_value(metadata["calibration"])))
    return {
        "version": VERSION,
        "folder": ".",
        "rows": rows,
        "dead": sum(c["dead"] for c in commits),
        "anomalies": sum(c["anomalies"] for c in commits),
        **({"waiting": waiting} if (waiting := waiting_counts(commits)) else {}),
        **unseen.noted(),
        "alpha": plan.settings.alpha,
        "keep": [kept.name for kept in plan.kept],
        **asdict(lineage),
        **chosen,
        "alarm_share": watch.alarm_share(counts),
        "shares": watch.shares(counts),
        "drift": watch.drift(metadata.get("profile"), counts["bins"]),
        "doubts": doubts,
        "parts": commits,
    }


def open_scores(folder: str | Path) -> pa.Table:
    """All score rows of a finished run, in the order of the input; raises DataError if the run is not finished."""
    folder = Path(folder)
    manifest = read_manifest(folder, lambda reason: DataError(f"{reason}; the run is not finished"))
    if not manifest["parts"]:
        raise DataError(f"{folder} holds no scores: its input had no files")
    return pa.concat_tables(pq.read_table(folder / manifest["folder"] / p["part"]) for p in manifest["parts"])
