"""The entries that sealed files of all kinds share, with their types and ranges (docs/artifact.md)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from serving.table.layouts import number_layout
from serving.table.zones import zone

FORMAT_VERSION = 5
TABLE_ROWS, ARRAY_ROWS = 32, 8


def _unique(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        raise ValueError("holds a value twice")
    return values


def _known_zone(name: str) -> str:
    try:
        zone(name)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"no time zone: {name!r}") from error
    return name


def _sorted(values: list[float]) -> list[float]:
    if values != sorted(values):
        raise ValueError("is not in order")
    return values


Name = Annotated[str, Field(min_length=1)]
Names = Annotated[list[str], AfterValidator(_unique)]
Zone = Annotated[str, AfterValidator(_known_zone)]
Share = Annotated[float, Field(ge=0, le=1)]
Budget = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1, lt=1 << 31)]
Kind = Literal["number", "integer", "boolean", "category", "date", "text"]
Number = float | Literal["inf", "-inf"]
Stamp = Annotated[int, Field(gt=-(1 << 63), lt=1 << 63)]
# The values of one golden column, by the type of its input.
CELLS: dict[str, TypeAdapter[Any]] = {
    "string": TypeAdapter(list[str], config=ConfigDict(strict=True)),
    "int64": TypeAdapter(list[Stamp | None], config=ConfigDict(strict=True)),
    "double": TypeAdapter(list[Number | None], config=ConfigDict(strict=True, allow_inf_nan=False)),
    "float": TypeAdapter(list[list[float]], config=ConfigDict(strict=True, allow_inf_nan=False)),
}


class Entry(BaseModel):
    """Validates types strictly; ignores keys that a later release adds."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, frozen=True)


class Column(Entry):
    """A column of the schema, with the keys that serving reads."""

    name: Name
    input: Name
    kind: Kind
    role: Literal["feature", "label", "group", "id", "dropped"]
    dtype: str
    missing: bool = False
    minimum: float | None = None
    maximum: float | None = None
    quantiles: Annotated[list[float], AfterValidator(_sorted)] | None = None
    categories: Names | None = None
    rare: bool = False
    buckets: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
    timezone: Zone | None = None
    levels: Literal["text", "number", "boolean", "date"] | None = None
    not_missing: list[str] | None = None
    layout: str | None = None
    step: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Column:
        if self.role in ("feature", "group") and self.kind == "text" and self.buckets is None:
            raise ValueError("a column of text without buckets")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError("the minimum lies above the maximum")
        if self.layout is not None and self.kind in ("number", "integer"):
            number_layout(self.layout)
        return self


class Schema(Entry):
    """The table's columns."""

    version: Annotated[int, Field(ge=1, le=2)]
    timezone: Zone
    missing_words: list[str] | None = None
    columns: Annotated[list[Column], Field(min_length=1)]

    @model_validator(mode="after")
    def _agrees(self) -> Schema:
        for key in ("name", "input"):
            _unique([getattr(column, key) for column in self.columns])
        return self


class Group(Entry):
    """The calibration table of a group."""

    n: Positive
    alpha_min: Budget


class Tail(Entry):
    """The Pareto tail of the pooled table."""

    threshold: float
    p_threshold: Budget
    shape: float
    scale: Annotated[float, Field(gt=0)]


class Calibration(Entry):
    """The calibration of p-values; ``alpha_min`` is the smallest budget that every table supports."""

    n: Positive
    alpha_min: Budget
    alpha: Budget = 0.01
    median_score: Annotated[float, Field(ge=0)]
    tail: Tail | None
    deciles: Annotated[list[Count], Field(min_length=10, max_length=10)] | None = None
    runs: Positive | None = None
    groups: dict[str, Group]
    group_column: str | None

    @model_validator(mode="after")
    def _agrees(self) -> Calibration:
        # A fitted tail supports a third of the least p-value; files of earlier releases said a tenth.
        least = [1 / (parts * (self.n + 1)) for parts in ((3, 10) if self.tail else (1,))]
        grouped = [g.alpha_min for g in self.groups.values()]
        if all(abs(self.alpha_min / max(own, *grouped, 0.0) - 1) > 1e-9 for own in least):
            raise ValueError("alpha_min is not what n rows support")
        if self.groups and self.group_column is None:
            raise ValueError("groups without a column")
        return self


class _Model(Entry):
    name: Name
    config: dict[str, Any]


class _Training(Entry):
    fingerprint: str | None = None
    rows: Count | None = None
    data: str | None = None


class _Versions(Entry):
    ganlib: Name


class _Parity(Entry):
    max_abs: Annotated[float, Field(ge=0)]
    bound: Annotated[float, Field(ge=0)]
    rows: Count


class Metadata(Entry):
    """The metadata of every sealed file."""

    format_version: Annotated[int, Field(ge=1, le=FORMAT_VERSION)]
    kind: str
    model: _Model
    training: _Training
    versions: _Versions
    exporter: str
    parity: _Parity
    hashes: dict[str, str]
