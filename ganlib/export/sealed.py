"""Assemble, check and write the sealed artifact."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto

import ganlib
from ganlib.errors import ConfigError
from ganlib.export.builder import GraphBuilder
from ganlib.export.decision import add_decision
from ganlib.export.explain_graph import add_contributions
from ganlib.export.golden import ROWS, schema_feeds, to_json
from ganlib.export.network import export_network
from ganlib.export.parity import TOLERANCE, check_scores, open_session
from ganlib.export.preprocess import encode_columns

FORMAT_VERSION = 1
WEIGHTS = "net/"


@dataclass(frozen=True)
class SealReport:
    """What was written: file, identity, measured parity and its bound at the median score, exporter, seconds."""

    path: str
    sha256: str
    parity_max_abs: float
    parity_bound: float
    alpha_min: float
    exporter: str
    seconds: float


def seal(estimator: Any, path: str | Path, training: dict[str, Any] | None = None) -> SealReport:
    """Write a fitted detector as one ONNX file with ``FILE.sha256`` beside it.

    ``training`` goes into the metadata (fingerprint, rows, data name). Raises ParityError where the graph does not
    reproduce the estimator; nothing is written then.
    """
    if not hasattr(estimator, "calibration_"):
        raise ConfigError(f"{type(estimator).__name__} is not a fitted detector; call fit first")
    start = time.perf_counter()
    encoder, calibration = estimator.encoder_, estimator.calibration_
    model, exporter = _detector_graph(estimator)
    session = open_session(model.SerializeToString())
    feeds = schema_feeds(encoder, 2048, seed=1)
    scores, p_values = _torch_scores(estimator, feeds)
    worst = check_scores(session, feeds, scores, p_values, calibration.median_score)
    golden = schema_feeds(encoder, ROWS, seed=2)
    golden_scores, golden_p = _torch_scores(estimator, golden)
    bound = TOLERANCE * abs(calibration.median_score)
    _describe(
        model,
        kind="detector",
        model=_model_card(estimator),
        schema=encoder.schema.to_dict(),
        features=[c.input for c in encoder.codes],
        calibration=calibration.to_dict() | {"group_column": encoder.schema.group},
        golden={
            "columns": {name: to_json(feed) for name, feed in golden.items()},
            "anomaly_score": [float(s) for s in golden_scores],
            "p_value": [float(p) for p in golden_p],
        },
        training=training or {},
        exporter=exporter,
        parity={"max_abs": worst, "bound": bound, "rows": len(scores)},
    )
    sha256 = write_sealed(model, Path(path))
    return SealReport(str(path), sha256, worst, bound, calibration.alpha_min, exporter, time.perf_counter() - start)


def _detector_graph(estimator: Any) -> tuple[onnx.ModelProto, str]:
    encoder = estimator.encoder_
    builder = GraphBuilder()
    encoded = encode_columns(builder, encoder)
    network = export_network(estimator.scorer_, torch.zeros(2, encoder.width))
    network.add_weights(builder, WEIGHTS)
    score = network.add_nodes(builder, WEIGHTS, "net/", encoded)
    builder.op("Identity", score, output="anomaly_score")
    builder.output("anomaly_score", TensorProto.FLOAT, "batch")
    alpha = builder.option("alpha", estimator.alpha_, np.float32)
    explain = builder.option("explain", False, np.bool_)
    group = encoder.schema.group
    group_input = None if group is None else encoder.schema.column(group).input
    add_decision(builder, estimator.calibration_, "anomaly_score", group_input, alpha)
    add_contributions(builder, encoder, network, WEIGHTS, encoded, "anomaly_score", explain)
    return builder.model("detector"), network.exporter


def _torch_scores(estimator: Any, feeds: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    scores = estimator._score(estimator.encoder_.encode(feeds))
    return scores, estimator.calibration_.p_value(scores, estimator._groups(feeds))


def _model_card(estimator: Any) -> dict[str, Any]:
    name = estimator.model or estimator.default_model
    return {"name": name, "config": estimator.algorithm_.config.to_dict()}


def _describe(proto: onnx.ModelProto, **entries: Any) -> None:
    """Write the metadata of docs/artifact.md; every value is JSON."""
    versions = {
        "ganlib": ganlib.__version__,
        "torch": torch.__version__,
        "onnx": onnx.__version__,
        "python": platform.python_version(),
    }
    entries |= {"format_version": FORMAT_VERSION, "versions": versions}
    schema = json.dumps(entries["schema"])
    graph = hashlib.sha256(proto.graph.SerializeToString(deterministic=True)).hexdigest()
    entries["hashes"] = {"graph": graph, "schema": hashlib.sha256(schema.encode()).hexdigest()}
    for key, value in entries.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, schema if key == "schema" else json.dumps(value)


def write_sealed(model: onnx.ModelProto, path: Path) -> str:
    """Write FILE and FILE.sha256 atomically; returns the hash."""
    data = model.SerializeToString(deterministic=True)
    sha256 = hashlib.sha256(data).hexdigest()
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, data)
    _write(path.with_name(path.name + ".sha256"), f"{sha256}  {path.name}\n".encode())
    return sha256


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
