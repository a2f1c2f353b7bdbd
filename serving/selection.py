"""The second pass of a batch run with a false discovery rate: the column ``fdr_selected`` (docs/delivery.md)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from serving.commits import Commit, Naming, again, described, numbered, publish
from serving.crash import crash_point
from serving.discovery import batch_threshold
from serving.errors import DataError
from serving.files import disk_errors, read_checked, temporary, write_checked
from serving.layout import SCORED, SELECTED, THRESHOLD, VERSION, attempt, note, part_name
from serving.lease import Claim

ROWS = 65_536


def select_rows(
    folder: Path, commits: list[Commit], rate: float, least: float, claim: Claim
) -> tuple[float, list[Commit]]:
    """Copy each part of ``_scored/`` to the folder with its decisions; returns the threshold and the new commits.

    The threshold is written before the first copy, so that a rerun makes the same decisions. The caller empties
    ``_scored/`` once the manifest names the copies. ``least`` is the smallest p-value that the calibration sample alone
    gives.
    """
    with disk_errors(f"in {folder}"):
        (folder / SELECTED).mkdir(exist_ok=True)
    threshold = _threshold(folder, commits, rate, least, claim)
    return threshold, [_select_part(folder, number, c, threshold, claim) for number, c in enumerate(commits)]


def _threshold(folder: Path, commits: list[Commit], rate: float, least: float, claim: Claim) -> float:
    path = folder / THRESHOLD
    with suppress(DataError):
        return float(read_checked(path, DataError)["threshold"])
    parts = [folder / SCORED / commit["part"] for commit in commits]

    def count(limit: float) -> int:
        return sum(
            int(pc.sum(pc.less_equal(column, limit)).as_py() or 0) for part in parts for column in _p_values(part)
        )

    rows = sum(commit["rows"] for commit in commits)
    threshold = batch_threshold(rate, rows, count, least)
    with claim.guard():
        write_checked(path, {"version": VERSION, "rate": rate, "rows": rows, "threshold": threshold})
    crash_point("threshold_written")
    return threshold


def _p_values(part: Path) -> Iterator[pa.Array]:
    for batch in pq.ParquetFile(part).iter_batches(ROWS, columns=["p_value"], use_threads=False):
        yield batch.column(0).cast(pa.float64())


def _select_part(folder: Path, number: int, commit: Commit, threshold: float, claim: Claim) -> Commit:
    record = note(folder / SELECTED, commit["unit"])
    if record.exists():
        return numbered(read_checked(record, again), number)
    target = folder / part_name(number, attempt(commit["unit"]))
    unnamed = temporary(target)
    selected = 0
    try:
        with disk_errors(f"in {folder}"):
            source = pq.ParquetFile(folder / SCORED / commit["part"])
            schema = source.schema_arrow.append(pa.field("fdr_selected", pa.bool_()))
            with pq.ParquetWriter(unnamed, schema, compression="snappy") as writer:
                for batch in source.iter_batches(ROWS, use_threads=False):
                    chosen = pc.less_equal(batch.column("p_value").cast(pa.float64()), threshold)
                    writer.write_batch(pa.record_batch([*batch.columns, chosen], schema=schema))
                    selected += int(pc.sum(chosen).as_py() or 0)
            done = commit | described(unnamed, target, "part") | {"selected": selected}
        publish(claim, [Naming(unnamed, target, "part_selected")], record, done)
    finally:
        unnamed.unlink(missing_ok=True)
    crash_point("unit_selected")
    return done
