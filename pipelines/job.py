"""A job on disk: settings and the results of its steps. Steps pass folders and names to one another, never tables."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipelines.errors import UsageError
from pipelines.readers import JobData, check_real, read_data, read_domains
from pipelines.registry import Registry, check_name
from pipelines.settings import Settings
from serving.files import replacing

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

    def read(self, expected: str | None = None) -> JobData:
        """The data; raises DataError if its fingerprint is not ``expected``, that of the data in the first step."""
        found = _unchanged(read_data(self.settings.data), self.settings.data.path, expected)
        check_real(found, self.settings.data)
        found.recall(self.folder)
        return found

    def read_domains(self, expected: tuple[str, str] | tuple[None, None] = (None, None)) -> tuple[JobData, JobData]:
        """The data of a translator's domains a and b; raises DataError as ``read``."""
        data = self.settings.data
        a, b = read_domains(data)
        check_real(a, data)
        check_real(b, data.model_copy(update={"path": data.path_b}))
        return _unchanged(a, data.path, expected[0]), _unchanged(b, data.path_b, expected[1])


def _unchanged(found: JobData, path: str | None, expected: str | None) -> JobData:
    from ganlib.errors import DataError

    if expected is not None and found.fingerprint != expected:
        raise DataError(f"{path} changed while the job ran; run it again when nothing else writes to the data")
    return found
