"""One unit of a batch run: read, scored, written and committed (docs/delivery.md, steps 3 to 5)."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from serving.crash import crash_point
from serving.errors import DataError, ValueRefused
from serving.files import disk_errors, sync_and_hash, sync_folder, write_json
from serving.plan import Unit
from serving.scorer import ScoreBatch, Scorer

ROWS = 65_536


@dataclass(frozen=True)
class Lineage:
    """What every score row says of its model."""

    model_name: str
    model_version: str
    artifact_sha256: str


@dataclass(frozen=True)
class Job:
    """What the units of a run share: where they are read and written, and with what they are scored."""

    folder: Path
    base: Path
    scorer: Scorer
    lineage: Lineage
    explain: bool


def score_unit(job: Job, unit: Unit) -> None:
    """Score a unit into its part and commit it; the part is whole or absent. Raises DataError, TemporaryError."""
    folder, path, scorer = job.folder, job.base / unit.source, job.scorer
    temporary = folder / "parts" / f".tmp-{unit.id}-{os.getpid()}"
    part = folder / "parts" / f"part-{unit.id}.parquet"
    rows = anomalies = 0
    writer: pq.ParquetWriter | None = None
    try:
        with disk_errors(f"in {folder}"):
            for table in _prefetch(_read_unit(unit, path, scorer.adapter.names)):
                scores = _score_table(scorer, table, path, unit.start_row + rows, job.explain)
                out = _score_rows(scores, unit, unit.start_row + rows, scorer, job.lineage)
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


def _score_table(scorer: Scorer, table: pa.Table, path: Path, start: int, explain: bool) -> ScoreBatch:
    """Scores of a table that begins at row ``start`` of its file; refusals name the file and the row in it."""
    try:
        return scorer.score(table, explain)
    except ValueRefused as error:
        raise DataError(f"{path}: {error.said(start)}") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


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
    if scores.top_reasons is not None:
        columns["top_reasons"] = scores.top_reasons
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
        mend = "write it again" + (" as UTF-8" if unit.format == "csv" else "")
        raise DataError(f"{path} cannot be read ({str(error)[:200]}); {mend}") from error


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
