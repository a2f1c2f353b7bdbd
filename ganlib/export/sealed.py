"""Seal a fitted estimator: graph, metadata, parity gate, file (docs/artifact.md)."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import torch

import ganlib
from ganlib.data.encoder import TableEncoder
from ganlib.data.schema import Schema
from ganlib.errors import ConfigError
from ganlib.export.arrays import seal_generator
from ganlib.export.augmenter import seal_augmenter
from ganlib.export.detector import seal_detector
from ganlib.export.parts import Sealed
from ganlib.training import Algorithm

FORMAT_VERSION = 2


@dataclass(frozen=True)
class SealReport:
    """What was written: file, identity, parity at the row closest to its bound, exporter, seconds.

    ``alpha_min`` is None for augmenters.
    """

    path: str
    sha256: str
    parity_max_abs: float
    parity_bound: float
    alpha_min: float | None
    exporter: str
    seconds: float


def seal(
    estimator: Any, path: str | Path, name: str | None = None, training: Mapping[str, Any] | None = None
) -> SealReport:
    """Write a fitted detector or augmenter as one ONNX file with ``FILE.sha256`` beside it.

    ``name`` is the graph's name (default: the model's); ``training`` tells ``fingerprint``, ``rows`` and ``data`` (its
    name); what it lacks is taken from the estimator's ``training_``, else null. Equal estimators give equal bytes.
    Augmenters of images make bytes ``(n, h, w, c)``, whatever they were fitted on; one that was fitted on captions is
    told their embeddings, ``augmenter.arrays_.embed(captions)``. Folders on the way are made. Raises ConfigError on an
    estimator that is not fitted, a column whose name the graph needs or a path where no file can be, ParityError where
    the graph does not reproduce torch; nothing is written then.
    """
    start = time.perf_counter()
    parts = _parts(estimator)
    told = dict(getattr(estimator, "training_", None) or {}) | dict(training or {})
    return replace(save_sealed(parts, path, name, told), seconds=time.perf_counter() - start)


def save_sealed(
    parts: Sealed, path: str | Path, name: str | None = None, training: Mapping[str, Any] | None = None
) -> SealReport:
    """Write what ``seal_generator`` or ``seal_encoder`` made as one ONNX file with ``FILE.sha256`` beside it.

    ``name`` and ``training`` as in ``seal``. Equal models give equal bytes.
    """
    if not isinstance(parts, Sealed):
        raise ConfigError(
            f"save_sealed writes what seal_generator or seal_encoder made, and got {type(parts).__name__}; seal() "
            "writes fitted detectors and augmenters"
        )
    start = time.perf_counter()
    parity, model = parts.parity, onnx.ModelProto()
    model.CopyFrom(parts.model)
    facts = dict(parts.metadata)
    model.graph.name = name or facts["model"]["name"]
    facts |= {
        "kind": parts.kind,
        "training": {"fingerprint": None, "rows": None, "data": None} | dict(training or {}),
        "exporter": parts.exporter,
        "parity": {"max_abs": parity.max_abs, "bound": parity.bound, "rows": parity.rows},
    }
    _describe(model, facts)
    sha256 = write_sealed(model, Path(path))
    seconds = time.perf_counter() - start
    return SealReport(str(path), sha256, parity.max_abs, parity.bound, parts.alpha_min, parts.exporter, seconds)


def _parts(estimator: Any) -> Sealed:
    """The estimator's graph with all that the metadata says of it."""
    if getattr(estimator, "arrays_", None) is not None:
        if hasattr(estimator, "calibration_"):
            raise ConfigError("detectors of images and series are not sealed yet; the format holds those of tables")
        return _array_parts(estimator)
    if hasattr(estimator, "calibration_"):
        parts = seal_detector(estimator)
    elif hasattr(estimator, "conditions_"):
        parts = seal_augmenter(estimator)
    elif isinstance(estimator, Algorithm):
        raise ConfigError(
            f"{type(estimator).__name__} is a model, not a fitted detector or augmenter: seal it by "
            "save_sealed(seal_generator(model), path), or seal_encoder"
        )
    else:
        raise ConfigError(f"{type(estimator).__name__} is no fitted detector or augmenter; call fit first")
    facts = {"model": _model_card(estimator), "schema": _public_schema(estimator.encoder_).to_dict()}
    return replace(parts, metadata={**parts.metadata, **facts})


def _array_parts(estimator: Any) -> Sealed:
    """An augmenter that was fitted on images, as bytes, or on series, in their own units."""
    arrays = estimator.arrays_
    if len(arrays.models) > 1:
        raise ConfigError(
            f"{type(estimator).__name__} holds a model for each of {len(arrays.models)} classes, a sealed file holds "
            "one; choose a model that is told the class (cgan, acgan, cvae), or fit each class by itself"
        )
    classes = (estimator.conditions_ or None) if arrays.spec.classes else None
    as_bytes = arrays.spec.kind == "image"
    return seal_generator(arrays.models[0], classes, as_bytes=as_bytes, in_units=arrays.in_units)


def _model_card(estimator: Any) -> dict[str, Any]:
    name = getattr(estimator, "model", None) or getattr(estimator, "default_model", None) or type(estimator).__name__
    return {"name": str(name), "config": estimator.algorithm_.config.to_dict()}


def _public_schema(encoder: TableEncoder) -> Schema:
    """The schema without what the file does not need: label, id and dropped columns keep their names only."""
    columns = tuple(
        c
        if c.role in ("feature", "group")
        else replace(c, categories=None, quantiles=(), minimum=None, maximum=None, rare=False)
        for c in encoder.schema.columns
    )
    return replace(encoder.schema, columns=columns)


def _describe(model: onnx.ModelProto, facts: Mapping[str, Any]) -> None:
    """Write the metadata of docs/artifact.md; every value is JSON."""
    versions = {
        "ganlib": ganlib.__version__,
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "python": platform.python_version(),
    }
    entries = dict(facts) | {"format_version": FORMAT_VERSION, "versions": versions}
    entries["hashes"] = {"graph": hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()}
    for key in ("schema", "constraints"):
        if key in entries:
            entries["hashes"][key] = hashlib.sha256(_json(entries[key]).encode()).hexdigest()
    for key in sorted(entries):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, _json(entries[key])


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def write_sealed(model: onnx.ModelProto, path: Path) -> str:
    """Write FILE and FILE.sha256, each whole or not at all; returns the hash."""
    data = model.SerializeToString(deterministic=True)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ConfigError(f"{str(path)!r} lies in a file, not in a folder: name a file to seal into") from None
    if path.is_dir():
        raise ConfigError(f"{str(path)!r} is a folder: name a file to seal into, such as {str(path / 'model.onnx')!r}")
    _write(path, data)
    _write(path.with_name(path.name + ".sha256"), f"{sha256}  {path.name}\n".encode())
    return sha256


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
