"""The units of a batch run: each read, scored, written and committed (docs/delivery.md, steps 3 to 5)."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from serving import watch
from serving.crash import crash_point
from serving.dead import DeadRow, Sifted, raw_text, sift, write_dead
from serving.errors import DataError
from serving.files import disk_errors, sync_and_hash, sync_folder, write_json
from serving.inputs import Input, Piece, Reading
from serving.keep import Kept
from serving.layout import COMMITS, DEAD, part_name
from serving.plan import Unit
from serving.scorer import ScoreBatch, Scorer
from serving.wording import counted


@dataclass(frozen=True)
class Lineage:
    """What every score row says of its model."""

    model_name: str
    model_version: str
    artifact_sha256: str


@dataclass(frozen=True)
class BadRows:
    """How many rows of a run may be dead letters, and what that is of all; ``stop`` allows none."""

    allowed: int
    total: int
    share: float
    stop: bool = False

    def beyond(self, dead: int) -> str:
        """Why so many dead letters end the run; empty if they do not."""
        if dead <= self.allowed:
            return ""
        if self.stop:
            return "--bad-rows keep sets such rows aside"
        return (
            f"at least {counted(dead, 'row')} of {self.total:,} cannot be scored, more than --max-bad-share "
            f"{self.share:g} allows"
        )


@dataclass(frozen=True)
class Job:
    """What the units of a run share: where they are read and written, and with what they are scored.

    ``place`` is the folder of the parts; ``numbers`` says where a unit stands in the input.
    """

    folder: Path
    place: Path
    inputs: dict[str, Input]
    numbers: dict[str, int]
    scorer: Scorer
    lineage: Lineage
    explain: bool
    kept: tuple[Kept, ...]
    bad_rows: BadRows

    @property
    def columns(self) -> list[str]:
        """The columns to read."""
        return list(dict.fromkeys([*self.scorer.adapter.names, *(k.column for k in self.kept)]))


@dataclass(frozen=True)
class _Ready:
    """A piece whose rows are feeds already, but for those that are dead letters."""

    piece: Piece
    sifted: Sifted
    counts: watch.Counts


def score_units(job: Job, units: Sequence[Unit], reading: Reading) -> Iterator[Unit]:
    """Score units one after another, each into its part, and commit it; yields each when it is committed.

    A part is whole or absent. Raises DataError, TemporaryError.
    """
    ahead = _prefetch(item for unit in units for item in (*_prepared(job, unit, reading), None))
    try:
        for unit in units:
            _score_unit(job, unit, iter(lambda: next(ahead), None))
            yield unit
    finally:
        ahead.close()


def _score_unit(job: Job, unit: Unit, pieces: Iterator[_Ready]) -> None:
    output = _Output(job, unit)
    try:
        with disk_errors(f"in {job.folder}"):
            for ready in pieces:
                output.add(ready)
            commit = output.finish()
    finally:
        output.discard()
    write_json(job.folder / COMMITS / f"{unit.id}.json", commit, exclusive=True)
    crash_point("unit_committed")


def _prepared(job: Job, unit: Unit, reading: Reading) -> Iterator[_Ready]:
    """A unit's pieces as feeds; ends after one with more dead letters than the run allows."""
    source, adapter = job.inputs[unit.source], job.scorer.adapter
    columns = [name for name in job.columns if name in adapter.names or name in source.types()]
    dead = 0
    for piece in reading.pieces(source, columns, unit.start_row, unit.start_row + unit.rows, adapter.names):
        dead += len(piece.broken)
        try:
            sifted = sift(job.scorer.artifact.schema, adapter, piece.table, job.bad_rows.allowed - dead)
        except DataError as error:
            raise DataError(f"{source.path}: {error}") from error
        dead += len(sifted.bad)
        beyond = dead > job.bad_rows.allowed
        yield _Ready(piece, sifted, watch.no_counts() if beyond else watch.count(adapter.columns, sifted.feeds, 0))
        if beyond:
            return


_DICTIONARY = ["source", "model_name", "model_version", "artifact_sha256"]


@dataclass
class _Output:
    """The part and the dead letters of a unit while they are written."""

    job: Job
    unit: Unit
    rows: int = 0
    anomalies: int = 0
    dead: list[DeadRow] = field(default_factory=list)
    counts: watch.Counts = field(default_factory=watch.no_counts)
    writer: pq.ParquetWriter | None = None

    def __post_init__(self) -> None:
        self.path = self.job.inputs[self.unit.source].path
        self.temporary = self.job.place / f".tmp-part-{self.unit.id}-{os.getpid()}"

    def add(self, ready: _Ready) -> None:
        """Score a piece and write its rows."""
        job, piece, sifted, table = self.job, ready.piece, ready.sifted, ready.piece.table
        rows = piece.rows()
        for broken in piece.broken:
            self._dead_row(broken.row, broken.column, broken.reason, broken.raw)
        for row, column, reason in sorted(sifted.bad):
            self._dead_row(int(rows[row]), column, reason, raw_text(table, row))
        if sifted.bad:
            table, rows = table.take(sifted.good), rows[sifted.good]
        if not len(rows):
            return
        scores = job.scorer.score(sifted.feeds, job.explain)
        self.write(score_rows(scores, self.unit.source, rows, table, job))
        self.anomalies += int(scores.is_anomaly.sum())
        self.counts = watch.add(self.counts, ready.counts)

    def _dead_row(self, row: int, column: str, reason: str, raw: str) -> None:
        self.dead.append(DeadRow(self.unit.source, row, column, reason, raw))
        if why := self.job.bad_rows.beyond(len(self.dead)):
            raise DataError(f"{self.dead[0].said(self.path)}; {why}")

    def write(self, table: pa.Table) -> None:
        """Append score rows."""
        self.writer = self.writer or pq.ParquetWriter(
            self.temporary, table.schema, compression="snappy", use_dictionary=_DICTIONARY
        )
        self.writer.write_table(table)
        self.rows += table.num_rows

    def finish(self) -> dict[str, Any]:
        """Make part and dead letters durable under their names; returns the commit."""
        job, unit = self.job, self.unit
        if self.writer is None:
            nothing = job.scorer.score({name: np.zeros(0) for name in job.scorer.artifact.features}, job.explain)
            self.write(score_rows(nothing, unit.source, np.arange(0), pa.table({}), job))
        if self.rows + len(self.dead) != unit.rows:
            raise DataError(f"{self.path} was changed while it was scored; run the same command again")
        assert self.writer is not None
        self.writer.close()
        digest = sync_and_hash(self.temporary)
        crash_point("unit_scored")
        commit: dict[str, Any] = {"unit": unit.id, "source": unit.source, "start_row": unit.start_row}
        commit |= {"rows": self.rows, "dead": len(self.dead), "anomalies": self.anomalies}
        commit["counts"] = self.counts["columns"]
        if self.dead:
            commit["dead_letters"] = self._write_dead()
            crash_point("dead_letters_renamed")
        part = job.place / part_name(job.numbers[unit.id], unit.id)
        self.temporary.replace(part)
        sync_folder(part.parent)
        crash_point("part_renamed")
        return commit | {"part": part.name, "sha256": digest, "bytes": part.stat().st_size}

    def _write_dead(self) -> dict[str, Any]:
        folder = self.job.folder / DEAD
        folder.mkdir(exist_ok=True)
        path = folder / f"dead-{self.unit.id}.jsonl"
        temporary = folder / f".tmp-dead-{self.unit.id}-{os.getpid()}"
        try:
            write_dead(temporary, self.dead)
            digest = sync_and_hash(temporary)
            temporary.replace(path)
            sync_folder(folder)
        finally:
            temporary.unlink(missing_ok=True)
        first = self.dead[0].said(self.path)
        return {"file": path.name, "sha256": digest, "bytes": path.stat().st_size, "first": first}

    def discard(self) -> None:
        """Leave no temporary file."""
        if self.writer is not None and self.writer.is_open:
            self.writer.close()
        self.temporary.unlink(missing_ok=True)


def score_rows(scores: ScoreBatch, source: str, rows: np.ndarray, table: pa.Table, job: Job) -> pa.Table:
    """Scores with their place in the input, the kept columns of ``table`` and their lineage."""
    n = len(scores.anomaly_score)

    def same(value: Any, kind: pa.DataType) -> pa.Array:
        return pa.repeat(pa.scalar(value, kind), n)

    columns: dict[str, pa.Array] = {"source": same(source, pa.string()), "source_row": pa.array(rows, pa.int64())}
    for kept in job.kept:
        columns[kept.name] = kept.of(table) if n else pa.nulls(0, kept.arrow)
    columns |= {
        "anomaly_score": pa.array(scores.anomaly_score),
        "p_value": pa.array(scores.p_value),
        "is_anomaly": pa.array(scores.is_anomaly),
        "alpha": same(job.scorer.alpha, pa.float32()),
        "model_name": same(job.lineage.model_name, pa.string()),
        "model_version": same(job.lineage.model_version, pa.string()),
        "artifact_sha256": same(job.lineage.artifact_sha256, pa.string()),
        "scored_at": same(datetime.now(UTC), pa.timestamp("us", "UTC")),
    }
    if scores.contributions is not None:
        for index, feature in enumerate(job.scorer.artifact.features):
            columns[f"contribution.{feature}"] = pa.array(np.ascontiguousarray(scores.contributions[:, index]))
    if scores.top_reasons is not None:
        columns["top_reasons"] = scores.top_reasons
    return pa.table(columns)


def _prefetch(items: Iterator[Any]) -> Generator[Any, None, None]:
    """Work ahead in one thread, two items deep, so that reading and scoring overlap."""
    ready: queue.Queue[Any] = queue.Queue(maxsize=2)
    stop, end = threading.Event(), object()

    def read() -> None:
        try:
            for item in items:
                if not _put(ready, (item, None), stop):
                    return
            _put(ready, (end, None), stop)
        except BaseException as error:
            _put(ready, (end, error), stop)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is end:
                return
            yield item
    finally:
        stop.set()
        thread.join(timeout=5)


def _put(ready: queue.Queue[Any], item: Any, stop: threading.Event) -> bool:
    """Hand an item over; returns False if nobody wants it any more."""
    while not stop.is_set():
        try:
            ready.put(item, timeout=0.2)
            return True
        except queue.Full:
            continue
    return False
