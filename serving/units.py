"""Reads, scores, writes and commits the units of a batch run (docs/delivery.md, steps 3 to 5)."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from serving import watch
from serving.artifact import load_artifact
from serving.commits import Commit, Naming, described, publish
from serving.crash import crash_point
from serving.dead import DeadRow, write_dead
from serving.errors import DataError
from serving.files import disk_errors, temporary
from serving.inputs import Input, Piece, Reading
from serving.keep import Kept
from serving.layout import COMMITS, DEAD, VERSION, attempt, letters_name, note, part_name
from serving.lease import Claim
from serving.opening.deciles import tally
from serving.places import map_column
from serving.plan import Unit
from serving.readers import Sifted
from serving.scorer import ScoreBatch, Scorer
from serving.unseen import NONE, Unseen
from serving.waiting import noted
from serving.wording import counted


@dataclass(frozen=True)
class Lineage:
    """The model's identity, written to every score row."""

    model_name: str
    model_version: str
    artifact_sha256: str


@dataclass(frozen=True)
class BadRows:
    """The limit on dead letters of a run, as a number and as a share of all rows; ``stop`` allows none."""

    allowed: int
    total: int
    share: float
    stop: bool = False

    def beyond(self, dead: int) -> str:
        """Why this many dead letters stop the run; empty if they do not."""
        if dead <= self.allowed:
            return ""
        if self.stop:
            return "--bad-rows keep sets such rows aside"
        return (
            f"at least {counted(dead, 'row')} of {self.total:,} cannot be scored, more than --max-bad-share "
            f"{self.share:g} allows"
        )


@dataclass(frozen=True)
class ScorerFile:
    """What a process needs to open the same scorer: the artifact, its sha-256 and the alarm budget."""

    model: str | Path | bytes
    sha256: str
    alpha: float
    require_gpu: bool = False

    def open(self) -> Scorer:
        """The scorer. Raises what ``load_artifact`` raises."""
        return Scorer(load_artifact(self.model, self.sha256, require_gpu=self.require_gpu), self.alpha)


@dataclass(frozen=True)
class BatchJob:
    """What the units of a run share: inputs, output folder, model and options.

    Plain data that can be sent to another process. ``place`` is the folder of the parts. ``identities`` holds the
    identity of each input when the run was planned, and ``numbers`` the position of each unit in the plan.
    """

    folder: Path
    place: Path
    inputs: dict[str, Input]
    identities: dict[str, str]
    numbers: dict[str, int]
    source: ScorerFile
    lineage: Lineage
    explain: bool
    kept: tuple[Kept, ...]
    bad_rows: BadRows
    claim: Claim


@dataclass(frozen=True)
class _Ready:
    """A piece converted to feeds, without its dead letters; ``beyond`` is True if there are too many of these."""

    piece: Piece
    sifted: Sifted
    counts: watch.Counts
    beyond: bool


@dataclass(frozen=True)
class _Scored:
    """A piece with the scores of its valid rows; None if it has no valid rows."""

    ready: _Ready
    scores: ScoreBatch | None


class UnitScorer:
    """Scores units of a job in this process; writes and commits one part per unit."""

    def __init__(self, job: BatchJob, scorer: Scorer) -> None:
        self.job, self.scorer = job, scorer
        self._profiles = scorer.profiles
        self._feeding = scorer.reader.feeding(Reading())
        self.columns = list(dict.fromkeys([*scorer.reader.names, *(k.column for k in job.kept)]))
        # Where examples are lists, kept columns may be lists too.
        self.nested = self.columns if scorer.reader.nested else []

    def score(self, units: Sequence[Unit]) -> Iterator[Unit]:
        """Score units one after another; yields each unit once it is committed.

        Parts are written atomically. Raises DataError, and TemporaryError if the disk is full or another run took
        over.
        """
        ahead = _prefetch(item for unit in units for item in (*self._prepared(unit), None))
        # Overlap reading, scoring and writing: they wait for different resources.
        scored = _prefetch(item and self._scored(item) for item in ahead)
        try:
            for unit in units:
                self._write(unit, iter(lambda: next(scored), None))
                yield unit
        finally:
            scored.close()
            ahead.close()

    def _scored(self, ready: _Ready) -> _Scored:
        """The scores of a piece."""
        if ready.beyond or not len(ready.sifted.good):
            return _Scored(ready, None)
        return _Scored(ready, self.scorer.score(ready.sifted.feeds, self.job.explain))

    def _write(self, unit: Unit, pieces: Iterator[_Scored]) -> None:
        self.job.claim.check()
        output = _Output(self.job, self.scorer, unit)
        try:
            with disk_errors(f"in {self.job.folder}"):
                for scored in pieces:
                    output.add(scored)
                output.commit()
        finally:
            output.discard()
        crash_point("unit_committed")

    def _prepared(self, unit: Unit) -> Iterator[_Ready]:
        """A unit's pieces as feeds; ends after the piece that exceeds the limit on dead letters."""
        job, reader = self.job, self.scorer.reader
        source = job.inputs[unit.source]
        columns = [name for name in self.columns if name in reader.names or name in source.types()]
        stop, dead = unit.start_row + unit.rows, 0
        for piece in self._feeding.pieces(source, columns, unit.start_row, stop, reader.names, self.nested):
            dead += len(piece.broken)
            try:
                sifted = self._feeding.sift(source, piece, job.bad_rows.allowed - dead)
            except DataError as error:
                raise DataError(f"{source.path}: {error}") from error
            dead += len(sifted.bad)
            beyond = dead > job.bad_rows.allowed
            counts = (
                watch.no_counts()
                if beyond
                else watch.count(reader.monitored, self._profiles, sifted.feeds, 0, np.zeros(0))
            )
            yield _Ready(piece, sifted, counts, beyond)
            if beyond:
                return


_DICTIONARY = ["source", "model_name", "model_version", "artifact_sha256"]


@dataclass
class _Output:
    """Writes the part and the dead letters of a unit."""

    job: BatchJob
    scorer: Scorer
    unit: Unit
    rows: int = 0
    anomalies: int = 0
    dead: list[DeadRow] = field(default_factory=list)
    waiting: list[tuple[str, np.ndarray]] = field(default_factory=list)
    unseen: Unseen = NONE
    counts: watch.Counts = field(default_factory=watch.no_counts)
    writer: pq.ParquetWriter | None = None

    def __post_init__(self) -> None:
        self.path = self.job.inputs[self.unit.source].path
        tail = attempt(self.unit.id)
        self.part = self.job.place / part_name(self.job.numbers[self.unit.id], tail)
        self.letters = self.job.folder / DEAD / letters_name(tail)
        self.temporary, self.temporary_letters = temporary(self.part), temporary(self.letters)

    def add(self, scored: _Scored) -> None:
        """Write a piece's score rows and record its dead letters."""
        piece, sifted = scored.ready.piece, scored.ready.sifted
        table, rows = piece.table, piece.rows()
        for broken in piece.broken:
            self._dead_row(broken.row, broken.column, broken.reason, broken.raw)
        for row, column, reason in sorted(sifted.bad):
            self._dead_row(int(rows[row]), column, reason, self.scorer.reader.raw_text(table, row))
        self.waiting += [(reason, rows[places]) for reason, places in sifted.waiting.items()]
        self.unseen += sifted.unseen
        if scored.scores is None:
            return
        if len(sifted.good) < len(rows):
            table, rows = table.take(sifted.good), rows[sifted.good]
        self.write(score_rows(scored.scores, self.unit.source, rows, table, self.job, self.scorer))
        self.counts = watch.add(self.counts, scored.ready.counts | {"deciles": tally(scored.scores.p_value)})

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
        self.anomalies += pc.sum(table["is_anomaly"]).as_py() or 0

    def commit(self) -> None:
        """Make part and dead letters durable, then rename and commit them."""
        job, unit = self.job, self.unit
        if self.writer is None:
            self.write(self._no_rows())
        if self.rows + len(self.dead) + sum(len(rows) for _, rows in self.waiting) != unit.rows:
            raise DataError(f"{self.path} was changed while it was scored; run the same command again")
        assert self.writer is not None
        self.writer.close()
        part = described(self.temporary, self.part, "part")
        crash_point("unit_scored")
        files = [Naming(self.temporary, self.part, "part_renamed")]
        commit: Commit = {"version": VERSION, "unit": unit.id, "source": unit.source, "start_row": unit.start_row}
        commit |= {"rows": self.rows, "dead": len(self.dead), "anomalies": self.anomalies}
        commit |= {
            "counts": self.counts["columns"],
            "deciles": self.counts["deciles"],
            "bins": self.counts["bins"],
            **asdict(job.lineage),
        }
        commit |= noted(self.waiting) | self.unseen.noted()
        if self.dead:
            self.letters.parent.mkdir(exist_ok=True)
            write_dead(self.temporary_letters, self.dead)
            first = {"first": self.dead[0].said(self.path)}
            commit["dead_letters"] = described(self.temporary_letters, self.letters, "file") | first
            files.insert(0, Naming(self.temporary_letters, self.letters, "dead_letters_renamed"))
        job.inputs[unit.source].check_unchanged(job.identities[unit.source])
        crash_point("input_checked")
        publish(job.claim, files, note(job.folder / COMMITS, unit.id), commit | part)

    def discard(self) -> None:
        """Delete the temporary files."""
        if self.writer is not None and self.writer.is_open:
            self.writer.close()
        self.temporary.unlink(missing_ok=True)
        self.temporary_letters.unlink(missing_ok=True)

    def _no_rows(self) -> pa.Table:
        """A table without rows, so that the part still shows its columns."""
        scores = self.scorer.score(self.scorer.reader.nothing(), self.job.explain)
        return score_rows(scores, self.unit.source, np.arange(0), pa.table({}), self.job, self.scorer)


def score_rows(
    scores: ScoreBatch, source: str, rows: np.ndarray, table: pa.Table, job: BatchJob, scorer: Scorer
) -> pa.Table:
    """Build the table of score rows: position in the input, kept columns of ``table``, scores and lineage."""
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
        "alpha": same(scorer.alpha, pa.float32()),
        **{name: same(value, pa.string()) for name, value in asdict(job.lineage).items()},
        "scored_at": same(datetime.now(UTC), pa.timestamp("us", "UTC")),
    }
    if scores.contributions is not None:
        for index, feature in enumerate(scorer.artifact.features):
            columns[f"contribution.{feature}"] = pa.array(np.ascontiguousarray(scores.contributions[:, index]))
    if scores.map is not None:
        columns["map"] = map_column(scores.map, scores.is_anomaly, scorer.artifact.layout)
    if scores.top_reasons is not None:
        columns["top_reasons"] = scores.top_reasons
    return pa.table(columns)


def _prefetch(items: Iterator[Any]) -> Generator[Any, None, None]:
    """Iterate in a thread, up to two items ahead of the consumer."""
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
    """Hand over an item; returns False once the consumer has stopped."""
    while not stop.is_set():
        try:
            ready.put(item, timeout=0.2)
            return True
        except queue.Full:
            continue
    return False
