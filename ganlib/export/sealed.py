"""Seals a fitted estimator: graph, metadata, parity gate, file (docs/artifact.md)."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import torch

import ganlib
from ganlib.errors import ConfigError
from ganlib.export.array_detector import seal_array_detector
from ganlib.export.arrays import seal_generator
from ganlib.export.augmenter import seal_augmenter
from ganlib.export.density import seal_density
from ganlib.export.detector import seal_detector
from ganlib.export.parity import check_opens
from ganlib.export.parts import Sealed, public_schema
from ganlib.export.translator import seal_translator
from ganlib.files import write_whole
from ganlib.training import Algorithm
from serving.opening.hashes import hashes_of

# Detectors of arrays say their own (ganlib.export.array_detector); everything else is readable by earlier releases.
FORMAT_VERSION = 2
LEVELS = 5  # the version of windows relative to levels, which releases before it would ignore


@dataclass(frozen=True)
class SealReport:
    """The result of sealing: file, sha-256, parity at the row closest to its bound, exporter, seconds.

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
    estimator: Any,
    path: str | Path,
    name: str | None = None,
    training: Mapping[str, Any] | None = None,
    windows: Mapping[str, Any] | None = None,
) -> SealReport:
    """Write a fitted detector, augmenter, translator or density as one ONNX file with ``FILE.sha256`` beside it.

    ``name`` is the graph's name (default: the model's). ``training`` holds ``fingerprint``, ``rows`` and ``data`` (its
    name); missing entries are taken from the estimator's ``training_``, or are null. Equal estimators give equal
    bytes. Parent folders are created.

    ``windows``, for detectors of series, says how rows of a table become the series (the entry of docs/artifact.md), so
    that tables and streams of rows can be scored.

    Detectors of images and series take arrays as they were fitted on. Augmenters of images output bytes
    ``(n, h, w, c)``, whatever they were fitted on. An augmenter fitted on captions is conditioned on their embeddings,
    ``augmenter.arrays_.embed(captions)``.

    A translator is sealed as it translates to domain b; the way back is ``save_sealed(seal_translator(t, "a"), path)``.

    Raises ConfigError for an estimator that is not fitted, a column whose name the graph needs, or an invalid path;
    ParityError if the graph does not reproduce torch. Nothing is written then.
    """
    start = time.perf_counter()
    parts = _parts(estimator)
    if windows is not None:
        version = {"format_version": LEVELS} if windows.get("levels") else {}
        parts = replace(parts, metadata={**parts.metadata, "windows": dict(windows), **version})
    known = dict(getattr(estimator, "training_", None) or {}) | dict(training or {})
    return replace(save_sealed(parts, path, name, known), seconds=time.perf_counter() - start)


def save_sealed(
    parts: Sealed, path: str | Path, name: str | None = None, training: Mapping[str, Any] | None = None
) -> SealReport:
    """Write the result of ``seal_generator`` or ``seal_encoder`` as one ONNX file with ``FILE.sha256`` beside it.

    ``name`` and ``training`` as in ``seal``. Equal models give equal bytes.
    """
    if not isinstance(parts, Sealed):
        raise ConfigError(
            f"save_sealed writes the result of seal_generator or seal_encoder, not {type(parts).__name__}; use seal() "
            "for fitted detectors and augmenters"
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
    """The estimator's graph with its metadata."""
    if hasattr(estimator, "reader_b_"):
        return seal_translator(estimator)
    reader = getattr(estimator, "reader_", None)
    if hasattr(estimator, "density_"):
        parts = seal_density(estimator)
        facts = {"model": _model_card(estimator)}
        if reader is not None and reader.tabular:
            facts["schema"] = public_schema(reader.encoder).to_dict()
        return replace(parts, metadata={**parts.metadata, **facts})
    if reader is not None and not reader.tabular:
        if not hasattr(estimator, "calibration_"):
            return _array_parts(estimator)
        parts = seal_array_detector(estimator)
        return replace(parts, metadata={**parts.metadata, "model": _model_card(estimator)})
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
        raise ConfigError(f"{type(estimator).__name__} is not a fitted detector or augmenter; call fit first")
    facts = {"model": _model_card(estimator), "schema": public_schema(estimator.encoder_).to_dict()}
    return replace(parts, metadata={**parts.metadata, **facts})


def _array_parts(estimator: Any) -> Sealed:
    """Seal an augmenter of images, as bytes, or of series, in their own units."""
    arrays = estimator.arrays_
    if len(arrays.models) > 1:
        raise ConfigError(
            f"{type(estimator).__name__} holds a model for each of {len(arrays.models)} classes, a sealed file holds "
            "one; choose a conditional model (cgan, acgan, cvae), or fit each class separately"
        )
    by_class = arrays.spec.classes and not arrays.models[0].by_example
    classes = (estimator.conditions_ or None) if by_class else None
    as_bytes = arrays.spec.kind == "image"
    return seal_generator(arrays.models[0], classes, as_bytes=as_bytes, in_units=arrays.in_units)


def _model_card(estimator: Any) -> dict[str, Any]:
    name = getattr(estimator, "model", None) or getattr(estimator, "default_model", None) or type(estimator).__name__
    return {"name": str(name), "config": estimator.algorithm_.config.to_dict()}


def _describe(model: onnx.ModelProto, facts: Mapping[str, Any]) -> None:
    """Write the metadata of docs/artifact.md; every value is JSON."""
    versions = {
        "ganlib": ganlib.__version__,
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "python": platform.python_version(),
    }
    entries = {"format_version": FORMAT_VERSION, **facts, "versions": versions}
    written = {key: _json(value) for key, value in entries.items()}
    written["hashes"] = _json(hashes_of(model.graph.SerializeToString(deterministic=True), written))
    model.producer_version = ganlib.__version__
    for key in sorted(written):
        model.metadata_props.add(key=key, value=written[key])


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def write_sealed(model: onnx.ModelProto, path: Path) -> str:
    """Write FILE and FILE.sha256 atomically; returns the hash."""
    data = model.SerializeToString(deterministic=True)
    check_opens(data)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ConfigError(f"{str(path)!r} lies in a file, not in a folder: name a file to seal into") from None
    if path.is_dir():
        raise ConfigError(f"{str(path)!r} is a folder: name a file to seal into, such as {str(path / 'model.onnx')!r}")
    write_whole(path, data)
    write_whole(path.with_name(path.name + ".sha256"), f"{sha256}  {path.name}\n".encode())
    return sha256
