"""Recount a batch run: every unit once, every part as committed, every source row exactly once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from serving.errors import IntegrityError, UsageError
from serving.files import read_json


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
        raise IntegrityError(f"the manifest names {len(listed)} units, the plan {len(planned)}; run score again")
    seen: dict[str, list[np.ndarray]] = {}
    for part in manifest["parts"]:
        _check_part(folder / "parts" / part["part"], part, seen)
    rows = 0
    for source, pieces in seen.items():
        positions = np.sort(np.concatenate(pieces))
        if not np.array_equal(positions, np.arange(len(positions))):
            raise IntegrityError(f"{source}: rows are missing or scored twice; delete the folder and run score again")
        rows += len(positions)
    if rows != manifest["rows"]:
        raise IntegrityError(f"the manifest says {manifest['rows']} rows, the parts hold {rows}")
    return {"rows": rows, "anomalies": manifest["anomalies"], "parts": len(listed), "sources": len(seen)}


def _check_part(path: Path, part: dict[str, Any], seen: dict[str, list[np.ndarray]]) -> None:
    if not path.exists():
        raise IntegrityError(f"{path} is gone; run the same score command again")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if path.stat().st_size != part["bytes"] or digest.hexdigest() != part["sha256"]:
        raise IntegrityError(f"{path} was changed after it was committed; delete the folder and run score again")
    positions = pq.read_table(path, columns=["source_row"])["source_row"].to_numpy()
    if len(positions) != part["rows"]:
        raise IntegrityError(f"{path} holds {len(positions)} rows, its commit says {part['rows']}")
    seen.setdefault(part["source"], []).append(positions)
