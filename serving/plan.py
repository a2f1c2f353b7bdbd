"""The unit plan of a batch run: which rows of which file make one unit, and its identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from serving.errors import DataError, UsageError

ROWS_PER_UNIT = 1_000_000


@dataclass(frozen=True)
class Unit:
    """Row groups ``first .. last`` (exclusive) of a Parquet file, or a whole CSV file (both 0).

    ``start_row`` is the position of its first row in the file; ``rows`` is -1 where only reading tells (CSV).
    """

    id: str
    source: str
    format: str
    first: int
    last: int
    start_row: int
    rows: int


@dataclass(frozen=True)
class Plan:
    """What an output folder is for."""

    version: int
    input: str
    artifact_sha256: str
    alpha: float
    explain: bool
    units: tuple[Unit, ...]
    fdr: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @property
    def identity(self) -> tuple[Any, ...]:
        """What must be equal for a folder to be continued."""
        return self.artifact_sha256, round(self.alpha, 9), self.explain, self.fdr, tuple(u.id for u in self.units)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Plan:
        """From JSON values."""
        return cls(**{**values, "units": tuple(Unit(**u) for u in values["units"])})


def is_run(folder: Path) -> bool:
    """Whether a folder is the output of a scoring run: it holds a plan or a manifest of ours."""
    return _holds(folder / "plan.json", {"artifact_sha256", "units"}) or _holds(
        folder / "manifest.json", {"artifact_sha256", "parts"}
    )


def _holds(path: Path, keys: set[str]) -> bool:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and keys <= value.keys()


def _refuse_scores(path: Path, files: Sequence[Path]) -> None:
    """Refuse to score what an earlier run wrote: its parts are no data."""
    for place in sorted({f.parent for f in files if f.parent.name in ("parts", "selected")}):
        if is_run(run := place.resolve().parent):
            raise DataError(f"{run} is the output of a scoring run; name the data alone as --input, not {path}")


def input_files(path: Path) -> tuple[Path, list[Path]]:
    """The folder that source names are relative to, and the data files in order; raises UsageError or DataError."""
    if path.is_file():
        _refuse_scores(path, [path])
        return path.parent, [path]
    if not path.is_dir():
        raise UsageError(f"there is no input {path}")
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in (".parquet", ".csv") and p.is_file())
    if not files:
        raise DataError(f"{path} holds no .parquet or .csv file")
    _refuse_scores(path, files)
    return path, files


def make_plan(path: Path, artifact_sha256: str, alpha: float, explain: bool, fdr: float | None = None) -> Plan:
    """Plan the input's units; raises DataError on an empty or broken file, naming it."""
    root, files = input_files(path)
    salt = json.dumps([artifact_sha256, round(alpha, 9), explain, *([] if fdr is None else [fdr])])
    units: list[Unit] = []
    for file in files:
        try:
            units.extend(_units_of(file, str(file.relative_to(root)), salt))
        except OSError as error:
            raise DataError(
                f"{file} cannot be read ({error.strerror or error}); mend its permissions or name"
            ) from error
    if not units:
        raise DataError(f"{path} holds no rows to score")
    return Plan(1, str(path), artifact_sha256, alpha, explain, tuple(units), fdr)


def _units_of(file: Path, name: str, salt: str) -> list[Unit]:
    stat = file.stat()
    if stat.st_size == 0:
        raise DataError(f"{file} is empty; give it a header and rows, or take it away")
    identity = f"{salt}|{name}|{stat.st_size}|{stat.st_mtime_ns}"
    if file.suffix.lower() == ".csv":
        with file.open("rb") as handle:
            ends = handle.read(65536)
            handle.seek(max(0, stat.st_size - 65536))
            ends += handle.read(65536)
        return [Unit(_digest(identity, ends, 0, 0), name, "csv", 0, 0, 0, -1)]
    return _parquet_units(file, name, identity)


def _parquet_units(file: Path, name: str, identity: str) -> list[Unit]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        footer = pq.read_metadata(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{file} is not a readable Parquet file ({error}); write it again") from error
    with file.open("rb") as handle:
        handle.seek(max(0, file.stat().st_size - 65536))
        ends = handle.read()
    units, first, rows, start = [], 0, 0, 0
    for group in range(footer.num_row_groups):
        rows += footer.row_group(group).num_rows
        if rows >= ROWS_PER_UNIT or group == footer.num_row_groups - 1:
            if rows:
                digest = _digest(identity, ends, first, group + 1)
                units.append(Unit(digest, name, "parquet", first, group + 1, start, rows))
            start, first, rows = start + rows, group + 1, 0
    return units


def _digest(identity: str, ends: bytes, first: int, last: int) -> str:
    return hashlib.sha256(f"{identity}|{first}|{last}|".encode() + ends).hexdigest()[:20]
