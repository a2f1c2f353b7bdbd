"""Load a sealed artifact: scan first, verify, then open (docs/artifact.md, "Identity")."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from serving.errors import IntegrityError, UsageError

log = logging.getLogger("serving")

FORMAT_VERSION = 2
DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}
NO_DATE = np.iinfo(np.int64).min
POSITIONS = 64
_ARRAYS = {"modality", "shape", "latent_dim", "conditions", "golden"}
_NEEDED = {
    "detector": {"schema", "features", "calibration", "golden"},
    "augmenter": {"schema", "latent_dim", "conditions", "golden"},
    "encoder": _ARRAYS,
}


@dataclass(frozen=True)
class Limits:
    """Caps on what is opened: file bytes, nodes, bytes of weights."""

    file_bytes: int = 1 << 30
    nodes: int = 100_000
    weight_bytes: int = 1 << 30


@dataclass(frozen=True)
class Artifact:
    """A verified artifact and its open session; ``integrity`` is ``sha256`` or ``self-test``."""

    sha256: str
    integrity: str
    metadata: dict[str, Any]
    session: Any = field(repr=False)

    @property
    def kind(self) -> str:
        """detector, augmenter or encoder."""
        return self.metadata["kind"]

    @property
    def modality(self) -> str:
        """table, image, series or points."""
        return self.metadata.get("modality", "table")

    @property
    def shape(self) -> tuple[int, ...]:
        """One example's shape as the model has it, channels first; raises UsageError for tables."""
        if self.modality == "table":
            raise UsageError(f"this {self.kind} is for tables; see its schema")
        return tuple(self.metadata["shape"])

    @property
    def schema(self) -> dict[str, Any]:
        """The table schema; raises UsageError where there is no table."""
        if self.modality != "table":
            raise UsageError(f"this {self.kind} is for data of modality {self.modality!r}, which have no table schema")
        return self.metadata["schema"]

    @property
    def relations(self) -> list[dict[str, Any]]:
        """The relations that an augmenter's rows keep; none in files of earlier releases."""
        return self.metadata.get("constraints") or []

    @property
    def features(self) -> list[str]:
        """Input names in the order of contributions."""
        return self.metadata["features"]

    @property
    def calibration(self) -> dict[str, Any]:
        """Rows, alpha_min, tail and groups."""
        return self.metadata["calibration"]


def load_artifact(
    source: str | Path | bytes, sha256: str | None = None, limits: Limits | None = None, require_gpu: bool = False
) -> Artifact:
    """Verify and open an artifact.

    Raises UsageError where the file is absent or no GPU provider is there though required; IntegrityError on any
    doubt: size, hash, external data, unknown operators, a newer format, golden rows that disagree.
    """
    limits = limits or Limits()
    data, name, expected = _read(source, limits)
    expected = sha256 or expected
    actual = hashlib.sha256(data).hexdigest()
    if expected is not None and actual != expected:
        raise IntegrityError(f"{name}: sha-256 is {actual[:12]}…, expected {expected[:12]}…; fetch the file again")
    model = _scan(data, name, limits)
    metadata = _metadata(model, name)
    session = _open(data, name, require_gpu)
    artifact = Artifact(actual, "sha256" if expected else "self-test", metadata, session)
    _self_test_of(artifact)(artifact, name)
    if not expected:
        log.info("%s: integrity=self-test (no sha-256 given)", name)
    return artifact


def _self_test_of(artifact: Artifact) -> Callable[[Artifact, str], None]:
    if artifact.modality != "table":
        return _self_test_arrays
    return _self_test if artifact.kind == "detector" else _self_test_augmenter


def _read(source: str | Path | bytes, limits: Limits) -> tuple[bytes, str, str | None]:
    if isinstance(source, bytes):
        return source, "artifact", None
    path = Path(source)
    if not path.is_file():
        raise UsageError(f"there is no artifact {path}; export one with `ganlib export`{_registered(path)}")
    if path.stat().st_size > limits.file_bytes:
        raise IntegrityError(f"{path}: larger than {limits.file_bytes:,} bytes; refused")
    beside = path.with_name(path.name + ".sha256")
    expected = beside.read_text().split()[0] if beside.is_file() and beside.read_text().strip() else None
    return path.read_bytes(), str(path), expected


def _registered(path: Path) -> str:
    """A hint for a registered name that was given as if it were a file."""
    if path.suffix in (".onnx", ".json") or path.exists():
        return ""
    name = path.name if "@" in path.name else f"{path.name}@champion"
    return f"; a registered model is models:/{name}"


def _scan(data: bytes, name: str, limits: Limits) -> Any:
    """Parse the protobuf and refuse what could read files, run foreign code or exhaust the machine."""
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise IntegrityError(f"{name}: not an ONNX file or damaged ({error}); fetch the file again") from error
    if not model.graph.node:
        raise IntegrityError(f"{name}: holds no graph; not an ONNX file or damaged")
    if model.functions:
        raise IntegrityError(f"{name}: holds functions, which this format does not use; refused")
    if foreign := {o.domain for o in model.opset_import} - DOMAINS:
        raise IntegrityError(f"{name}: uses unknown operator domains {sorted(foreign)}; refused")
    counts = {"nodes": 0, "bytes": 0}
    _scan_graph(model.graph, name, counts, limits)
    return model


def _scan_graph(graph: Any, name: str, counts: dict[str, int], limits: Limits) -> None:
    for tensor in graph.initializer:
        _scan_tensor(tensor, name, counts, limits)
    if graph.sparse_initializer:
        raise IntegrityError(f"{name}: holds sparse initialisers, which this format does not use; refused")
    for node in graph.node:
        counts["nodes"] += 1
        if counts["nodes"] > limits.nodes:
            raise IntegrityError(f"{name}: more than {limits.nodes:,} nodes; refused")
        if node.domain not in DOMAINS or node.op_type in ("Loop", "Scan"):
            raise IntegrityError(f"{name}: operator {node.domain or 'ai.onnx'}:{node.op_type} is not allowed; refused")
        for attribute in node.attribute:
            _scan_attribute(attribute, name, counts, limits)


def _scan_attribute(attribute: Any, name: str, counts: dict[str, int], limits: Limits) -> None:
    if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
        raise IntegrityError(f"{name}: holds sparse constants, which this format does not use; refused")
    if attribute.HasField("t"):
        _scan_tensor(attribute.t, name, counts, limits)
    for tensor in attribute.tensors:
        _scan_tensor(tensor, name, counts, limits)
    if attribute.HasField("g"):
        _scan_graph(attribute.g, name, counts, limits)
    for graph in attribute.graphs:
        _scan_graph(graph, name, counts, limits)


def _scan_tensor(tensor: Any, name: str, counts: dict[str, int], limits: Limits) -> None:
    if tensor.data_location == 1 or tensor.external_data:
        raise IntegrityError(f"{name}: refers to external data, which could read any file; refused")
    counts["bytes"] += tensor.ByteSize()
    elements = 1
    for side in tensor.dims:
        elements *= max(int(side), 0)
    if counts["bytes"] > limits.weight_bytes or elements > limits.weight_bytes:
        raise IntegrityError(f"{name}: weights exceed {limits.weight_bytes:,} bytes; refused")


def _metadata(model: Any, name: str) -> dict[str, Any]:
    raw = {p.key: p.value for p in model.metadata_props}
    if "format_version" not in raw:
        raise IntegrityError(f"{name}: an ONNX file, but no sealed artifact; make one with `ganlib train` and `export`")
    try:
        metadata = {key: json.loads(value) for key, value in raw.items()}
        version = int(metadata["format_version"])
    except (ValueError, TypeError) as error:
        raise IntegrityError(f"{name}: damaged metadata ({error}); fetch the file again") from error
    if version > FORMAT_VERSION:
        raise IntegrityError(
            f"{name}: written in format version {version}; this release reads up to {FORMAT_VERSION}. Upgrade to "
            f"the ganlib release that introduced format version {version}"
        )
    _check_keys(metadata, name)
    hashes = {"graph": hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()}
    if metadata.get("modality", "table") == "table":
        named = [key for key in ("schema", "constraints") if key in raw or key in metadata["hashes"]]
        hashes |= {key: hashlib.sha256(raw.get(key, "").encode()).hexdigest() for key in named}
    if wrong := [key for key, value in hashes.items() if metadata["hashes"].get(key) != value]:
        raise IntegrityError(
            f"{name}: the hashes do not fit its {' and '.join(wrong)}; the file was changed or damaged"
        )
    return metadata


def _check_keys(metadata: dict[str, Any], name: str) -> None:
    """Raise IntegrityError on an unknown kind or modality, and where entries are lacking."""
    if lacking := {"kind", "hashes"} - metadata.keys():
        raise IntegrityError(f"{name}: metadata lacks {sorted(lacking)}; fetch the file again")
    kind, modality = str(metadata["kind"]), metadata.get("modality", "table")
    if kind not in _NEEDED or modality not in ("table", "image", "series", "points"):
        raise IntegrityError(f"{name}: a sealed {kind!r} of {modality!r} data is unknown to this release; upgrade it")
    needed = _NEEDED[kind] if modality == "table" else _ARRAYS
    if lacking := needed - metadata.keys():
        raise IntegrityError(f"{name}: metadata lacks {sorted(lacking)}; fetch the file again")


def _open(data: bytes, name: str, require_gpu: bool) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    gpu = "CUDAExecutionProvider" in ort.get_available_providers()
    if require_gpu and not gpu:
        raise UsageError("a GPU is required, but onnxruntime has no CUDA provider here; see docs/install.md")
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"] if gpu else ["CPUExecutionProvider"]
    try:
        return ort.InferenceSession(data, options, providers=providers)
    except Exception as error:  # onnxruntime raises its own types for each kind of damage
        raise IntegrityError(f"{name}: onnxruntime cannot open the graph ({str(error)[:200]})") from error


def golden_feeds(artifact: Artifact) -> dict[str, np.ndarray]:
    """The golden rows as feeds."""
    types = {i.name: i.type for i in artifact.session.get_inputs()}
    columns = artifact.metadata["golden"]["columns"]
    return {name: _feed(values, types[name]) for name, values in columns.items() if name in types}


def _feed(values: list[Any], kind: str) -> np.ndarray:
    if kind == "tensor(string)":
        return np.array(values, dtype=object)
    if kind == "tensor(int64)":
        return np.array([NO_DATE if v is None else v for v in values], dtype=np.int64)
    if kind == "tensor(float)":
        return np.array(values, dtype=np.float32)
    return np.array([np.nan if v is None else float(v) for v in values], dtype=np.float64)


def _self_test(artifact: Artifact, name: str) -> None:
    """Re-score the golden rows; refuse an artifact that disagrees with what torch gave."""
    golden = artifact.metadata["golden"]
    try:
        scores, p = artifact.session.run(["anomaly_score", "p_value"], golden_feeds(artifact))
    except Exception as error:
        raise IntegrityError(f"{name}: the golden rows cannot be scored ({str(error)[:200]})") from error
    expected = np.array(golden["anomaly_score"])
    bound = 1e-5 * np.maximum(np.abs(expected), abs(artifact.calibration["median_score"]))
    wrong = ~(np.abs(scores - expected) <= bound) | ~(np.abs(p - np.array(golden["p_value"])) <= 1e-4)
    if wrong.any():
        raise IntegrityError(f"{name}: {int(wrong.sum())} of {len(wrong)} golden rows disagree with what was sealed")


def _self_test_augmenter(artifact: Artifact, name: str) -> None:
    """Make the golden rows again; numbers and dates agree within 1e-4 · max(1, |value|), categories exactly."""
    golden, session = artifact.metadata["golden"], artifact.session
    feeds: dict[str, np.ndarray] = {"z": np.array(golden["z"], dtype=np.float32)}
    if "condition" in golden:
        feeds["condition"] = np.array(golden["condition"], dtype=object)
    outputs = {output.name: output.type for output in session.get_outputs()}
    try:
        made = dict(zip(outputs, session.run(list(outputs), feeds), strict=True))
    except Exception as error:
        raise IntegrityError(f"{name}: the golden rows cannot be made ({str(error)[:200]})") from error
    if outputs.keys() != golden["columns"].keys():
        raise IntegrityError(f"{name}: the graph makes other columns than its golden rows hold")
    for column, kind in outputs.items():
        expected = _feed(golden["columns"][column], kind)
        if not _agree(made[column], expected):
            raise IntegrityError(f"{name}: golden rows of column {column!r} disagree with what was sealed")


def _agree(made: np.ndarray, expected: np.ndarray) -> bool:
    if made.dtype.kind not in "fi":
        return bool(np.array_equal(made, expected))
    made, expected = made.astype(np.float64), expected.astype(np.float64)
    return bool(np.all(np.isclose(made, expected, rtol=1e-4, atol=1e-4, equal_nan=True)))


def array_output(artifact: Artifact) -> tuple[str, tuple[int, ...]]:
    """The output's name and one example's shape there: codes, channels-last bytes, or values as the model has them."""
    names = [output.name for output in artifact.session.get_outputs()]
    if artifact.kind == "encoder":
        return "z", (int(artifact.metadata["latent_dim"]),)
    if "image" in names and len(artifact.shape) == 3:
        channels, height, width = artifact.shape
        return "image", (height, width, channels)
    return "x", artifact.shape


def _self_test_arrays(artifact: Artifact, name: str) -> None:
    """The graph takes and gives what the metadata say, and makes its golden rows again.

    Numbers and their means agree within 1e-4 · max(1, |value|), bytes within one level, their means within 0.1.
    """
    try:
        output, shape = array_output(artifact)
        if _declared(artifact) != _said(artifact, output, shape):
            raise IntegrityError(f"{name}: the graph takes or gives other arrays than its metadata say")
        golden = artifact.metadata["golden"]
        (made,) = artifact.session.run([output], golden_arrays(artifact))
        flat = made.reshape(len(made), -1).astype(np.float64)
        count = min(POSITIONS, flat.shape[1])
        values = flat[:, np.arange(count) * flat.shape[1] // count]
        near = ((0.0, 1.0), (0.0, 0.1)) if output == "image" else ((1e-4, 1e-4), (1e-4, 1e-4))
        pairs = ((values, np.array(golden["values"], dtype=np.float64)), (flat.mean(1), np.array(golden["mean"])))
    except IntegrityError:
        raise
    except Exception as error:  # whatever damaged metadata make of a run
        raise IntegrityError(f"{name}: the golden rows cannot be made ({str(error)[:200]})") from error
    for (got, expected), (rtol, atol) in zip(pairs, near, strict=True):
        if got.shape != expected.shape or not np.allclose(got, expected, rtol=rtol, atol=atol):
            raise IntegrityError(f"{name}: golden rows disagree with what was sealed")


def _declared(artifact: Artifact) -> list[dict[str, tuple[Any, ...]]]:
    """Shapes without the batch axis by name, of the graph's inputs and outputs."""
    session = artifact.session
    return [{v.name: tuple(v.shape[1:]) for v in values} for values in (session.get_inputs(), session.get_outputs())]


def _said(artifact: Artifact, output: str, shape: tuple[int, ...]) -> list[dict[str, tuple[Any, ...]]]:
    metadata = artifact.metadata
    first = {"x": artifact.shape} if artifact.kind == "encoder" else {"z": (int(metadata["latent_dim"]),)}
    inputs: dict[str, tuple[Any, ...]] = {**first, **({"condition": ()} if metadata["conditions"] else {})}
    if attributes := metadata.get("attributes"):
        inputs["attributes"] = (int(attributes),)
    if metadata.get("examples"):
        inputs["example"] = artifact.shape
    return [inputs, {output: shape}]


def golden_arrays(artifact: Artifact) -> dict[str, np.ndarray]:
    """The golden rows of an array artifact as feeds; examples are made from their numbers."""
    golden, feeds = artifact.metadata["golden"], {}
    if "rows" in golden:
        feeds["x" if artifact.kind == "encoder" else "example"] = _spread(golden["rows"], artifact.shape)
    for key in ("z", "attributes"):
        if key in golden:
            feeds[key] = np.array(golden[key], dtype=np.float32)
    if "condition" in golden:
        feeds["condition"] = np.array(golden["condition"], dtype=object)
    return feeds


def _spread(rows: list[int], shape: tuple[int, ...]) -> np.ndarray:
    """Rows of a Weyl sequence (docs/artifact.md): float32 ``(n, *shape)`` in [-1, 1)."""
    size = math.prod(shape)
    index = np.array(rows, dtype=np.uint64)[:, None] * np.uint64(size) + np.arange(size, dtype=np.uint64)
    turned = (index * np.uint64(2654435769)) % np.uint64(2**32)
    return (turned.astype(np.float64) / 2**31 - 1).astype(np.float32).reshape(len(rows), *shape)
