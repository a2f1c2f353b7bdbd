"""The sections of a job's configuration: keys, types, defaults and descriptions."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from ganlib.config import Count, Number, Rate, Share, Weight, Whole
from pipelines.references import Local, Model, Place, Reference, StreamOutput, Uri, reveal


def _text(value: Any) -> Any:
    """A label value is text, but YAML reads ``normal: false`` as a boolean."""
    return ("true" if value else "false") if isinstance(value, bool) else value


def _day(value: Any) -> Any:
    """A day is text, but YAML reads it as a date."""
    return value.isoformat() if isinstance(value, date) else value


Day = Annotated[str, BeforeValidator(_day)]
Text = Annotated[str, BeforeValidator(_text)]
Part = Annotated[Number, Field(gt=0, lt=1)]
Alpha = Annotated[Number, Field(ge=1e-12, lt=1)]
Limit = Annotated[Number, Field(ge=0, le=1)]


def _revealed(text: str) -> str:
    """A text, or the secret that it refers to."""
    secret = reveal(text) if text.startswith(("env:", "file:")) else None
    return text if secret is None else secret.get_secret_value()


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values are immutable, ``true`` is not the number 1."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        kinds = _kinds(cls.model_fields[str(info.field_name)]) if isinstance(value, bool) else set()
        if kinds & {int, float} and bool not in kinds:
            raise ValueError("a number, without quotes, is needed here")
        return value


def _kinds(hint: Any) -> set[Any]:
    """The plain types in an annotation."""
    inner = hint.annotation if isinstance(hint, FieldInfo) else hint
    args = get_args(inner)[:1] if get_origin(inner) is Annotated else get_args(inner)
    return {inner} if not args else {kind for arg in args for kind in _kinds(arg)}


class DataSettings(Section):
    """The table, and how its rows are split before anything is fitted."""

    path: Place | None = Field(None, description="File, folder, glob or URL; {date} stands for the date.")
    path_b: Place | None = Field(None, description="Translators: examples of domain b; data.path holds domain a.")
    pairs: bool = Field(
        False, description="Translators: examples of both domains belong together, by file name or in one order."
    )
    date: Day | None = Field(
        None, description="YYYY-MM-DD for {date} in the data's paths and in outputs; the day it runs if empty."
    )
    modality: Literal["image", "series"] | None = Field(
        None, description="What arrays of numbers are, if they could be either; a table or images are recognised."
    )
    time: str | None = Field(
        None, description="Column of times: the rows are readings, and detectors read windows of data.window rows."
    )
    key: str | None = Field(None, description="With data.time: column that separates machines; one if empty.")
    window: Annotated[int, Field(ge=4)] | None = Field(None, description="With data.time: rows of a window.")
    stride: Count | None = Field(
        None, description="With data.time: rows from one training window to the next; a quarter window if empty."
    )
    largest_gap: Annotated[Number, Field(ge=1)] = Field(
        5.0, description="With data.time: usual steps between rows above which a window does not go on."
    )
    level: Literal["auto", "key", "none"] = Field(
        "auto",
        description="With data.key: key reads windows relative to the level of each key, none as they are; auto: key "
        "if each key has enough rows.",
    )
    label: str | None = Field(None, description="Column of known anomalies (detectors) or classes (augmenters).")
    normal: Text | None = Field(
        None, description="Label value of normal rows. Default: 0, false or normal, else the majority value."
    )
    group: str | None = Field(None, description="Column whose values are calibrated separately.")
    timezone: str = Field("UTC", description="Time zone in which times without one are read.")
    schema_file: Local | None = Field(None, description="A reviewed schema.yaml; inferred from training rows if empty.")
    schema_file_b: Local | None = Field(None, description="The same of domain b, for translators.")
    drop: tuple[str, ...] = Field((), description="Columns to leave out.")
    ids: tuple[str, ...] = Field((), description="Columns that identify rows: not used.")
    split: Literal["hash", "group", "time"] = Field("hash", description="Rows are split by content, group or time.")
    split_column: str | None = Field(None, description="Column for a split by group or time.")
    validation_fraction: Part = Field(0.15, description="Share of normal rows for comparing candidates.")
    test_fraction: Part = Field(0.15, description="Share of normal rows for the reported figures.")


class ModelSettings(Section):
    """Which models are trained."""

    name: str = Field(
        "auto",
        description="auto fuses several detectors; or one detector or translator: a name (`ganlib models`), "
        "FILE.py:CLASS or module:CLASS.",
    )
    candidates: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        None,
        description="Models to compare where validation rows hold known anomalies, to fuse otherwise; a few for the "
        "kind of data, fused, if empty.",
    )
    contamination: Share | Literal["auto"] = Field(
        "auto", description="auto: share of training rows to drop as suspect; auto: those far outside."
    )
    budget: str | None = Field(None, description="auto: time for training, such as 30s or 10min; none if empty.")
    tile: Count | None = Field(
        None,
        description="Images: side in pixels of tiles, of which the most anomalous decides; if empty, 128 for images "
        "with a side above 256, else no tiles.",
    )
    tune: Count | None = Field(
        None, description="Trials that search the options of one detector by known anomalies; none if empty."
    )
    studies: Local = Field("runs/tuning", description="Folder of the trials, from which the same job goes on.")
    options: dict[str, Any] = Field(default_factory=dict, description="Further options of the model; needs one name.")


class TrainingSettings(Section):
    """Training, as in TrainerConfig; an empty key is the model's own, or chosen from the data."""

    epochs: Count | None = Field(None, description="Passes over the data; chosen from its size if empty.")
    steps: Count | None = Field(None, description="Updates in all; wins over epochs.")
    batch_size: Count | None = Field(None, description="Rows per update; the model's own if empty, mostly 128.")
    learning_rate: Annotated[Number, Field(gt=0, le=1)] | None = Field(None, description="The model's own if empty.")
    latent_dim: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="Width of the latent space; chosen from the data if empty."
    )
    patience: Whole | None = Field(
        None, description="Validations without gain before it stops; 0: never; 12 for detectors, 10 for generators."
    )
    random_state: Annotated[int, Field(ge=0, lt=1 << 32)] = Field(0, description="Seed of splits, weights, samples.")
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu or cuda:N.")
    precision: Literal["auto", "fp32", "bf16"] | None = Field(
        None, description="bf16 autocasts on CUDA; auto does so there; fp32 does not."
    )
    compile: bool | None = Field(None, description="Compile the networks (CUDA only).")
    deterministic: bool | None = Field(None, description="Use only operations that repeat bit by bit.")
    gradient_clip: Weight | None = Field(
        None, description="Largest global norm of an update's gradient; 0: none; 5 if empty."
    )
    gradient_norms: bool | None = Field(None, description="Log the norm of each update's gradient.")
    ema: Share | None = Field(None, description="Decay of the averaged weights; 0: none; 0.99 if empty.")
    schedule: Literal["constant", "linear", "cosine"] | None = Field(
        None, description="How learning rates fall to 0 over each stage; constant: they do not."
    )
    decay_from: Share | None = Field(None, description="Share of the steps from which the rates fall.")
    warm_up: Whole | None = Field(None, description="Steps over which the rates rise at first.")
    min_delta: Number | None = Field(None, description="Relative gain that counts as better when validating.")
    validate_every: Count | None = Field(None, description="Epochs between validations; about 50 steps if empty.")
    checkpoint: Local | None = Field(None, description="File to resume from, and to write; needs one model.")
    checkpoint_every: Count | None = Field(None, description="Epochs between checkpoints.")
    distributed: Literal["auto", "off"] | None = Field(None, description="off: alone, even under torchrun.")
    threads: Count | Literal["auto"] | None = Field(None, description="Threads of torch on a CPU; auto measures.")

    def parameters(self) -> dict[str, Any]:
        """Constructor parameters of an estimator: those of its own, and the other options that are given as trainer."""
        values = self.model_dump()
        own = {name: values.pop(name) for name in _OWN}
        stated = {name: value for name, value in values.items() if value is not None}
        return own | ({"trainer": stated} if stated else {})


# Parameters that estimators have by themselves.
_OWN = ("epochs", "steps", "batch_size", "learning_rate", "latent_dim", "patience", "random_state", "device")


class CalibrationSettings(Section):
    """How scores become p-values and alarms."""

    alpha: Alpha = Field(0.01, description="Alarm budget: share of normal rows that may alarm.")
    fraction: Part = Field(0.2, description="Share of the training rows held out for calibration.")


class RegistrySettings(Section):
    """The model registry."""

    tracking_uri: Uri = Field(
        "sqlite:///runs/mlflow.db",
        description="MLflow database or server; env:NAME or file:PATH if it holds a password.",
    )
    artifacts: Place | None = Field(None, description="Artifact store of a SQLite database; beside it if empty.")
    experiment: str = Field("ganlib-training", min_length=1, description="Experiment of the training runs.")
    username: str | None = Field(None, description="User at an MLflow server with basic authentication.")
    password: Reference | None = Field(None, description="Password, by reference: env:NAME or file:PATH.")
    token: Reference | None = Field(None, description="Bearer token, by reference: env:NAME or file:PATH.")
    retries: Annotated[int, Field(ge=1, le=20)] = Field(3, description="Attempts before the registry counts as down.")
    timeout: Annotated[int, Field(ge=1)] = Field(30, description="Seconds that a server may take to answer.")
    cache: Local | None = Field(None, description="Folder of downloaded artifacts; chosen automatically if empty.")
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
    fdr: Part | None = Field(None, description="Also mark rows by this false discovery rate; not at all if empty.")
    explain: bool = Field(False, description="Say why: a contribution per feature; of images and series, a map.")
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
    max_drift: Weight | None = Field(
        None, description="The same if a column's stability index against training exceeds this and chance."
    )
    date: Day | None = Field(None, description="YYYY-MM-DD for {date} in input and output; the day it runs if empty.")
    workers: Count | None = Field(
        None, description="Processes that share the units of the input; 1 if empty, with ray one for each CPU."
    )
    executor: Literal["local", "ray"] = Field(
        "local", description="Where units are scored: on this machine, or by actors of a Ray cluster (RAY_ADDRESS)."
    )
    require_gpu: bool = Field(False, description="Exit 2 if a process that scores has no GPU.")
    wait: Weight = Field(0.0, description="Seconds to wait for another run of the same folder.")


class StreamSettings(Section):
    """Streaming scores."""

    model: Model | None = Field(None, description="models:/NAME@ALIAS, models:/NAME/VERSION or FILE.onnx.")
    input: Uri | None = Field(
        None,
        description="- for stdin, a growing file, sqlite:PATH or redis://HOST:PORT/DB/KEY; env:NAME or file:PATH if it "
        "holds a password.",
    )
    output: StreamOutput | None = Field(
        None,
        description="Scores: FILE.db, FILE.jsonl, or for a Redis stream redis://HOST:PORT/DB/KEY of the same server.",
    )
    alpha: Alpha | None = Field(None, description="Alarm budget; the model's own if empty.")
    fdr: Part | None = Field(None, description="Also mark rows by this false discovery rate; not at all if empty.")
    explain: bool = Field(False, description="Say why: contributions per feature; of images and series, words.")
    max_rows: Count = Field(512, description="Largest micro-batch.")
    deadline: Rate = Field(0.2, description="Seconds that a row may wait for its batch.")
    on_alarm: Uri | None = Field(
        None, description="Program or URL that is given each anomaly; env:NAME or file:PATH if it holds a password."
    )

    def source(self) -> str:
        """The input itself, its reference resolved; stdin by default."""
        return "-" if self.input is None else _revealed(self.input)

    def target(self) -> str:
        """The output itself, its reference resolved."""
        assert self.output is not None
        return _revealed(self.output)

    def alarm_hook(self) -> str | None:
        """The hook itself, its reference resolved."""
        return None if self.on_alarm is None else _revealed(self.on_alarm)


class AugmentSettings(Section):
    """Synthetic rows."""

    model: Model = Field(
        "auto",
        description="auto fuses several generators; or one (`ganlib models --task augmenter`), or a sealed augmenter.",
    )
    rows: Count | None = Field(None, description="Synthetic rows in all; balances if empty.")
    condition: Text | None = Field(None, description="Only rows of this class.")
    where: tuple[str, ...] = Field(
        (), description="Tables: only rows that satisfy these conditions, such as `country = FR and age >= 60`."
    )
    target: Literal["auto", "classes", "numeric"] = Field(
        "auto",
        description="Tables: whether data.label names classes or is a numeric target, of which rows of rare ranges are "
        "generated; auto: numeric if it holds more than 20 numbers that are no codes.",
    )
    only_synthetic: bool = Field(False, description="Leave the real rows out of the output.")
    spreadsheet_safe: bool = Field(
        False, description="CSV: an apostrophe before generated text that a spreadsheet would run as a formula."
    )
    gate: Literal["on", "report", "off"] | None = Field(
        None,
        description="on: write only if rows help; report: measure; off. on if empty, but off for a sealed model and "
        "without label.",
    )
    confidence: Annotated[float, Field(ge=0, le=1)] = Field(
        0.7, description="Chance that generated rows help from which the gate accepts them."
    )
    repeats: Annotated[int, Field(ge=2, le=100)] | None = Field(
        None, description="Splits over which the lift is measured; 10 to 30, as the rows need, if empty."
    )
    budget: str | None = Field(
        None,
        description="Time for measuring, such as 30s or 10min; three splits are always measured. 2min, of images and "
        "series 5min, if empty.",
    )
    output: Local | None = Field(None, description="CSV, TSV or Parquet file to write; .npz or folder for examples.")


class TranslateSettings(Section):
    """Translating data by a registered or sealed translator."""

    model: Model | None = Field(None, description="models:/NAME@ALIAS, models:/NAME/VERSION or FILE.onnx.")
    to: Literal["a", "b"] | None = Field(None, description="Domain to translate to; b if empty, or that of the file.")
    spreadsheet_safe: bool = Field(
        False, description="CSV: an apostrophe before generated text that a spreadsheet would run as a formula."
    )
    output: Local | None = Field(None, description="CSV, TSV or Parquet file to write; .npz or folder for examples.")
