"""Recount a batch run: every unit once, every part as committed, every source row exactly once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from serving.dead import read_dead
from serving.errors import IntegrityError, UsageError
from serving.files import read_json
from serving.layout import DEAD, MANIFEST, OLD_MANIFEST, OLD_PLAN, PLAN, read_manifest
from serving.wording import counted


def verify(folder: str | Path) -> dict[str, Any]:
    """Counts of a sound run; raises UsageError where there is none, IntegrityError naming what does not recount."""
    folder = Path(folder)
    place = next((folder / name for name in (PLAN, OLD_PLAN) if (folder / name).exists()), None)
    if place is None:
        raise UsageError(f"{folder} is no output of `score`: it holds no {PLAN}")
    finished = folder / (MANIFEST if place.name == PLAN else OLD_MANIFEST)
    if not finished.exists():
        raise IntegrityError(f"{folder} is not finished: no {finished.name}. Run the same score command again")
    plan = read_json(place, IntegrityError)
    manifest = read_manifest(folder, IntegrityError)
    planned, parts = [u["id"] for u in plan["units"]], manifest["parts"]
    if sorted(planned) != sorted(p["unit"] for p in parts):
        raise IntegrityError(
            f"the manifest names {counted(len(parts), 'unit')}, the plan {len(planned)}; run score again"
        )
    ranges: dict[str, list[tuple[int, int]]] = {}
    for part in parts:
        _check_part(folder / manifest["folder"] / part["part"], part, _dead_rows(folder, part))
        ranges.setdefault(part["source"], []).append((part["start_row"], part["rows"] + part.get("dead", 0)))
    total = sum(_count(source, sorted(pieces)) for source, pieces in ranges.items())
    if total != manifest["rows"] + manifest["dead"]:
        said = counted(manifest["rows"], "row") + (f" and {manifest['dead']:,} dead" if manifest["dead"] else "")
        raise IntegrityError(f"the manifest says {said}, the parts hold {total}")
    _check_strays(folder, manifest)
    return {
        "rows": manifest["rows"], "dead": manifest["dead"], "anomalies": manifest["anomalies"], "parts": len(parts),
        "sources": len(ranges),
    }  # fmt: skip


def _dead_rows(folder: Path, part: dict[str, Any]) -> np.ndarray:
    """The rows of a unit that are dead letters, from a file that is as it was committed."""
    if not part.get("dead"):
        return np.zeros(0, np.int64)
    path = folder / DEAD / part["dead_letters"]["file"]
    _check_file(path, part["dead_letters"])
    rows = np.array([letter["source_row"] for letter in read_dead(path)], np.int64)
    if len(rows) != part["dead"]:
        raise IntegrityError(f"{path} holds {counted(len(rows), 'dead letter')}, its commit says {part['dead']}")
    return rows


def _check_strays(folder: Path, manifest: dict[str, Any]) -> None:
    """Who reads the folder as it is must read what the manifest names, and no more."""
    if manifest["folder"] != ".":
        return
    named = {part["part"] for part in manifest["parts"]}
    strays = sorted(p.name for p in folder.glob("*.parquet") if p.name not in named)
    if strays:
        raise IntegrityError(f"{folder / strays[0]} is no part of this run; delete it")


def line(counts: dict[str, Any]) -> str:
    """What ``verify`` counted, for people."""
    dead = f" and {counted(counts['dead'], 'dead letter')}" if counts["dead"] else ""
    return f"{counted(counts['rows'], 'row')} in {counted(counts['parts'], 'part')}{dead}: each exactly once"


def _count(source: str, pieces: list[tuple[int, int]]) -> int:
    """Rows of a source, whose parts must follow one another from row 0 on."""
    end = 0
    for start, rows in pieces:
        if start != end:
            raise IntegrityError(f"{source}: rows are missing or scored twice; delete the folder and run score again")
        end += rows
    return end


def _check_part(path: Path, part: dict[str, Any], dead: np.ndarray) -> None:
    """A part is as it was committed, and its rows follow one another; read in pieces, whatever its size."""
    _check_file(path, part)
    size = part["rows"] + len(dead)
    rows = np.arange(part["start_row"], part["start_row"] + size)
    expected = rows[~np.isin(rows, dead)]
    at = 0
    for batch in pq.ParquetFile(path).iter_batches(1 << 16, columns=["source_row"], use_threads=False):
        if not np.array_equal(batch.column(0).to_numpy(), expected[at : at + len(batch)]):
            after = rows[0] + at if len(rows) else 0
            raise IntegrityError(f"{path}: rows are missing or out of order after row {after} of {part['source']}")
        at += len(batch)
    if at != part["rows"] or len(expected) != at:
        raise IntegrityError(f"{path} holds {counted(at, 'row')}, its commit says {part['rows']}")


def _check_file(path: Path, commit: dict[str, Any]) -> None:
    """A file is as it was committed."""
    if not path.exists():
        raise IntegrityError(f"{path} is gone; delete the folder and run score again")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if path.stat().st_size != commit["bytes"] or digest.hexdigest() != commit["sha256"]:
        raise IntegrityError(f"{path} was changed after it was committed; delete the folder and run score again")
