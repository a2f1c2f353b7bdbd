"""The file names in an output folder. All but the score parts begin with ``_``, in subfolders too, so that other
readers skip them."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving.files import read_checked

PLAN, MANIFEST, THRESHOLD, LEASE = "_plan.json", "_manifest.json", "_threshold.json", "_lease.json"
COMMITS, DEAD, SCORED, SELECTED = "_commits", "_dead", "_scored", "_selected"
# Made from the parts at any time, and no data of the run.
GALLERY = "_gallery"
# Layout 1, written by earlier releases, with parts in subfolders.
OLD_PLAN, OLD_MANIFEST, OLD_PARTS, OLD_SELECTED = "plan.json", "manifest.json", "parts", "selected"
# 2: parts in the folder itself. 3: the attempt in the names of parts, and checksums in the JSON files. 4: ``_`` before
# the names in subfolders: polars looks at the name of a file alone.
VERSION = 4
NOTES, LETTERS = "*.json", "*dead-*.jsonl"
_UNIT = re.compile(r"[0-9a-f]{20}")


def part_name(number: int, tail: str) -> str:
    """The file name of a part. Names sort in the order of the input; the tail is unit and attempt."""
    return f"part-{number:06d}-{tail}.parquet"


def attempt(unit: str) -> str:
    """A unit with a random token, so that two runs scoring the same unit never write the same file."""
    return f"{unit}-{secrets.token_hex(4)}"


def note(place: Path, unit: str) -> Path:
    """The record of a unit in ``COMMITS`` or ``SELECTED``, by the name of an earlier layout if that file exists."""
    old = place / f"{unit}.json"
    return old if old.exists() else place / f"_{unit}.json"


def noted(path: Path) -> str:
    """The unit that a record's file name states."""
    return path.stem.removeprefix("_")


def letters_name(tail: str) -> str:
    """The file name of a unit's dead letters; the tail is unit and attempt."""
    return f"_dead-{tail}.jsonl"


def tail_of(name: str) -> str:
    """Unit and attempt of a part, without its number; parts of earlier layouts have no attempt."""
    stem = name.removesuffix(".parquet")
    found = _UNIT.search(stem)
    return stem[found.start() :] if found else ""


def unit_of(path: Path) -> str:
    """The unit of a part, commit or dead-letter file; empty for other files."""
    found = _UNIT.search(path.stem)
    return found[0] if found else ""


def is_run(folder: Path) -> bool:
    """Whether a folder is the output of a scoring run, that is, holds a plan or a manifest."""
    plans = any(_holds(folder / name, {"artifact_sha256", "units"}) for name in (PLAN, OLD_PLAN))
    return plans or any(_holds(folder / name, {"artifact_sha256", "parts"}) for name in (MANIFEST, OLD_MANIFEST))


def run_of(part: Path) -> Path | None:
    """The output folder that a part file belongs to, or None."""
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


def check_version(path: Path, value: dict[str, Any], broken: Callable[[str], Exception]) -> None:
    """Raise ``broken(reason)`` if a later release wrote the file."""
    if not isinstance(version := value.get("version"), int) or version > VERSION:
        raise broken(f"{path} has layout version {version!r}, this release reads up to {VERSION}; update ganlib")


def read_manifest(folder: Path, broken: Callable[[str], Exception]) -> dict[str, Any]:
    """The manifest of a finished run, of this or an earlier layout; raises ``broken(reason)`` if unreadable."""
    old = folder / OLD_MANIFEST
    path = old if old.exists() and not (folder / MANIFEST).exists() else folder / MANIFEST
    manifest = read_checked(path, broken)
    check_version(path, manifest, broken)
    return {"folder": OLD_PARTS, "dead": 0, **manifest}
