"""Reads the metadata of a sealed file, compares its hashes and validates every value (docs/artifact.md)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from serving.errors import IntegrityError
from serving.table import relations
from serving.table.layouts import number_layout
from serving.table.zones import zone

FORMAT_VERSION = 2
TABLE_ROWS, ARRAY_ROWS = 32, 8
_AGAIN = "fetch the file again"
_RANKS = {"image": 3, "series": 2, "points": 1}


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


class _Entry(BaseModel):
    """Validates types strictly; ignores keys that a later release adds."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, frozen=True)


class Column(_Entry):
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


class Schema(_Entry):
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


class Group(_Entry):
    """The calibration table of a group."""

    n: Positive
    alpha_min: Budget


class Tail(_Entry):
    """The Pareto tail of the pooled table."""

    threshold: float
    p_threshold: Budget
    shape: float
    scale: Annotated[float, Field(gt=0)]


class Calibration(_Entry):
    """The calibration of p-values; ``alpha_min`` is the smallest budget that every table supports."""

    n: Positive
    alpha_min: Budget
    alpha: Budget = 0.01
    median_score: Annotated[float, Field(ge=0)]
    tail: Tail | None
    groups: dict[str, Group]
    group_column: str | None

    @model_validator(mode="after")
    def _agrees(self) -> Calibration:
        own = 1 / ((10 if self.tail else 1) * (self.n + 1))
        if abs(self.alpha_min / max(own, *(g.alpha_min for g in self.groups.values()), 0.0) - 1) > 1e-9:
            raise ValueError("alpha_min is not what n rows support")
        if self.groups and self.group_column is None:
            raise ValueError("groups without a column")
        return self


class _Model(_Entry):
    name: Name
    config: dict[str, Any]


class _Training(_Entry):
    fingerprint: str | None = None
    rows: Count | None = None
    data: str | None = None


class _Versions(_Entry):
    ganlib: Name


class _Parity(_Entry):
    max_abs: Annotated[float, Field(ge=0)]
    bound: Annotated[float, Field(ge=0)]
    rows: Count


class Metadata(_Entry):
    """The metadata of every sealed file."""

    format_version: Annotated[int, Field(ge=1, le=FORMAT_VERSION)]
    kind: Literal["detector", "augmenter", "encoder"]
    model: _Model
    training: _Training
    versions: _Versions
    exporter: str
    parity: _Parity
    hashes: dict[str, str]


class _OfTable(Metadata):
    """Metadata of a model for tables; ``features`` are its inputs, in order."""

    schema_: Annotated[Schema, Field(alias="schema")]
    features: Names

    def columns(self) -> list[Column]:
        """The feature columns in order; for augmenters without text columns, which they do not generate."""
        kept = [c for c in self.schema_.columns if c.role == "feature"]
        return [c for c in kept if c.kind != "text"] if self.kind == "augmenter" else kept

    @model_validator(mode="after")
    def _agrees(self) -> _OfTable:
        if self.features != [c.input for c in self.columns()]:
            raise ValueError("features are not those of the schema")
        return self


class _DetectorGolden(_Entry):
    columns: dict[str, list[Any]]
    anomaly_score: Annotated[list[Number], Field(min_length=TABLE_ROWS, max_length=TABLE_ROWS)]
    p_value: Annotated[list[Share], Field(min_length=TABLE_ROWS, max_length=TABLE_ROWS)]


class _Contributions(_Entry):
    property: str
    base: float


class Detector(_OfTable):
    """A detector of table rows."""

    calibration: Calibration
    golden: _DetectorGolden
    contributions: _Contributions | None = None
    shares: dict[str, dict[Literal["missing", "unseen", "clipped"], Share]] = {}

    @model_validator(mode="after")
    def _group(self) -> Detector:
        groups = [c.name for c in self.schema_.columns if c.role == "group"]
        if groups != ([] if self.calibration.group_column is None else [self.calibration.group_column]):
            raise ValueError("the group column is not that of the schema")
        return self


class _AugmenterGolden(_Entry):
    z: Annotated[list[list[float]], Field(min_length=TABLE_ROWS, max_length=TABLE_ROWS)]
    condition: Annotated[list[str], Field(min_length=TABLE_ROWS, max_length=TABLE_ROWS)] | None = None
    columns: dict[str, list[Any]]


class Augmenter(_OfTable):
    """A generator of table rows."""

    latent_dim: Positive
    conditions: Names
    golden: _AugmenterGolden
    constraints: list[Any] = []

    @model_validator(mode="after")
    def _related(self) -> Augmenter:
        if self.constraints:
            fields = {c.name: relations.Field.of(c.model_dump(), self.schema_.timezone) for c in self.schema_.columns}
            try:
                relations.Keeper(relations.unsealed(self.constraints, fields, max(1, len(self.conditions))), fields)
            except ValueError as error:
                raise ValueError(f"the constraints cannot be read: {error}") from error
        return self


class _ArrayGolden(_Entry):
    values: Annotated[list[list[float]], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)]
    mean: Annotated[list[float], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)]
    z: Annotated[list[list[float]], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)] | None = None
    attributes: Annotated[list[list[float]], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)] | None = None
    condition: Annotated[list[str], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)] | None = None
    rows: Annotated[list[Count], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)] | None = None


class Arrays(Metadata):
    """A generator or an encoder of images, series or points."""

    kind: Literal["augmenter", "encoder"]
    modality: Literal["image", "series", "points"]
    shape: Annotated[list[Positive], Field(min_length=1)]
    latent_dim: Positive
    conditions: Names
    attributes: Count | None = None
    examples: bool | None = None
    golden: _ArrayGolden

    @model_validator(mode="after")
    def _agrees(self) -> Arrays:
        if len(self.shape) != _RANKS[self.modality]:
            raise ValueError(f"the shape is not that of {self.modality}")
        if self.kind == "encoder" and (self.attributes or self.examples):
            raise ValueError("an encoder takes no attributes and no examples")
        return self


Checked = Detector | Augmenter | Arrays
_TABLES: dict[str, type[Checked]] = {"detector": Detector, "augmenter": Augmenter}


def read_metadata(model: Any) -> tuple[dict[str, Any], Checked]:
    """The raw and the validated metadata; raises IntegrityError if they are invalid."""
    raw: dict[str, str] = {}
    for entry in model.metadata_props:
        if not isinstance(entry.key, str) or not isinstance(entry.value, str):  # protobuf gives bytes
            raise IntegrityError(f"has a metadata entry that is not UTF-8 text; {_AGAIN}")
        if entry.key in raw:
            raise IntegrityError(f"has the metadata entry {entry.key!r} twice; {_AGAIN}")
        raw[entry.key] = entry.value
    if "format_version" not in raw:
        raise IntegrityError("an ONNX file, but no sealed artifact; create one with `ganlib train` and `export`")
    metadata = {key: _value(key, text) for key, text in raw.items()}
    version = metadata["format_version"]
    if type(version) is int and version > FORMAT_VERSION:
        raise IntegrityError(
            f"written in format version {version}; this release reads up to {FORMAT_VERSION}. Upgrade to "
            f"the ganlib release that introduced format version {version}"
        )
    checked = _checked(metadata)
    wanted = hashes_of(model.graph.SerializeToString(deterministic=True), raw)
    if not model.producer_version:
        wanted.pop("metadata")  # files of earlier releases lack this hash
    if metadata["hashes"] != wanted:
        raise IntegrityError("graph, schema or metadata do not match their hashes; the file was changed or damaged")
    return metadata, checked


def hashes_of(graph: bytes, entries: dict[str, str]) -> dict[str, str]:
    """The entry ``hashes``: of graph, table schema, and all other entries, sorted, as ``KEY\\nVALUE\\n``."""
    others = "".join(f"{key}\n{entries[key]}\n" for key in sorted(entries.keys() - {"hashes"}))
    parts = {"graph": graph, "metadata": others.encode()}
    if "schema" in entries:
        parts["schema"] = entries["schema"].encode()
    return {key: hashlib.sha256(part).hexdigest() for key, part in parts.items()}


def _value(key: str, text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_reject_constant, object_pairs_hook=_without_twins)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"damaged metadata: {key[:80]!r} is no valid JSON ({error}); {_AGAIN}") from error
    return value


def _reject_constant(name: str) -> Any:
    raise ValueError(f"holds {name}")


def _without_twins(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    if len(dict(pairs)) < len(pairs):
        raise ValueError("holds a key twice")
    return dict(pairs)


def _checked(metadata: dict[str, Any]) -> Checked:
    kind, modality = metadata.get("kind"), metadata.get("modality", "table")
    for key in ("kind", "hashes"):
        if key not in metadata:
            raise IntegrityError(f"metadata lacks {key!r}; {_AGAIN}")
    shape: type[Checked] | None = _TABLES.get(str(kind)) if modality == "table" else Arrays
    if shape is None or modality not in ("table", *_RANKS) or kind not in ("detector", "augmenter", "encoder"):
        raise IntegrityError(f"a sealed {kind!r} of {modality!r} data is unknown to this release; upgrade it")
    try:
        return shape.model_validate(metadata)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "one entry and another"
        if first["type"] == "missing":
            raise IntegrityError(f"metadata lacks {place!r}; {_AGAIN}") from error
        raise IntegrityError(f"damaged metadata: {place}: {first['msg']}; {_AGAIN}") from error
