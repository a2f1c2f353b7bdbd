"""The plan of a batch run: which rows of which file form each unit, and the unit's identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from serving.errors import DataError
from serving.inputs import Input, list_inputs
from serving.keep import Kept
from serving.layout import VERSION, run_of
from serving.wording import listed

# Images and arrays take longer each, so that smaller units lose less in a crash and are shared by more workers.
ROWS_PER_UNIT, EXAMPLES_PER_UNIT = 100_000, 10_000


@dataclass(frozen=True)
class Unit:
    """Rows ``start_row`` to ``start_row + rows`` of a file. The id covers everything that the scores depend on."""

    id: str
    source: str
    start_row: int
    rows: int


@dataclass(frozen=True)
class Settings:
    """Settings that must be equal to continue a folder.

    The model's name and version are written to each row; None in plans of earlier releases. They are not part of a
    unit's identity, because scores do not depend on them.
    """

    artifact_sha256: str
    alpha: float
    explain: bool = False
    fdr: float | None = None
    keep: tuple[str, ...] = ()
    model_name: str | None = None
    model_version: str | None = None

    @property
    def salt(self) -> dict[str, Any]:
        """The settings that scores depend on, for the identity of a unit."""
        values = asdict(self) | {"alpha": round(self.alpha, 9)}
        return {key: value for key, value in values.items() if key not in ("model_name", "model_version")}

    @property
    def named(self) -> str | None:
        """Name and version for a message, None if they are not recorded."""
        return None if self.model_name is None else " ".join(filter(None, (self.model_name, self.model_version)))

    def difference(self, other: Settings) -> str:
        """Describe the first difference from another run, for a message; empty if there is none."""
        if self.artifact_sha256 != other.artifact_sha256:
            return f"another model (sha-256 {self.artifact_sha256[:12]}…)"
        if round(self.alpha, 9) != round(other.alpha, 9):
            return f"alpha={self.alpha:g}, not {other.alpha:g}"
        if self.fdr != other.fdr:
            return f"another false discovery rate ({'none' if self.fdr is None else self.fdr})"
        if self.explain != other.explain:
            return "another setting of --explain"
        if self.keep != other.keep:
            return f"other kept columns ({listed(self.keep) or 'none'}, not {listed(other.keep) or 'none'})"
        if self.named is not None and self.named != other.named:
            return f"the model under another name or version ({self.named}, not {other.named})"
        return ""


@dataclass(frozen=True)
class Plan:
    """The work of an output folder. ``files`` maps each file to its identity and number of rows."""

    input: str
    settings: Settings
    kept: tuple[Kept, ...]
    files: dict[str, tuple[str, int]]
    units: tuple[Unit, ...]

    @property
    def rows(self) -> int:
        """Rows of the input, including those that cannot be scored."""
        return sum(unit.rows for unit in self.units)

    @property
    def ids(self) -> set[str]:
        """The ids of its units."""
        return {unit.id for unit in self.units}

    def same_as(self, other: Plan) -> bool:
        """Whether both plans have the same settings and the same units in the same order."""
        return not self.settings.difference(other.settings) and self.units == other.units

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        values = asdict(self)
        return {"version": VERSION, "input": values.pop("input"), **values.pop("settings"), **values}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Plan:
        """Parse JSON values; raises KeyError or TypeError if they do not fit."""
        chosen = {key: values[key] for key in ("artifact_sha256", "alpha", "explain", "fdr")}
        chosen |= {key: values.get(key) for key in ("model_name", "model_version")}
        return cls(
            values["input"], Settings(**chosen, keep=tuple(values["keep"])), tuple(Kept(**k) for k in values["kept"]),
            {name: (identity, rows) for name, (identity, rows) in values["files"].items()},
            tuple(Unit(**u) for u in values["units"]),
        )  # fmt: skip


def data_files(location: str | Path, date: str | None = None) -> list[Input]:
    """The inputs of a location; raises DataError if they are the output of an earlier run."""
    inputs = list_inputs(location, date)
    for source in inputs:
        if not source.remote and (run := run_of(Path(source.path))):
            raise DataError(f"{run} is the output of a scoring run; name the data alone as --input, not {location}")
    return inputs


def make_plan(
    location: str, inputs: Sequence[Input], settings: Settings, kept: Sequence[Kept], old: Plan | None = None
) -> Plan:
    """Plan the units of the inputs. With an ``old`` plan, rows of unchanged files are not counted again.

    Every file has at least one unit, even without rows, so that its part shows the columns. Raises DataError for a
    corrupt file.
    """
    salt = json.dumps([settings.salt, [asdict(k) for k in kept]])
    known = {} if old is None else old.files
    files: dict[str, tuple[str, int]] = {}
    units: list[Unit] = []
    for source in inputs:
        identity = source.identity()
        before = known.get(source.name)
        rows = before[1] if before and before[0] == identity else source.count()
        files[source.name] = (identity, rows)
        most = EXAMPLES_PER_UNIT if source.holds_examples else ROWS_PER_UNIT
        for start in range(0, max(rows, 1), most):
            stop = min(start + most, rows)
            digest = hashlib.sha256(f"{salt}|{identity}|{start}|{stop}".encode()).hexdigest()[:20]
            units.append(Unit(digest, source.name, start, stop - start))
    return Plan(_place(location), settings, tuple(kept), files, tuple(units))


def _place(location: str) -> str:
    return location if "://" in location else str(Path(location).resolve())
