"""Requests and answers of the v2 inference protocol (Open Inference Protocol), with its binary tensor extension."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.scorer import ScoreBatch, Scorer
from serving.service import tensors
from serving.service.inputs import Port
from serving.service.query import Query, kind, limited, options, parsed
from serving.service.rejected import bad

HEADER = "Inference-Header-Content-Length"
SCORES = [Port("anomaly_score", "FP32"), Port("p_value", "FP32"), Port("is_anomaly", "BOOL")]
_LARGEST = 1 << 40


@dataclass(frozen=True)
class Request:
    """A request: what to score, and the outputs to answer with, each with whether it is binary."""

    query: Query
    id: str | None
    outputs: list[tuple[str, bool]] | None
    binary: bool


def read(body: bytes, header: str | None, most: int, example: str | None = None) -> Request:
    """The request in a body. ``header`` is the length of its JSON if binary data follows; ``most`` limits the rows.

    ``example`` is the input that holds examples of more than one value, if the model has one.

    Raises Rejected with what is wrong.
    """
    size = _json_size(header, len(body))
    value = parsed(body[:size])
    given = value.get("parameters")
    alpha, explain = options(given)
    columns, rows = _inputs(value.get("inputs"), memoryview(body)[size:], most, example)
    identity = value.get("id")
    if identity is not None and not isinstance(identity, str):
        raise bad(f"id must be a string, not {kind(identity)}")
    binary = _flag(given or {}, "binary_data_output", False)
    return Request(Query(columns, rows, alpha, explain), identity, _wanted(value.get("outputs"), binary), binary)


def _json_size(header: str | None, size: int) -> int:
    if header is None:
        return size
    if not (header.isascii() and header.isdigit() and len(header) < 12 and int(header) <= size):
        raise bad(f"{HEADER} is {header[:40]!r}; it is the length of the JSON in bytes, at most that of the body")
    return int(header)


def _flag(given: Any, name: str, default: bool) -> bool:
    value = given.get(name, default)
    if not isinstance(value, bool):
        raise bad(f"{name} must be true or false, not {kind(value)}")
    return value


def _objects(value: Any, what: str) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise bad(f"{what} must be a list, not {kind(value)}")
    for place, one in enumerate(value):
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            raise bad(f"{what}[{place}] must be an object with a name")
        if not isinstance(one.get("parameters", {}), dict):
            raise bad(f"{what}[{place}]: the parameters must be an object, not {kind(one['parameters'])}")
    names = [one["name"] for one in value]
    if twice := sorted({name for name in names if names.count(name) > 1})[:1]:
        raise bad(f"{what}: {twice[0]!r} comes twice")
    return value


# -------------------------------------------------------------------- inputs
def _inputs(value: Any, binary: memoryview, most: int, example: str | None) -> tuple[dict[str, Any], int]:
    """The columns by name and the number of rows."""
    given = _objects(value, "inputs")
    if not given:
        raise bad("inputs is empty; give a tensor for each column of the model")
    columns: dict[str, Any] = {}
    rows = None
    for tensor in given:
        name, shape = tensor["name"], _shape(tensor)
        limited(shape[0], most)
        if rows is not None and shape[0] != rows:
            raise bad(f"input {name!r} has {shape[0]:,} rows, but the inputs before it have {rows:,}")
        rows = shape[0]
        columns[name], binary = _column(tensor, shape, binary, name == example)
    if len(binary):
        raise bad(f"{len(binary):,} bytes of binary data belong to no input; give each its binary_data_size")
    return columns, rows or 0


def _shape(tensor: dict[str, Any]) -> list[int]:
    name, shape = tensor["name"], tensor.get("shape")
    fits = isinstance(shape, list) and 1 <= len(shape) <= 8 and all(type(n) is int and n >= 0 for n in shape)
    if not fits or not isinstance(shape, list) or int(np.prod([max(n, 1) for n in shape], dtype=object)) > _LARGEST:
        raise bad(f"input {name!r}: shape must be a list of 1 to 8 whole numbers, rows first", input=name)
    return shape


def _column(tensor: dict[str, Any], shape: list[int], binary: memoryview, example: bool) -> tuple[Any, memoryview]:
    """The column of a tensor, and the binary data after it."""
    name, datatype, given = tensor["name"], tensor.get("datatype"), tensor.get("parameters", {})
    if datatype not in tensors.DATATYPES:
        raise bad(f"input {name!r}: the datatype must be one of {', '.join(tensors.DATATYPES)}", input=name)
    if any(key.startswith("shared_memory") for key in given):
        raise bad(f"input {name!r}: shared memory is not supported; send the data in the request")
    size = given.get("binary_data_size")
    if size is None:
        return _as_column(name, tensors.from_json(name, datatype, shape, tensor.get("data")), datatype, example), binary
    if type(size) is not int or not 0 <= size <= len(binary) or "data" in tensor:
        raise bad(f"input {name!r}: binary_data_size must be a number of bytes that follow, and data left out")
    values = tensors.from_binary(name, datatype, shape, bytes(binary[:size]))
    return _as_column(name, values, datatype, example), binary[size:]


def _as_column(name: str, values: Any, datatype: str, example: bool) -> Any:
    """A tensor as a column; examples keep their shape, and image files their bytes."""
    return values if example else tensors.column(name, values, datatype)


# -------------------------------------------------------------------- outputs
def _wanted(value: Any, binary: bool) -> list[tuple[str, bool]] | None:
    if value is None:
        return None
    wanted = []
    for one in _objects(value, "outputs"):
        given = one.get("parameters", {})
        if "classification" in given or any(key.startswith("shared_memory") for key in given):
            raise bad(f"output {one['name']!r}: classification and shared memory are not supported")
        wanted.append((one["name"], _flag(given, "binary_data", binary)))
    return wanted or None


def outputs_of(scorer: Scorer) -> list[Port]:
    """The outputs of a detector; all after the scores need ``explain``."""
    if not scorer.artifact.explanation:
        return SCORES
    explained = Port(scorer.artifact.explanation, "FP32", (-1, *scorer.artifact.explained_shape))
    return [*SCORES, explained, Port("top_reasons", "BYTES")]


def check_outputs(request: Request, scorer: Scorer) -> None:
    """Raise Rejected for outputs that the model does not have, or that the request needs explain for."""
    known = [port.name for port in outputs_of(scorer)]
    for name, _ in request.outputs or ():
        if name not in known:
            raise bad(f"the model has no output {name!r}; it has {', '.join(known)}")
        if name not in known[: len(SCORES)] and not request.query.explain:
            raise bad(f"output {name!r} needs the parameter explain: true")


def answer(request: Request, scores: ScoreBatch, scorer: Scorer, name: str, version: str) -> tuple[bytes, str | None]:
    """The body of an answer, and the length of its JSON if binary data follows."""
    ports = {port.name: port for port in outputs_of(scorer)}
    chosen = request.outputs or [
        (port, request.binary) for port in list(ports)[: len(ports) if request.query.explain else len(SCORES)]
    ]
    head: dict[str, Any] = {"model_name": name, "model_version": version}
    if request.id is not None:
        head["id"] = request.id
    head["outputs"], blobs = [], []
    for output, binary in chosen:
        values = getattr(scores, output)
        if output == "top_reasons":
            values = [reason or "" for reason in values.to_pylist()]
        said = ports[output].said() | {"shape": [len(scores.p_value), *ports[output].shape[1:]]}
        if binary:
            blobs.append(tensors.to_binary(values))
            said["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            said["data"] = values.reshape(-1).tolist() if isinstance(values, np.ndarray) else values
        head["outputs"].append(said)
    text = json.dumps(head).encode()
    return b"".join([text, *blobs]), str(len(text)) if blobs else None
