"""One YAML configuration per job: validated, overridable, with the source of each value.

Precedence, highest first: command line, ``GANLIB__SECTION__KEY`` in the environment, the file, MLflow's own
``MLFLOW_TRACKING_*`` variables, defaults. Secrets are given by reference, ``env:NAME`` or
``file:PATH``, and read when they are used.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Self, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError, model_validator

from pipelines.errors import UsageError
from pipelines.files import read_yaml
from pipelines.sections import (
    AugmentSettings,
    CalibrationSettings,
    DataSettings,
    ModelSettings,
    RegistrySettings,
    ScoreSettings,
    Section,
    StreamSettings,
    TrainingSettings,
    TranslateSettings,
)
from serving.secrets import holds_secret, remember, without_secrets
from serving.table.documents import parse_yaml

PREFIX = "GANLIB__"
MASK = "**********"
# MLflow's variables that set a key; they rank between the file and our defaults.
MLFLOW_VARIABLES = {"MLFLOW_TRACKING_URI": "registry.tracking_uri"}
# Variables that MLflow reads itself; their values are masked in all output.
MLFLOW_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


class Origin(NamedTuple):
    """One resolved value: dotted key, value (secrets masked) and where it came from."""

    key: str
    value: Any
    source: str


class Settings(BaseModel):
    """The whole configuration of a job; every section may be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    registry: RegistrySettings = RegistrySettings()
    score: ScoreSettings = ScoreSettings()
    stream: StreamSettings = StreamSettings()
    augment: AugmentSettings = AugmentSettings()
    translate: TranslateSettings = TranslateSettings()

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _shares_leave_rows(self) -> Self:
        held = self.data.validation_fraction + self.data.test_fraction
        if held >= 1:
            raise ValueError(f"data.validation_fraction and data.test_fraction leave no rows to train on: {held:g}")
        if self.data.split != "hash" and self.data.split_column is None:
            raise ValueError(f"data.split={self.data.split} needs data.split_column")
        if self.data.time is None:
            given = [name for name in ("key", "window", "stride") if getattr(self.data, name) is not None]
            if given:
                raise ValueError(f"data.{given[0]} (--{given[0]}) needs data.time (--time), the column of times")
        if self.data.level == "key" and self.data.key is None:
            raise ValueError("data.level=key (--level) needs data.key (--key), the column that separates machines")
        if self.data.time is not None and self.data.window is None:
            raise ValueError("data.time (--time) needs data.window (--window), the number of rows of a window")
        if self.model.options and self.model.name == "auto":
            raise ValueError("model.options need one model: set model.name to a registry name")
        return self

    def detector_parameters(self) -> dict[str, Any]:
        """Constructor parameters of a detector."""
        training, calibration = self.training, self.calibration
        chosen = training.parameters() | {"alpha": calibration.alpha, "calibration_fraction": calibration.fraction}
        return chosen | {"tile": self.model.tile} | self.model.options

    def augmenter_parameters(self) -> dict[str, Any]:
        """Constructor parameters of an augmenter; raises UsageError on those of one model for ``auto``."""
        given = self.training.parameters() | self.model.options
        if self.augment.model != "auto":
            return given
        for option in ("learning_rate", "latent_dim"):
            if given.pop(option) is not None:
                raise UsageError(f"training.{option} is of one model, and auto fuses several: name one by --model")
        return given | {"compare": False}  # the flows compare themselves

    def translator_parameters(self) -> dict[str, Any]:
        """Constructor parameters of a translator, and options of its model."""
        given = self.training.parameters()
        if given["latent_dim"] is None:  # an option of few translators
            del given["latent_dim"]
        return given | self.model.options

    def to_json(self) -> dict[str, Any]:
        """JSON values; secrets stay references."""
        return self.model_dump(mode="json")


def load_settings(path: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the file, the environment and ``overrides`` (dotted keys, as ``training.epochs``) into one Settings.

    None among the overrides means "not given". Raises UsageError (exit 2) naming the file, variable or option, the
    key and the fix.
    """
    tree: dict[str, dict[str, Any]] = {}
    sources: dict[str, str] = {}
    for variable, key in MLFLOW_VARIABLES.items():
        if os.environ.get(variable):
            _put(tree, sources, key, os.environ[variable], variable)
    for key, value in _file_values(path):
        _put(tree, sources, key, value, str(path))
    for variable, key, text in _environment():
        _put(tree, sources, key, _parse(key, text), variable)
    for key, value in _options(overrides or {}):
        _put(tree, sources, key, value, "command line")
    uri, source = tree.get("registry", {}).get("tracking_uri"), sources.get("registry.tracking_uri", "")
    if source in os.environ and holds_secret(str(uri)):
        tree["registry"]["tracking_uri"] = f"env:{source}"  # the variable may hold a password; a setting may not
    for name in MLFLOW_SECRETS:
        remember(os.environ.get(name, ""))
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        raise UsageError(_explain(error, sources)) from None
    settings._sources.update(sources)
    return settings


def with_date(settings: Settings) -> Settings:
    """The settings with ``{date}`` filled in once, so that a job that runs past midnight keeps its day.

    Raises UsageError if data.date is no day.
    """
    from serving.inputs import place_date

    data, changed = settings.data, {}
    for section, names in (("data", ("path", "path_b")), ("augment", ("output",)), ("translate", ("output",))):
        chosen = getattr(settings, section)
        texts = {name: text for name in names if (text := getattr(chosen, name)) is not None}
        placed = {name: place_date(text, data.date) for name, text in texts.items()}
        changed[section] = chosen.model_copy(update=placed)
    dated = settings.model_copy(update=changed)
    dated._sources.update(settings._sources)
    return dated


def _put(tree: dict[str, dict[str, Any]], sources: dict[str, str], key: str, value: Any, source: str) -> None:
    section, name = key.split(".", 1)
    tree.setdefault(section, {})[name] = value
    sources[key] = source


def _file_values(path: str | Path | None) -> Iterator[tuple[str, Any]]:
    if path is None:
        return
    values = read_yaml(path, "configuration", "`ganlib config init FILE` writes one")
    if values is None:
        return
    if not isinstance(values, dict):
        raise UsageError(f"configuration {path} holds no sections; `ganlib config init` writes one")
    for section, content in values.items():
        if str(section) not in Settings.model_fields:
            raise UsageError(f"configuration {path}: {_unknown_section(str(section))}")
        if content is not None and not isinstance(content, dict):
            raise UsageError(f"configuration {path}: section {section!r} must hold keys and values, not {content!r}")
        for name, value in (content or {}).items():
            _check_key(f"{section}.{name}", f"configuration {path}")
            yield f"{section}.{name}", value


def _environment() -> Iterator[tuple[str, str, str]]:
    for variable, text in sorted(os.environ.items()):
        if variable.startswith(PREFIX):
            key = ".".join(variable[len(PREFIX) :].lower().split("__", 1))
            _check_key(key, f"environment variable {variable}")
            yield variable, key, text


def _options(overrides: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in overrides.items():
        if value is None:
            continue
        _check_key(key, f"option {key}")
        if value == "":  # often a variable of a script that is not set
            raise UsageError(f"the option for {key} is empty; give a value, or leave the option out")
        yield key, _parse(key, value) if isinstance(value, str) else value


def _check_key(key: str, where: str) -> None:
    section, _, name = key.partition(".")
    if section not in Settings.model_fields:
        raise UsageError(f"{where}: {_unknown_section(section)}")
    fields = _section(section).model_fields
    if name not in fields:
        raise UsageError(f"{where}: {_unknown(name, fields, f'key in section {section}')}")


def _unknown(name: str, known: Mapping[str, Any], what: str) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else _elsewhere(name) or f"there are {', '.join(known)}"
    return f"there is no {what} called {name!r}; {hint}"


def _unknown_section(name: str) -> str:
    """An unknown section; if it is the name of a key, the message names the key's section."""
    near_section = difflib.get_close_matches(name, Settings.model_fields, n=1)
    hint = "" if near_section else _elsewhere(name)
    return f"there is no section called {name!r}; {hint}" if hint else _unknown(name, Settings.model_fields, "section")


def _elsewhere(name: str) -> str:
    """The sections that hold a key of this name, or of the closest one, as a question."""
    keys = [(section, key) for section in Settings.model_fields for key in _section(section).model_fields]
    close = difflib.get_close_matches(name, {key for _, key in keys}, n=1, cutoff=0.75)
    return f"did you mean {' or '.join(f'{s}.{k}' for s, k in keys if k in close)}?" if close else ""


def _section(name: str) -> type[Section]:
    return Settings.model_fields[name].annotation  # type: ignore[return-value]


def _parse(key: str, text: str) -> Any:
    """A value from the environment or the command line: text stays text, anything else is read as YAML."""
    section, name = key.split(".", 1)
    field = _section(section).model_fields[name]
    if _is_text(field.annotation):
        return None if text == "" and type(None) in get_args(field.annotation) else text
    try:
        return parse_yaml(text)
    except ValueError:
        return text


def _is_text(annotation: Any) -> bool:
    """Whether an annotation is str, possibly annotated or optional."""
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return any(
            _is_text(part) for part in get_args(annotation)[: 1 if get_origin(annotation) is Annotated else None]
        )
    return annotation is str or get_origin(annotation) is Literal


def _explain(error: ValidationError, sources: Mapping[str, str]) -> str:
    """All faults in one line, without secrets."""
    parts = []
    for fault in error.errors(include_url=False):
        key = ".".join(str(part) for part in fault["loc"])
        source = next((s for k, s in sources.items() if key == k or key.startswith(k + ".")), "")
        reason = fault["msg"].removeprefix("Value error, ")
        shown = (
            ""
            if _is_secret(key) or "secret" in reason or not key
            else f", not {without_secrets(str(fault['input']))[:60]!r}"
        )
        parts.append(f"{key or 'configuration'}: {reason}{shown}" + (f" (from {source})" if source else ""))
    return "; ".join(parts)


def _is_secret(key: str) -> bool:
    section, _, name = key.partition(".")
    if section not in Settings.model_fields or name not in (fields := _section(section).model_fields):
        return False
    return "secret" in json.dumps(_section(section).model_json_schema()["properties"][name]) and name in fields


def resolved(settings: Settings) -> list[Origin]:
    """Every value with its source: default, a file, a variable or the command line. Secrets are masked."""
    rows = []
    for section in Settings.model_fields:
        for name, value in getattr(settings, section).model_dump(mode="json").items():
            key = f"{section}.{name}"
            shown = value
            if value is not None and (_is_secret(key) or (isinstance(value, str) and value.startswith("env:"))):
                shown = f"{value.partition(':')[0]}:{value.partition(':')[2]} -> {MASK}"
            rows.append(Origin(key, shown, settings._sources.get(key, "default")))
    return rows


def schema_json() -> str:
    """The JSON Schema of the configuration, for editors."""
    return json.dumps(Settings.model_json_schema(), indent=2)


def commented_yaml() -> str:
    """A file with every default and what it is for; reading it back gives the defaults."""
    lines = [
        "# Configuration of ganlib. Every key may be left out; these are the defaults.",
        "# GANLIB__SECTION__KEY in the environment overrides a key, options of the command override both.",
    ]
    defaults = Settings().to_json()
    for section, info in Settings.model_fields.items():
        lines += ["", f"# {(info.annotation.__doc__ or '').strip()}", f"{section}:"]
        for name, field in _section(section).model_fields.items():
            value = yaml.safe_dump(defaults[section][name], default_flow_style=True, width=10_000)
            lines += [f"  # {field.description}", f"  {name}: {value.removesuffix('...' + chr(10)).strip()}"]
    return "\n".join(lines) + "\n"
