"""The names in an output folder. All that is not a score part begins with ``_``: other readers pass it over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving.files import read_json

PLAN, MANIFEST, THRESHOLD, LEASE = "_plan.json", "_manifest.json", "_threshold.json", "_lease.json"
COMMITS, DEAD, SCORED, SELECTED = "_commits", "_dead", "_scored", "_selected"
# Layout 1, written by earlier releases: its parts lay in folders of their own.
OLD_PLAN, OLD_MANIFEST, OLD_PARTS, OLD_SELECTED = "plan.json", "manifest.json", "parts", "selected"
VERSION = 2


def part_name(number: int, unit: str) -> str:
    """A part's file, so that the order of names is the order of the input."""
    return f"part-{number:06d}-{unit}.parquet"


def unit_of(part: Path) -> str:
    """The unit that a part, a commit or a file of dead letters is for."""
    return part.stem.rpartition("-")[2]


def is_run(folder: Path) -> bool:
    """Whether a folder is the output of a scoring run: it holds a plan or a manifest of ours."""
    plans = any(_holds(folder / name, {"artifact_sha256", "units"}) for name in (PLAN, OLD_PLAN))
    return plans or any(_holds(folder / name, {"artifact_sha256", "parts"}) for name in (MANIFEST, OLD_MANIFEST))


def run_of(part: Path) -> Path | None:
    """The output folder that a file is a part of, or None."""
    if not part.name.startswith("part-"):
        return None
    place = part.resolve().parent
    old = place.parent if place.name in (OLD_PARTS, OLD_SELECTED) else place
    return next((folder for folder in (place, old) if is_run(folder)), None)


def _holds(path: Path, keys: set[str]) -> bool:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and keys <= value.keys()


def read_manifest(folder: Path, broken: Callable[[str], Exception]) -> dict[str, Any]:
    """The manifest of a finished run, of this layout or the one before; ``broken(reason)`` makes the error."""
    old = folder / OLD_MANIFEST
    manifest = read_json(old if old.exists() and not (folder / MANIFEST).exists() else folder / MANIFEST, broken)
    return {"folder": OLD_PARTS, "dead": 0, **manifest}
