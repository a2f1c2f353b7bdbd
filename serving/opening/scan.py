"""Scans the protobuf before opening: rejects anything that could read files, run code or exhaust the machine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from serving.errors import IntegrityError
from serving.opening.operators import ALLOWED, IR_VERSION, OPSETS

_BRANCHES = {"then_branch", "else_branch"}


@dataclass(frozen=True)
class Limits:
    """Limits on the size of a file and on the cost of running it.

    - ``file_bytes``, ``nodes``, ``weight_bytes``: of the file.
    - ``row_work``: scalar operations for one row with contributions, including fixed costs.
    - ``chunk_bytes``: peak intermediate results, for one row and for one batch.
    - ``seconds`` (processor time), ``memory`` (bytes, beyond six times the file): of the process that first opens an
      untrusted file.
    """

    file_bytes: int = 1 << 30
    nodes: int = 100_000
    weight_bytes: int = 1 << 30
    row_work: int = 1 << 34
    chunk_bytes: int = 1 << 30
    seconds: int = 60
    memory: int = 2 << 30


def parse(data: bytes) -> Any:
    """Parse a ModelProto; raises IntegrityError if the bytes are not one."""
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, ValueError) as error:
        if "alloc" in str(error):
            raise MemoryError from error
        raise IntegrityError(f"not an ONNX file or damaged ({error}); fetch the file again") from error
    if not model.graph.node:
        raise IntegrityError("holds no graph; not an ONNX file or damaged")
    return model


def scan(model: Any, limits: Limits) -> None:
    """Raise IntegrityError for anything that a sealed graph cannot contain."""
    for held, what in ((model.functions, "functions"), (model.training_info, "training steps")):
        if held:
            raise IntegrityError(f"holds {what}, which this format does not use; rejected")
    if foreign := {o.domain for o in model.opset_import} - OPSETS.keys():
        raise IntegrityError(f"uses unknown operator domains {sorted(map(str, foreign))}; rejected")
    versions = [(o.domain, o.version) for o in model.opset_import]
    if sorted(versions) != sorted(OPSETS.items()) or model.ir_version != IR_VERSION:
        raise IntegrityError(f"has operator sets {versions}, IR {model.ir_version}; this format has {OPSETS}; rejected")
    _Scan(limits).graph(model.graph)


def branches(node: Any) -> Iterator[Any]:
    """The subgraphs of a node."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


# Integer attributes of sealed graphs are small; onnxruntime aborts on some large ones.
_NEGATIVE, _LARGE = {"axis", "start", "end", "default_int64"}, 1 << 31
# Types of constants: bytes per value in raw data, and the field that holds the values otherwise.
_STORED = {
    1: (4, "float_data"),
    6: (4, "int32_data"),
    7: (8, "int64_data"),
    8: (0, "string_data"),
    9: (1, "int32_data"),
    11: (8, "double_data"),
}


def _held(tensor: Any) -> float:
    """The number of values in a constant; -1 for types that are not used here and for ambiguous storage."""
    size, where = _STORED.get(tensor.data_type, (0, ""))
    if not where or (tensor.raw_data and (not size or getattr(tensor, where))):
        return -1
    return len(tensor.raw_data) / size if tensor.raw_data else len(getattr(tensor, where))


class _Scan:
    """Counts nodes and bytes over all graphs of one model."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.nodes, self.bytes = limits, 0, 0
        self.names: set[str] = set()

    def graph(self, graph: Any, inner: bool = False) -> None:
        if graph.sparse_initializer:
            raise IntegrityError("holds sparse initialisers, which this format does not use; rejected")
        if inner and graph.input:
            raise IntegrityError("holds a branch with inputs, which this format does not use; rejected")
        given = {v.name for v in graph.input}
        for tensor in graph.initializer:
            self._tensor(tensor)
            if tensor.name not in given:
                self._name(tensor.name)
        for name in given:
            self._name(name)
        for node in graph.node:
            self._node(node, inner)

    def _name(self, name: str) -> None:
        if not isinstance(name, str):  # protobuf gives bytes
            raise IntegrityError(f"has the name {name!r}, which is not UTF-8 text; rejected")
        if name in self.names:
            raise IntegrityError(f"defines the value {name!r} twice; rejected")
        self.names.add(name)

    def _node(self, node: Any, inner: bool) -> None:
        self.nodes += 1
        if self.nodes > self.limits.nodes:
            raise IntegrityError(f"more than {self.limits.nodes:,} nodes; rejected")
        if (node.domain, node.op_type) not in ALLOWED:
            raise IntegrityError(f"operator {node.domain or 'ai.onnx'}:{node.op_type} is not allowed; rejected")
        for name in filter(None, node.output):
            self._name(name)
        for attribute in node.attribute:
            self._attribute(attribute)
        held = {a.name for a in node.attribute if a.HasField("g") or a.graphs}
        if held != (_BRANCHES if node.op_type == "If" else set()) or (inner and held):
            raise IntegrityError(f"operator {node.op_type} holds graphs that this format does not use; rejected")
        for graph in branches(node):
            self.graph(graph, inner=True)

    def _attribute(self, attribute: Any) -> None:
        if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
            raise IntegrityError("holds sparse constants, which this format does not use; rejected")
        if (attribute.i < 0 and attribute.name not in _NEGATIVE) or attribute.i >= _LARGE:
            raise IntegrityError(f"the attribute {attribute.name!r} has the value {attribute.i}; rejected")
        tensors = ([attribute.t] if attribute.HasField("t") else []) + list(attribute.tensors)
        for tensor in tensors:
            self._tensor(tensor)
        if not tensors and not attribute.HasField("g") and not attribute.graphs:
            self._count(attribute.ByteSize())

    def _tensor(self, tensor: Any) -> None:
        if tensor.data_location == 1 or tensor.external_data:
            raise IntegrityError("refers to external data, which could read any file; rejected")
        self._count(tensor.ByteSize())
        if min(tensor.dims, default=0) < 0 or math.prod(tensor.dims) > self.limits.weight_bytes:
            raise IntegrityError(f"weights exceed {self.limits.weight_bytes:,} bytes; rejected")
        if _held(tensor) != math.prod(tensor.dims):
            raise IntegrityError(f"the constant {tensor.name!r} does not match its type and shape; rejected")

    def _count(self, size: int) -> None:
        self.bytes += size
        if self.bytes > self.limits.weight_bytes:
            raise IntegrityError(f"weights exceed {self.limits.weight_bytes:,} bytes; rejected")
