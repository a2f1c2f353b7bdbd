"""Batch scoring with the commit protocol of docs/delivery.md."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from serving.artifact import load_artifact
from serving.crash import crash_point
from serving.discovery import check_rate
from serving.errors import DataError
from serving.files import disk_errors, read_json, sync_and_hash, sync_folder, write_json
from serving.lease import Lease
from serving.plan import Plan, Unit, input_files, make_plan
from serving.scorer import ScoreBatch, Scorer
from serving.selection import select_rows

log = logging.getLogger("serving")
ROWS = 65_536


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
        counts = f"{self.rows:,} rows scored, {self.anomalies:,} anomalies at alpha {self.alpha:g}{chosen}"
        return f"{counts}: {self.output}"


@dataclass(frozen=True)
class Lineage:
    """What every score row says of its model."""

    model_name: str
    model_version: str
    artifact_sha256: str


def score_batch(
    model: str | Path | bytes,
    input: str | Path,
    output: str | Path,
    *,
    alpha: float | None = None,
    explain: bool = False,
    fdr: float | None = None,
    new_run: bool = False,
    wait: float = 0.0,
    sha256: str | None = None,
    model_name: str | None = None,
    model_version: str = "",
) -> Summary:
    """Score a CSV, a Parquet file or a folder of them into ``output``; rerun the same call to continue after a crash.

    ``fdr`` (0 to 1) adds the column ``fdr_selected``: rows among which at most this share is expected to be normal.
    Raises DataError where the folder is for another plan (unless ``new_run``) or the data does not fit, TemporaryError
    where another worker holds the folder or the disk is full, and whatever ``load_artifact`` raises.
    """
    start = time.perf_counter()
    artifact = load_artifact(model, sha256)
    scorer = Scorer(artifact, alpha)
    name = model_name or (Path(model).stem if isinstance(model, str | Path) else "artifact")
    lineage = Lineage(name, model_version, artifact.sha256)
    plan = make_plan(Path(input), artifact.sha256, scorer.alpha, explain, check_rate(fdr))
    _check_columns(Path(input), plan, scorer)
    folder = Path(output)
    with disk_errors(str(folder)):
        for part in (folder / "parts", folder / "_commits"):
            part.mkdir(parents=True, exist_ok=True)
    with Lease(folder / "_lease.json", wait):
        _adopt_plan(folder, plan, new_run)
        crash_point("plan_written")
        crash_point("lease_taken")
        skipped = _score_units(folder, plan, Path(input), scorer, lineage)
        manifest = _write_manifest(folder, plan, lineage)
        crash_point("manifest_written")
    return Summary(
        str(folder), manifest["rows"], manifest["anomalies"], len(plan.units) - skipped, skipped, scorer.alpha,
        name, model_version, artifact.sha256, round(time.perf_counter() - start, 3), manifest.get("fdr_selected"),
    )  # fmt: skip


def _check_columns(root: Path, plan: Plan, scorer: Scorer) -> None:
    """Refuse a wrong header before anything is written."""
    base = root if root.is_dir() else root.parent
    for source in {u.source: u for u in plan.units}.values():
        path = base / source.source
        names = pq.read_schema(path).names if source.format == "parquet" else _csv_header(path)
        try:
            scorer.adapter.check_columns(names)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error


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
    """Write the plan of a new folder, or check that the folder was made for this one."""
    path = folder / "plan.json"
    if not path.exists():
        write_json(path, plan.to_dict())
        return
    old = Plan.from_dict(read_json(path, lambda reason: DataError(f"{reason}; use --new-run to start over")))
    if old.identity == plan.identity:
        return
    if not new_run:
        raise DataError(
            f"{folder} was made for {_difference(old, plan)}; choose another --output, or --new-run to replace it"
        )
    (folder / "manifest.json").unlink(missing_ok=True)
    write_json(path, plan.to_dict())
    wanted = {u.id for u in plan.units}
    (folder / "_threshold.json").unlink(missing_ok=True)
    kept = [f for place in ("_commits", "_selected", "parts", "selected") for f in (folder / place).glob("*.*")]
    for file in kept:
        if file.stem.removeprefix("part-") not in wanted:
            file.unlink()


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


def _score_units(folder: Path, plan: Plan, root: Path, scorer: Scorer, lineage: Lineage) -> int:
    """Score what is not committed; returns how many units were."""
    for leftover in (folder / "parts").glob(".tmp-*"):
        leftover.unlink(missing_ok=True)
    done = {p.stem for p in (folder / "_commits").glob("*.json")}
    todo = [u for u in plan.units if u.id not in done]
    base = root if root.is_dir() else input_files(root)[0]
    with _Progress(len(plan.units), len(plan.units) - len(todo)) as progress:
        for unit in todo:
            _score_unit(folder, unit, base / unit.source, scorer, lineage, plan.explain)
            progress.advance()
    return len(plan.units) - len(todo)


def _score_unit(folder: Path, unit: Unit, path: Path, scorer: Scorer, lineage: Lineage, explain: bool) -> None:
    temporary = folder / "parts" / f".tmp-{unit.id}-{os.getpid()}"
    part = folder / "parts" / f"part-{unit.id}.parquet"
    rows = anomalies = 0
    writer: pq.ParquetWriter | None = None
    try:
        with disk_errors(str(temporary)):
            for table in _prefetch(_read_unit(unit, path, scorer.adapter.names)):
                scores = _score_table(scorer, table, path, rows, explain)
                out = _score_rows(scores, unit, unit.start_row + rows, scorer, lineage)
                writer = writer or pq.ParquetWriter(
                    temporary, out.schema, compression="snappy", use_dictionary=_DICTIONARY
                )
                writer.write_table(out)
                rows, anomalies = rows + len(table), anomalies + int(scores.is_anomaly.sum())
            if writer is None:
                raise DataError(f"{path} holds a header but no rows; take it away or fill it")
            writer.close()
            digest = sync_and_hash(temporary)
        crash_point("unit_scored")
        temporary.replace(part)
        sync_folder(part.parent)
        crash_point("part_renamed")
    finally:
        if writer is not None and writer.is_open:
            writer.close()
        temporary.unlink(missing_ok=True)
    commit = {"unit": unit.id, "source": unit.source, "start_row": unit.start_row, "rows": rows}
    commit |= {"anomalies": anomalies, "part": part.name, "sha256": digest, "bytes": part.stat().st_size}
    write_json(folder / "_commits" / f"{unit.id}.json", commit, exclusive=True)
    crash_point("unit_committed")


_DICTIONARY = ["source", "model_name", "model_version", "artifact_sha256"]


def _score_table(scorer: Scorer, table: pa.Table, path: Path, done: int, explain: bool) -> ScoreBatch:
    try:
        return scorer.score(table, explain)
    except DataError as error:
        raise DataError(f"{path}, rows from {done}: {error}") from error


def _score_rows(scores: ScoreBatch, unit: Unit, start: int, scorer: Scorer, lineage: Lineage) -> pa.Table:
    """Scores with their lineage columns."""
    n = len(scores.anomaly_score)

    def same(value: Any, kind: pa.DataType) -> pa.Array:
        return pa.repeat(pa.scalar(value, kind), n)

    columns: dict[str, pa.Array] = {
        "source": same(unit.source, pa.string()),
        "source_row": pa.array(np.arange(start, start + n)),
        "anomaly_score": pa.array(scores.anomaly_score),
        "p_value": pa.array(scores.p_value),
        "is_anomaly": pa.array(scores.is_anomaly),
        "alpha": same(scorer.alpha, pa.float32()),
        "model_name": same(lineage.model_name, pa.string()),
        "model_version": same(lineage.model_version, pa.string()),
        "artifact_sha256": same(lineage.artifact_sha256, pa.string()),
        "scored_at": same(datetime.now(UTC), pa.timestamp("us", "UTC")),
    }
    if scores.contributions is not None:
        for index, feature in enumerate(scorer.artifact.features):
            columns[f"contribution.{feature}"] = pa.array(np.ascontiguousarray(scores.contributions[:, index]))
    return pa.table(columns)


def _read_unit(unit: Unit, path: Path, names: list[str]) -> Iterator[pa.Table]:
    """A unit's rows in tables of bounded size."""
    try:
        if unit.format == "parquet":
            file = pq.ParquetFile(path)
            groups = list(range(unit.first, unit.last))
            for batch in file.iter_batches(ROWS, row_groups=groups, columns=names, use_threads=False):
                yield pa.Table.from_batches([batch])
            return
        # Strings only: types are the schema's business, and a type guessed from the first block may not hold later.
        convert = pacsv.ConvertOptions(
            include_columns=names, column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
        )
        read = pacsv.ReadOptions(use_threads=False, block_size=8 << 20)
        with pacsv.open_csv(path, read_options=read, convert_options=convert) as reader:
            for batch in reader:
                if batch.num_rows:
                    yield pa.Table.from_batches([batch])
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and not isinstance(error, pa.ArrowException):
            raise
        raise DataError(f"{path} cannot be read ({str(error)[:200]}); write it again as UTF-8") from error


def _prefetch(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Read ahead in one thread, two tables deep, so that reading and scoring overlap."""
    ready: queue.Queue[Any] = queue.Queue(maxsize=2)
    stop = threading.Event()

    def read() -> None:
        try:
            for table in tables:
                while not stop.is_set():
                    try:
                        ready.put(table, timeout=0.2)
                        break
                    except queue.Full:
                        continue
                if stop.is_set():
                    return
            ready.put(None)
        except BaseException as error:
            ready.put(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join(timeout=5)


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
