"""A job on disk: its settings and what its steps leave for one another. Steps pass folders and ids, never tables."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import UsageError
from pipelines.registry import Registry, check_name
from pipelines.settings import Settings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Job:
    """One training or augmenting run; the folder holds ``job.json`` and each step's results, never a data row."""

    folder: Path
    name: str
    settings: Settings
    uri: str

    @classmethod
    def create(cls, folder: str | Path, name: str, settings: Settings, registry: Registry) -> Job:
        """Write a new job; raises UsageError on a bad name or absent data."""
        check_name(name)
        if not settings.data.path:
            raise UsageError("no data was named: give --data PATH, or data.path in the configuration")
        job = cls(Path(folder), name, settings, registry.uri)
        # A URI with a password is kept as the reference that the settings hold.
        uri = None if settings.registry.tracking_uri.startswith(("env:", "file:")) else registry.uri
        job.write("job", {"name": name, "settings": settings.to_json(), "uri": uri})
        return job

    @classmethod
    def open(cls, folder: str | Path) -> Job:
        """The job in a folder."""
        values = json.loads((Path(folder) / "job.json").read_text(encoding="utf-8"))
        settings = Settings.model_validate(values["settings"])
        return cls(Path(folder), values["name"], settings, values["uri"] or settings.registry.uri())

    @property
    def data(self) -> str:
        """The last part of the data's location, for records: a path may name people and machines."""
        return Path(str(self.settings.data.path)).name

    def registry(self) -> Registry:
        """The registry that this job writes to."""
        return Registry(self.uri, self.settings.registry)

    def write(self, step: str, values: Any) -> None:
        """Keep a step's result as JSON."""
        target = self.folder / f"{step}.json"
        temporary = target.with_suffix(".tmp")
        temporary.write_text(json.dumps(values, indent=1), encoding="utf-8")
        temporary.replace(target)

    def read(self, step: str) -> Any:
        """A step's result."""
        return json.loads((self.folder / f"{step}.json").read_text(encoding="utf-8"))

    def table(self, expected: str | None = None) -> pd.DataFrame:
        """The data; raises DataError where it is not the table that the first step saw (``expected`` fingerprint)."""
        from ganlib.errors import DataError

        path = str(self.settings.data.path)
        frame, mark = _read(path, _stamp(path))
        if expected is not None and mark != expected:
            raise DataError(f"{path} changed while the job ran; start again when nobody writes to it")
        return frame

    def fingerprint(self) -> str:
        """sha-256 of the data's content."""
        path = str(self.settings.data.path)
        return _read(path, _stamp(path))[1]


def _stamp(path: str) -> tuple[str, ...]:
    """What shows whether the data was written to since it was read: the identity of each of its files."""
    from ganlib.data.read import files_of

    return tuple(source.identity() for source in files_of(path))


@lru_cache(maxsize=1)
def _read(path: str, stamp: tuple[Any, ...]) -> tuple[pd.DataFrame, str]:
    """The steps of one process share one reading of the table."""
    from ganlib.data.inference import check_frame
    from ganlib.data.read import read_table
    from ganlib.export import fingerprint

    frame = read_table(path)
    check_frame(frame)
    return frame, fingerprint(frame)
