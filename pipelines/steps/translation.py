"""Translating data by a registered or sealed translator: one counterpart of each row, marked as synthetic."""

from __future__ import annotations

from pathlib import Path

from pipelines.errors import UsageError
from pipelines.following import check_direction, followed, note_scored
from pipelines.readers.translations import Translations, translations
from pipelines.references import in_registry
from pipelines.registry import Registry, Resolved
from pipelines.results import Preview, Translated
from pipelines.sections import TranslateSettings
from pipelines.settings import Settings, with_date
from pipelines.steps.common import Runner
from serving.artifact import load_artifact
from serving.wording import counted


def translate(registry: Registry | None, settings: Settings, runner: Runner | None = None) -> Translated:
    """Write the counterparts of ``data.path`` by ``translate.model``, in the order of the rows.

    Tables get the boolean column ``_synthetic``, .npz files an array of that name, and PNG files say so in their names
    and metadata. ``registry`` None opens the one that the settings name, if the model is registered.

    Raises DataError (4), UsageError (2), IntegrityError (6), RegistryDown (5); the output is complete or absent.
    """
    settings, report = with_date(settings), (runner or Runner()).report
    if in_registry(str(settings.translate.model)):
        registry = registry or Registry(settings=settings.registry)
    found, made = _opened(registry, settings)
    report(f"translating {counted(len(made), 'row')} to domain {made.to} by {_named(found)}")
    made.write(report)
    if registry is not None and found.version:
        note_scored(registry, found)
    return Translated(str(settings.translate.output), len(made), made.to, found.name, found.version)


def plan_translation(registry: Registry | None, settings: Settings) -> Preview:
    """What ``translate`` would read and write, without doing so."""
    settings = with_date(settings)
    found, made = _opened(registry, settings)
    return Preview({"model": _named(found), "to": made.to, "rows": len(made), "output": settings.translate.output})


def _opened(registry: Registry | None, settings: Settings) -> tuple[Resolved, Translations]:
    """The model and the data, once the options are checked."""
    chosen, output = _request(settings)
    model = str(chosen.model)
    if in_registry(model):
        found = followed(registry or Registry(settings=settings.registry), model, chosen.to)
    else:
        found = Resolved(Path(model), "", model, "")
    artifact = load_artifact(found.path, found.sha256 or None)
    if artifact.kind != "translator":
        raise UsageError(f"{model} is a sealed {artifact.kind}, not a translator; `ganlib list` shows the tasks")
    check_direction(artifact, chosen.to, model)
    return found, translations(artifact, str(settings.data.path), output, settings.data.ids, chosen.spreadsheet_safe)


def _request(settings: Settings) -> tuple[TranslateSettings, Path]:
    """The options, checked as far as possible without the data; raises UsageError."""
    chosen = settings.translate
    needs = {"model": chosen.model, "data": settings.data.path, "output": chosen.output}
    if missing := [name for name, value in needs.items() if value is None]:
        keys = {"model": "translate.model", "data": "data.path", "output": "translate.output"}
        raise UsageError(f"--{missing[0]} is missing: give it, or {keys[missing[0]]} in the configuration (--config)")
    return chosen, Path(str(chosen.output))


def _named(found: Resolved) -> str:
    return f"{found.name} version {found.version}" if found.version else found.name
