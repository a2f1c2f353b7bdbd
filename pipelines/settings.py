"""One YAML configuration per job: validated, overridable, and able to say where each value came from.

Precedence, highest first: command line, ``GANLIB__SECTION__KEY`` in the environment, the file, MLflow's own
``MLFLOW_TRACKING_*`` variables, defaults. Secrets are never written into it: they are named by reference,
``env:NAME`` or ``file:PATH``, and read at the moment of use.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Self, Union, get_args, get_origin

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from pipelines.errors import UsageError
from pipelines.files import read_yaml
from pipelines.references import Local, Model, Place, Reference, Uri, reveal
from serving.secrets import holds_secret, remember, without_secrets
from serving.table.documents import parse_yaml

PREFIX = "GANLIB__"
MASK = "**********"
# What MLflow itself reads; it stands between the file and our defaults.
MLFLOW_VARIABLES = {"MLFLOW_TRACKING_URI": "registry.tracking_uri"}
# What MLflow reads by itself, and we only must not show.
MLFLOW_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


def _text(value: Any) -> Any:
    """YAML reads ``normal: false`` and ``normal: 0`` as such; a label value is text."""
    return ("true" if value else "false") if isinstance(value, bool) else value


def _number(value: Any) -> Any:
    """``true`` is no number, though Python counts it as 1."""
    if isinstance(value, bool):
        raise ValueError("a number, without quotes, is needed here")
    return value


def _day(value: Any) -> Any:
    """YAML reads a day as one; here it is text."""
    return value.isoformat() if isinstance(value, date) else value


Day = Annotated[str, BeforeValidator(_day)]
Text = Annotated[str, BeforeValidator(_text)]
# A whole number, and a number that is finite; true and false are neither.
Whole = Annotated[int, BeforeValidator(_number)]
Real = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Share = Annotated[Real, Field(gt=0, lt=1)]
Alpha = Annotated[Real, Field(ge=1e-12, lt=1)]
Limit = Annotated[Real, Field(ge=0, le=1)]
Count = Annotated[Whole, Field(ge=1)]


def _revealed(text: str) -> str:
    """A text, or what its reference stands for."""
    secret = reveal(text) if text.startswith(("env:", "file:")) else None
    return text if secret is None else secret.get_secret_value()


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class DataSettings(Section):
    """Which table, and how its rows are parted before anything is fitted."""

    path: Place | None = Field(None, description="File, folder, glob or URL; {date} stands for the date.")
    date: Day | None = Field(
        None, description="YYYY-MM-DD for {date} in data.path and augment.output; the day it runs if empty."
    )
    label: str | None = Field(None, description="Column of known anomalies (detectors) or classes (augmenters).")
    normal: Text | None = Field(
        None, description="Label value of normal rows. Default: 0, false or normal, else the majority value."
    )
    group: str | None = Field(None, description="Column whose values get calibration tables of their own.")
    timezone: str = Field("UTC", description="Time zone in which times without one are read.")
    schema_file: Local | None = Field(None, description="A reviewed schema.yaml; inferred from training rows if empty.")
    drop: tuple[str, ...] = Field((), description="Columns to leave out.")
    ids: tuple[str, ...] = Field((), description="Columns that identify rows: not used.")
    split: Literal["hash", "group", "time"] = Field("hash", description="Rows are parted by content, group or time.")
    split_column: str | None = Field(None, description="Column for a split by group or time.")
    validation_fraction: Share = Field(0.15, description="Share of normal rows by which candidates are compared.")
    test_fraction: Share = Field(0.15, description="Share of normal rows that only report.")


class ModelSettings(Section):
    """What is trained."""

    name: str = Field("auto", description="auto compares the candidates below; or one registry name (`ganlib models`).")
    candidates: tuple[str, ...] = Field(
        ("ganomaly", "vae", "reconstruction_vae"), min_length=1, description="Models that auto trains and compares."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Further options of the model; needs one name.")


class TrainingSettings(Section):
    """How long and on what."""

    epochs: Count | None = Field(None, description="Passes over the data; chosen from its size if empty.")
    steps: Count | None = Field(None, description="Updates in all; wins over epochs.")
    batch_size: Count = Field(128, description="Rows per update.")
    learning_rate: Annotated[Real, Field(gt=0, le=1)] | None = Field(None, description="The model's own if empty.")
    latent_dim: Annotated[Whole, Field(ge=1, le=100_000)] | None = Field(
        None, description="Width of the latent space; chosen from the data if empty."
    )
    patience: Annotated[Whole, Field(ge=0)] = Field(
        12, description="Validations without gain before it stops; 0: never."
    )
    random_state: Annotated[Whole, Field(ge=0, lt=1 << 32)] = Field(0, description="Seed of splits, weights and draws.")
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu or cuda:N.")


class CalibrationSettings(Section):
    """How scores become p-values and alarms."""

    alpha: Alpha = Field(0.01, description="Alarm budget: share of normal rows that may alarm.")
    fraction: Share = Field(0.2, description="Share of the training rows held back for calibration.")


class RegistrySettings(Section):
    """Where models live."""

    tracking_uri: Uri = Field(
        "sqlite:///runs/mlflow.db",
        description="MLflow database or server; env:NAME or file:PATH where it holds a password.",
    )
    artifacts: Place | None = Field(None, description="Artifact store of a SQLite database; beside it if empty.")
    experiment: str = Field("ganlib-training", min_length=1, description="Experiment of the training runs.")
    username: str | None = Field(None, description="User at an MLflow server with basic authentication.")
    password: Reference | None = Field(None, description="Password, by reference: env:NAME or file:PATH.")
    token: Reference | None = Field(None, description="Bearer token, by reference: env:NAME or file:PATH.")
    retries: Annotated[Whole, Field(ge=1, le=20)] = Field(3, description="Attempts before the registry counts as down.")
    timeout: Annotated[Whole, Field(ge=1)] = Field(30, description="Seconds that a server may take to answer.")
    cache: Local | None = Field(None, description="Folder of downloaded artifacts; chosen by itself if empty.")
    gates: Local | None = Field(None, description="Gates file of promotions; the shipped policy if empty.")

    def uri(self) -> str:
        """The tracking URI itself, its reference resolved."""
        return _revealed(self.tracking_uri)


class ScoreSettings(Section):
    """Batch scoring."""

    model: Model | None = Field(None, description="models:/NAME@ALIAS, models:/NAME/VERSION or FILE.onnx.")
    input: Place | None = Field(None, description="File, folder, glob or URL; {date} stands for the date.")
    output: Local | None = Field(None, description="Folder of the score parts and _manifest.json; {date} as above.")
    alpha: Alpha | None = Field(None, description="Alarm budget; the model's own if empty.")
    fdr: Share | None = Field(None, description="Also mark rows by this false discovery rate; not at all if empty.")
    explain: bool = Field(False, description="Add one contribution column per feature.")
    keep: tuple[str, ...] | None = Field(
        None, description="Columns that each score row carries; the identifiers of the model's schema if empty."
    )
    bad_rows: Literal["keep", "stop"] = Field("keep", description="Keep rows that cannot be scored aside, or stop.")
    max_bad_share: Limit = Field(0.1, description="Exit 4 if more than this share of the rows cannot be scored.")
    require_rows: bool = Field(False, description="Exit 4 if the input, or a file of it, has no rows.")
    max_alarm_share: Limit | None = Field(
        None, description="Exit 4 after writing if more rows alarm; no limit if empty."
    )
    max_missing_share: Limit | None = Field(
        None, description="The same if more values of a column are missing or non-finite."
    )
    date: Day | None = Field(None, description="YYYY-MM-DD for {date} in input and output; the day it runs if empty.")
    workers: Count = Field(1, description="Processes that share the units of the input.")
    wait: Annotated[Real, Field(ge=0)] = Field(0.0, description="Seconds to wait for another run of the same folder.")


class StreamSettings(Section):
    """Streaming scores."""

    model: Model | None = Field(None, description="models:/NAME@ALIAS, models:/NAME/VERSION or FILE.onnx.")
    input: Place | None = Field(None, description="- for stdin, a growing file, or sqlite:PATH.")
    output: Local | None = Field(None, description="Scores: FILE.db or FILE.jsonl.")
    alpha: Alpha | None = Field(None, description="Alarm budget; the model's own if empty.")
    fdr: Share | None = Field(None, description="Also mark rows by this false discovery rate; not at all if empty.")
    explain: bool = Field(False, description="Add contributions per feature.")
    max_rows: Count = Field(512, description="Largest micro-batch.")
    deadline: Annotated[Real, Field(gt=0)] = Field(0.2, description="Seconds that a row may wait for its batch.")
    on_alarm: Uri | None = Field(
        None, description="Program or URL that is given each anomaly; env:NAME or file:PATH where it holds a password."
    )

    def alarm_hook(self) -> str | None:
        """The hook itself, its reference resolved."""
        return None if self.on_alarm is None else _revealed(self.on_alarm)


class AugmentSettings(Section):
    """Synthetic rows."""

    model: Model = Field(
        "cvae_gan", description="A generator (`ganlib models --task augmenter`), or a sealed augmenter."
    )
    rows: Count | None = Field(None, description="Synthetic rows in all; balances if empty.")
    condition: Text | None = Field(None, description="Only rows of this class.")
    only_synthetic: bool = Field(False, description="Leave the real rows out of the output.")
    spreadsheet_safe: bool = Field(
        False, description="CSV: an apostrophe before generated text that a spreadsheet would run as a formula."
    )
    gate: Literal["on", "report", "off"] = Field("report", description="What the gate on measured lift does.")
    repeats: Annotated[Whole, Field(ge=2, le=100)] = Field(5, description="Splits over which the lift is measured.")
    output: Local | None = Field(None, description="CSV, TSV or Parquet file to write; {date} as in data.path.")


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

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _shares_leave_rows(self) -> Self:
        held = self.data.validation_fraction + self.data.test_fraction
        if held >= 1:
            raise ValueError(f"data.validation_fraction and data.test_fraction leave no rows to train on: {held:g}")
        if self.data.split != "hash" and self.data.split_column is None:
            raise ValueError(f"data.split={self.data.split} needs data.split_column")
        if self.model.options and self.model.name == "auto":
            raise ValueError("model.options need one model: set model.name to a registry name")
        return self

    def detector_parameters(self) -> dict[str, Any]:
        """Constructor parameters of a detector."""
        training, calibration = self.training, self.calibration
        chosen = training.model_dump() | {"alpha": calibration.alpha, "calibration_fraction": calibration.fraction}
        return chosen | {"group": self.data.group} | self.model.options

    def augmenter_parameters(self) -> dict[str, Any]:
        """Constructor parameters of an augmenter."""
        return self.training.model_dump() | self.model.options

    def to_json(self) -> dict[str, Any]:
        """JSON values; secrets stay references."""
        return self.model_dump(mode="json")


def load_settings(path: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the file, the environment and ``overrides`` (dotted keys, as ``training.epochs``) into one Settings.

    None among the overrides means "not given". Raises UsageError (exit 2) naming the file, variable or option, the
    key and the mend.
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

    Raises UsageError where data.date is no day.
    """
    from serving.inputs import place_date

    data, augment = settings.data, settings.augment
    path, output = (None if text is None else place_date(text, data.date) for text in (data.path, augment.output))
    changed = {"data": data.model_copy(update={"path": path}), "augment": augment.model_copy(update={"output": output})}
    placed = settings.model_copy(update=changed)
    placed._sources.update(settings._sources)
    return placed


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
    """A key may stand where sections do: its place among them is then named."""
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
    """All faults in one line; secrets are not repeated."""
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
