"""The second pass of a batch run with a false discovery rate: the column ``fdr_selected`` (docs/delivery.md)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from serving.crash import crash_point
from serving.discovery import batch_threshold
from serving.errors import DataError
from serving.files import disk_errors, read_json, sync_and_hash, sync_folder, write_json
from serving.layout import SCORED, SELECTED, THRESHOLD

ROWS = 65_536


def select_rows(folder: Path, commits: list[dict[str, Any]], rate: float) -> tuple[float, list[dict[str, Any]]]:
    """Copy each part of ``_scored/`` to the folder with its decisions; returns the threshold and the new commits.

    The threshold is written before the first copy, so that a rerun decides alike. ``_scored/`` is emptied at the end
    by the caller, once the manifest names the copies.
    """
    with disk_errors(f"in {folder}"):
        (folder / SELECTED).mkdir(exist_ok=True)
    threshold = _threshold(folder, commits, rate)
    return threshold, [_select_part(folder, commit, threshold) for commit in commits]


def _threshold(folder: Path, commits: list[dict[str, Any]], rate: float) -> float:
    path = folder / THRESHOLD
    if not path.exists():
        parts = [folder / SCORED / commit["part"] for commit in commits]

        def count(limit: float) -> int:
            return sum(
                int(pc.sum(pc.less_equal(column, limit)).as_py() or 0) for part in parts for column in _p_values(part)
            )

        rows = sum(commit["rows"] for commit in commits)
        write_json(path, {"rate": rate, "rows": rows, "threshold": batch_threshold(rate, rows, count)})
        crash_point("threshold_written")
    return float(read_json(path, lambda reason: DataError(f"{reason}; use --new-run to start over"))["threshold"])


def _p_values(part: Path) -> Iterator[pa.Array]:
    for batch in pq.ParquetFile(part).iter_batches(ROWS, columns=["p_value"], use_threads=False):
        yield batch.column(0).cast(pa.float64())


def _select_part(folder: Path, commit: dict[str, Any], threshold: float) -> dict[str, Any]:
    note = folder / SELECTED / f"{commit['unit']}.json"
    if note.exists():
        return read_json(note, lambda reason: DataError(f"{reason}; use --new-run to start over"))
    target = folder / commit["part"]
    temporary = folder / f".tmp-part-{commit['unit']}-{os.getpid()}"
    selected = 0
    try:
        with disk_errors(f"in {folder}"):
            source = pq.ParquetFile(folder / SCORED / commit["part"])
            schema = source.schema_arrow.append(pa.field("fdr_selected", pa.bool_()))
            with pq.ParquetWriter(temporary, schema, compression="snappy") as writer:
                for batch in source.iter_batches(ROWS, use_threads=False):
                    chosen = pc.less_equal(batch.column("p_value").cast(pa.float64()), threshold)
                    writer.write_batch(pa.record_batch([*batch.columns, chosen], schema=schema))
                    selected += int(pc.sum(chosen).as_py() or 0)
            digest = sync_and_hash(temporary)
            temporary.replace(target)
            sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)
    done = commit | {"sha256": digest, "bytes": target.stat().st_size, "selected": selected}
    write_json(note, done, exclusive=True)
    crash_point("unit_selected")
    return done
