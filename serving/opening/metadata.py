"""Reads the metadata of a sealed file, compares its hashes and validates every value (docs/artifact.md)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from serving.errors import IntegrityError
from serving.opening.entries import (
    ARRAY_ROWS,
    FORMAT_VERSION,
    TABLE_ROWS,
    Calibration,
    Column,
    Count,
    Entry,
    Metadata,
    Names,
    Number,
    Positive,
    Schema,
    Share,
)
from serving.table import relations
from serving.table.examples import Layout

_AGAIN = "fetch the file again"
_RANKS = {"image": 3, "series": 2, "points": 1}
# Detectors of arrays came with version 3. Files of all other kinds are still written in version 2.
ARRAY_DETECTORS = 3
TRANSLATED = "y:"  # before the name of a translated column, which a column that is read may have too


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


class _DetectorGolden(Entry):
    columns: dict[str, list[Any]]
    anomaly_score: Annotated[list[Number], Field(min_length=TABLE_ROWS, max_length=TABLE_ROWS)]
    p_value: Annotated[list[Share], Field(min_length=TABLE_ROWS, max_length=TABLE_ROWS)]


class _Contributions(Entry):
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


class _AugmenterGolden(Entry):
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


class _ArrayGolden(Entry):
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


class _Example(Entry):
    """How the graph takes one example, as ``serving.table.examples.Layout``."""

    shape: Annotated[list[Positive], Field(min_length=2, max_length=3)]
    dtype: Literal["uint8", "float32", "float64"]
    channels: Literal["first", "last"] | None
    low: Annotated[float, Field(ge=-1, le=0, multiple_of=1)] | None


class _Bounds(Entry):
    rows: Annotated[list[Count], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)]
    low: list[float]
    high: list[float]


class _ExampleGolden(_Bounds):
    anomaly_score: Annotated[list[Number], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)]
    p_value: Annotated[list[Share], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)]


class ArrayDetector(Metadata):
    """A detector of images or series."""

    format_version: Annotated[int, Field(ge=ARRAY_DETECTORS, le=FORMAT_VERSION)]
    modality: Literal["image", "series"]
    shape: Annotated[list[Positive], Field(min_length=2, max_length=3)]
    example: _Example
    calibration: Calibration
    contributions: None = None
    golden: _ExampleGolden

    @property
    def layout(self) -> Layout:
        """The arrays that the graph takes."""
        return _layout(self.modality, self.example)

    @model_validator(mode="after")
    def _agrees(self) -> ArrayDetector:
        if self.calibration.groups or self.calibration.group_column is not None:
            raise ValueError("a detector of arrays has no groups")
        _check_example(self.modality, self.example, self.shape)
        _check_bounds(self.layout, self.golden)
        return self


class _TranslatorGolden(_Bounds):
    values: Annotated[list[list[float]], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)]
    mean: Annotated[list[float], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)]


class Translator(Metadata):
    """One direction of a translator of images or series."""

    kind: Literal["translator"]
    format_version: Annotated[int, Field(ge=ARRAY_DETECTORS, le=FORMAT_VERSION)]
    modality: Literal["image", "series"]
    shape: Annotated[list[Positive], Field(min_length=2, max_length=3)]
    example: _Example
    shape_b: Annotated[list[Positive], Field(min_length=2, max_length=3)]
    result: _Example
    to: Literal["a", "b"]
    golden: _TranslatorGolden

    @property
    def layout(self) -> Layout:
        """The arrays that the graph takes."""
        return _layout(self.modality, self.example)

    @property
    def written(self) -> Layout:
        """The arrays that the graph gives."""
        return _layout(self.modality, self.result)

    @model_validator(mode="after")
    def _agrees(self) -> Translator:
        _check_example(self.modality, self.example, self.shape)
        _check_example(self.modality, self.result, self.shape_b)
        _check_bounds(self.layout, self.golden)
        return self


class _RowsGolden(Entry):
    columns: dict[str, list[Any]]
    results: dict[str, list[Any]]


class TableTranslator(Metadata):
    """One direction of a translator of rows: ``features`` of ``schema`` in, ``features_b`` of ``schema_b`` out."""

    kind: Literal["translator"]
    format_version: Annotated[int, Field(ge=ARRAY_DETECTORS, le=FORMAT_VERSION)]
    to: Literal["a", "b"]
    schema_: Annotated[Schema, Field(alias="schema")]
    schema_b: Schema
    features: Names
    features_b: Names
    golden: _RowsGolden

    @property
    def taken(self) -> list[Column]:
        """The columns that the graph takes."""
        return _generated(self.schema_)

    @property
    def given(self) -> list[Column]:
        """The columns that the graph gives."""
        return _generated(self.schema_b)

    @model_validator(mode="after")
    def _agrees(self) -> TableTranslator:
        for names, columns in ((self.features, self.taken), (self.features_b, self.given)):
            if names != [c.input for c in columns]:
                raise ValueError("features are not those of the schema")
        return self


def _generated(schema: Schema) -> list[Column]:
    """The columns that can be encoded and decoded again."""
    return [c for c in schema.columns if c.role == "feature" and c.kind != "text"]


def _layout(modality: Literal["image", "series"], e: _Example) -> Layout:
    return Layout(modality, tuple(e.shape), e.dtype, e.channels, e.low)


def _check_example(modality: Literal["image", "series"], example: _Example, shape: list[int]) -> None:
    if shape != _network_shape(_layout(modality, example)):
        raise ValueError(f"an example of shape {example.shape} is not of the network's shape {shape}")
    ranged = modality == "image" and example.dtype == "float32"
    known = ("uint8", "float32" if modality == "image" else "float64")
    if (example.low is not None) != ranged or example.dtype not in known:
        raise ValueError(f"an example of {example.dtype} is no {modality} of this format")


def _check_bounds(layout: Layout, golden: _Bounds) -> None:
    sides = layout.shape[0] if layout.modality == "series" else 1
    if [len(golden.low), len(golden.high)] != [sides, sides]:
        raise ValueError("golden rows have other bounds than the examples")


def _network_shape(layout: Layout) -> list[int]:
    if layout.modality == "series":
        return list(layout.shape)
    if len(layout.shape) != (2 if layout.channels is None else 3):
        return []
    return [layout.colours, *layout.size]


Checked = Detector | Augmenter | Arrays | ArrayDetector | Translator | TableTranslator
_ARRAYS: dict[str, type[Checked]] = {
    "detector": ArrayDetector,
    "augmenter": Arrays,
    "encoder": Arrays,
    "translator": Translator,
}
_TABLES: dict[str, type[Checked]] = {"detector": Detector, "augmenter": Augmenter, "translator": TableTranslator}


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
    shape = (_TABLES if modality == "table" else _ARRAYS).get(str(kind))
    if shape is None or modality not in ("table", *_RANKS):
        raise IntegrityError(f"a sealed {kind!r} of {modality!r} data is unknown to this release; upgrade it")
    try:
        return shape.model_validate(metadata)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "one entry and another"
        if first["type"] == "missing":
            raise IntegrityError(f"metadata lacks {place!r}; {_AGAIN}") from error
        raise IntegrityError(f"damaged metadata: {place}: {first['msg']}; {_AGAIN}") from error
