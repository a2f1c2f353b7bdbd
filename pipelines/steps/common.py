"""What all jobs share: settings, a temporary job folder, the choice of a model, and how steps are run."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.card import card
from pipelines.errors import UsageError
from pipelines.job import Job
from pipelines.named import entry_of
from pipelines.registry import Logged, Registry
from pipelines.schemas import with_schema
from pipelines.settings import Settings, load_settings, with_date

if TYPE_CHECKING:
    from ganlib.registry import Entry
    from serving.artifact import Artifact

Report = Callable[[str], None]


def silent(text: str) -> None:
    """Report nothing."""


def direct(step: Callable[..., Any], *args: Any) -> Any:
    """Call a step in this process."""
    return step(*args)


@dataclass(frozen=True)
class Runner:
    """How a job reports its progress, and how it calls its steps; a flow passes one that calls them as tasks."""

    report: Report = silent
    call: Callable[..., Any] = direct


def settings_of(
    data: str | Path | None, *, label: str | None = None, normal: str | None = None, model: str | None = None,
    config: str | Path | None = None, overrides: Mapping[str, Any] | None = None, date: str | None = None,
) -> Settings:  # fmt: skip
    """Settings of a job: the configuration file, then ``overrides`` (dotted keys), then the other arguments."""
    given = {"data.path": None if data is None else str(data), "data.label": label, "data.normal": normal}
    given["data.date"] = date
    return load_settings(config, dict(overrides or {}) | given | {"model.name": model})


def enter(
    registry: Registry, job: Job, artifact: Artifact, logged: Logged, tags: Mapping[str, str], pictures: Iterable[str]
) -> dict[str, Any]:
    """Register a logged model with its tags and card, as a challenger; returns what ``Trained`` says of the version."""
    text = card(artifact, job.name, tags, logged.run_id, pictures)
    registry.describe(logged, text)
    version = registry.register(job.name, logged, tags, text).version
    kept = registry.resolve(f"models:/{job.name}/{version}")
    return {"name": job.name, "version": version, "run_id": logged.run_id, "artifact": str(kept.path)}


@contextmanager
def new_job(registry: Registry | None, settings: Settings, name: str) -> Iterator[Job]:
    """A job in a temporary folder, which is removed at the end.

    Raises UsageError if the name is not valid or the data is missing, ConfigError if the schema file is not valid.
    """
    settings = with_schema(with_date(settings))
    folder = Path(tempfile.mkdtemp(prefix=f"ganlib-{name}-"))
    try:
        yield Job.create(folder, name, settings, registry or Registry(settings=settings.registry))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


TASKS = ("detector", "augmenter", "translator")
_AN = {"augmenter": "an augmenter", "translator": "a translator"}
_DATA = {"table": "tables", "image": "images", "series": "series"}


def tasks_of(model: str) -> tuple[str, ...]:
    """The tasks for which a model can be trained; raises what ``entry_of`` raises."""
    return _able(entry_of(model))


def _able(found: Entry, modality: str | None = None) -> tuple[str, ...]:
    """The tasks that a model can do with a kind of data, or with any that jobs read."""
    if not set(found.modalities) & ({modality} if modality else _DATA.keys()):
        return ()
    able = {"detector": "scorer" in found.exports, "augmenter": True, "translator": True}
    return tuple(task for task, can in able.items() if can and task in found.tasks)


def model_for(model: str, task: str, modality: str | None = None) -> str:
    """The registry name of a model that does a task, given its name or ``module:NAME`` or ``FILE.py:NAME``.

    ``modality`` None accepts any kind of data that jobs read. Raises UsageError if it cannot do the task, and what
    ``entry_of`` raises.
    """
    if model == "auto" and task in ("detector", "augmenter"):
        return model  # a fusion of models
    found = entry_of(model)
    if task in (able := _able(found, modality)):
        return found.name
    other, kind = f"--task {able[0]} trains it; " if able else "", f" --modality {modality}" if modality else ""
    data = _DATA[modality] if modality else "tables, images or series"
    what = {"detector": "detect anomalies in", "augmenter": "generate", "translator": "translate"}[task]
    raise UsageError(
        f"model {model!r} does not {what} {data}; {other}`ganlib models --task {task}{kind}` lists those that do"
    )


def task_of(model: str | None, task: str | None, report: Report = silent, domains: bool = False) -> str:
    """The task to train for: ``task`` if given, else detector unless the model can only do another (reported).

    With two ``domains`` a translator is trained. Raises UsageError on another task or one that the model cannot do.
    """
    if task not in (None, *TASKS):
        raise UsageError(f"--task is {', '.join(TASKS[:-1])} or {TASKS[-1]}, not {task!r}")
    task = task or ("translator" if domains else None)
    if model is None or model == "auto":
        return task or "detector"
    able = tasks_of(model)
    chosen = task or (able[0] if able else "detector")
    model_for(model, chosen)
    if task is None and chosen != "detector":
        report(f"{model} is no detector but {_AN[chosen]}: {_AN[chosen]} is trained, as by --task {chosen}")
    return chosen
