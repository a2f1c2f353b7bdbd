"""Recount a batch run: every unit once, every part as committed, every source row exactly once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from serving.errors import IntegrityError, UsageError
from serving.files import read_json
from serving.wording import counted


def verify(folder: str | Path) -> dict[str, Any]:
    """Counts of a sound run; raises UsageError where there is none, IntegrityError naming what does not recount."""
    folder = Path(folder)
    if not (folder / "plan.json").exists():
        raise UsageError(f"{folder} is no output of `score`: it holds no plan.json")
    if not (folder / "manifest.json").exists():
        raise IntegrityError(f"{folder} is not finished: no manifest.json. Run the same score command again")
    plan = read_json(folder / "plan.json", IntegrityError)
    manifest = read_json(folder / "manifest.json", IntegrityError)
    planned, listed = [u["id"] for u in plan["units"]], [p["unit"] for p in manifest["parts"]]
    if sorted(planned) != sorted(listed):
        raise IntegrityError(
            f"the manifest names {counted(len(listed), 'unit')}, the plan {len(planned)}; run score again"
        )
    ranges: dict[str, list[tuple[int, int]]] = {}
    for part in manifest["parts"]:
        _check_part(folder / manifest.get("folder", "parts") / part["part"], part)
        ranges.setdefault(part["source"], []).append((part["start_row"], part["rows"]))
    rows = sum(_count(source, sorted(pieces)) for source, pieces in ranges.items())
    if rows != manifest["rows"]:
        raise IntegrityError(f"the manifest says {counted(manifest['rows'], 'row')}, the parts hold {rows}")
    return {"rows": rows, "anomalies": manifest["anomalies"], "parts": len(listed), "sources": len(ranges)}


def line(counts: dict[str, Any]) -> str:
    """What ``verify`` counted, for people."""
    return f"{counted(counts['rows'], 'row')} in {counted(counts['parts'], 'part')}: each exactly once"


def _count(source: str, pieces: list[tuple[int, int]]) -> int:
    """Rows of a source, whose parts must follow one another from row 0 on."""
    end = 0
    for start, rows in pieces:
        if start != end:
            raise IntegrityError(f"{source}: rows are missing or scored twice; delete the folder and run score again")
        end += rows
    return end


def _check_part(path: Path, part: dict[str, Any]) -> None:
    """A part is as it was committed, and its rows follow one another; read in pieces, whatever its size."""
    if not path.exists():
        raise IntegrityError(f"{path} is gone; delete the folder and run score again")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if path.stat().st_size != part["bytes"] or digest.hexdigest() != part["sha256"]:
        raise IntegrityError(f"{path} was changed after it was committed; delete the folder and run score again")
    end = part["start_row"]
    for batch in pq.ParquetFile(path).iter_batches(1 << 16, columns=["source_row"], use_threads=False):
        if not np.array_equal(batch.column(0).to_numpy(), np.arange(end, end + len(batch))):
            raise IntegrityError(f"{path}: rows are missing or out of order after row {end} of {part['source']}")
        end += len(batch)
    if end - part["start_row"] != part["rows"]:
        raise IntegrityError(f"{path} holds {counted(end - part['start_row'], 'row')}, its commit says {part['rows']}")
