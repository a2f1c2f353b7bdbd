"""A job on disk: settings and the results of its steps. Steps pass folders and names to one another, never tables."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipelines.errors import UsageError
from pipelines.registry import Registry, check_name
from pipelines.settings import Settings
from serving.files import replacing

if TYPE_CHECKING:
    import pandas as pd

Result = TypeVar("Result")


@dataclass(frozen=True)
class Job:
    """One training or augmenting run; the folder holds ``job.json`` and each step's results, never a data row."""

    folder: Path
    name: str
    settings: Settings
    uri: str

    @classmethod
    def create(cls, folder: str | Path, name: str, settings: Settings, registry: Registry) -> Job:
        """Write a new job; raises UsageError if the name is not valid or no data is named."""
        check_name(name)
        if not settings.data.path:
            raise UsageError("no data was named: give --data PATH, or data.path in the configuration")
        job = cls(Path(folder), name, settings, registry.uri)
        # A URI with a password is not written: the settings hold a reference to it.
        uri = None if settings.registry.tracking_uri.startswith(("env:", "file:")) else registry.uri
        job.save("job", {"name": name, "settings": settings.to_json(), "uri": uri})
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

    def save(self, step: str, result: Any) -> None:
        """Write a step's result, a dataclass or JSON values, to ``STEP.json``."""
        values = asdict(result) if is_dataclass(result) and not isinstance(result, type) else result
        with replacing(self.folder / f"{step}.json") as temporary:
            temporary.write_text(json.dumps(values, indent=1), encoding="utf-8")

    def load(self, step: str, kind: type[Result]) -> Result:
        """A step's result, as the dataclass that it was saved from."""
        return kind(**json.loads((self.folder / f"{step}.json").read_text(encoding="utf-8")))

    def table(self, expected: str | None = None) -> pd.DataFrame:
        """The data; raises DataError if its fingerprint is not ``expected``, that of the table in the first step."""
        from ganlib.errors import DataError

        path = str(self.settings.data.path)
        frame, mark = _read(path, _stamp(path))
        if expected is not None and mark != expected:
            raise DataError(f"{path} changed while the job ran; run it again when nothing else writes to the data")
        return frame

    def fingerprint(self) -> str:
        """sha-256 of the data's content."""
        path = str(self.settings.data.path)
        return _read(path, _stamp(path))[1]


def _stamp(path: str) -> tuple[str, ...]:
    """The identity of each of the data's files: it changes when a file is written."""
    from ganlib.data.read import files_of

    return tuple(source.identity() for source in files_of(path))


@lru_cache(maxsize=1)
def _read(path: str, stamp: tuple[Any, ...]) -> tuple[pd.DataFrame, str]:
    """The table and its fingerprint; the steps of one process read it once."""
    from ganlib.data.inference import check_frame
    from ganlib.data.read import read_table
    from ganlib.export import fingerprint

    frame = read_table(path)
    check_frame(frame)
    return frame, fingerprint(frame)
