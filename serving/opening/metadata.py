"""Reads the metadata of a sealed file, compares its hashes and validates every value (docs/artifact.md)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from serving.errors import IntegrityError
from serving.opening.entries import FORMAT_VERSION
from serving.opening.hashes import hashes_of
from serving.opening.kinds import KINDS, SealedModel

_AGAIN = "fetch the file again"


def read_metadata(model: Any) -> tuple[dict[str, Any], SealedModel]:
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


def _checked(metadata: dict[str, Any]) -> SealedModel:
    kind, modality = metadata.get("kind"), metadata.get("modality", "table")
    for key in ("kind", "hashes"):
        if key not in metadata:
            raise IntegrityError(f"metadata lacks {key!r}; {_AGAIN}")
    model = KINDS.get((str(kind), str(modality)))
    if model is None:
        raise IntegrityError(f"a sealed {kind!r} of {modality!r} data is unknown to this release; upgrade it")
    try:
        return model.model_validate(metadata)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "one entry and another"
        if first["type"] == "missing":
            raise IntegrityError(f"metadata lacks {place!r}; {_AGAIN}") from error
        raise IntegrityError(f"damaged metadata: {place}: {first['msg']}; {_AGAIN}") from error
