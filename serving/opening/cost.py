"""Estimates the cost of a graph for a number of rows, from shapes alone and without running it.

Every shape is inferred by onnx from the number of rows and from constants. A graph with other shapes, for example ones
that depend on a row's values, is rejected, so that the estimate holds for all rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.errors import IntegrityError
from serving.opening.operators import IR_VERSION, OPSETS
from serving.opening.scan import Limits, branches

# Largest batch of a session: rows scored, rows with contributions, rows generated, and values of arrays.
CHUNK, EXPLAIN_CHUNK, GENERATED_CHUNK, CHUNK_VALUES = 2048, 64, 4096, 1 << 18
# Constants with more values cannot be shapes, so only their type and shape are used.
_SMALL, _LONGEST_SHAPE = 4096, 64
_STRING, INT64 = 32, 7
_LABELS = "serving/labels"
_Shapes = dict[str, tuple[int, tuple[int, ...]]]


@dataclass(frozen=True)
class Cost:
    """The number of scalar operations, and the peak bytes of intermediate results."""

    work: int
    bytes: int


def rows_at_once(model: Any, most: int, explained: bool, limits: Limits) -> int:
    """The batch size for a session, at most ``most``.

    Raises IntegrityError if one row alone exceeds the limits, and the errors of ``cost``.
    """
    one = cost(model, 1, explained)
    if one.work > limits.row_work:
        raise IntegrityError(f"one row takes {one.work:,} operations, more than {limits.row_work:,}; rejected")
    if one.bytes > limits.chunk_bytes:
        raise IntegrityError(f"one row takes {one.bytes:,} bytes, more than {limits.chunk_bytes:,}; rejected")
    rows = most
    while rows > 1 and (held := cost(model, rows, explained).bytes) > limits.chunk_bytes:
        rows = max(1, min(rows // 2, rows * limits.chunk_bytes // held))
    return rows


def cost(model: Any, rows: int, explained: bool) -> Cost:
    """The cost of one run.

    Raises IntegrityError if a shape does not follow from the number of rows, or an output's shape is not as declared.
    """
    nodes = list(_nodes(model.graph, explained))
    shapes = _shapes(model.graph, nodes, rows, explained)
    _check_outputs(model.graph, shapes, rows)
    longest = _STRING + _longest(model.graph)
    work, held, most = 0, 0, 0
    last = {name: i for i, node in enumerate(nodes) for name in node.input}
    made: dict[str, int] = {}
    for i, node in enumerate(nodes):
        work += _work(node, shapes)
        for name in filter(None, node.output):
            kind, shape = shapes[name]
            made[name] = math.prod(shape) * _width(kind, longest)
            held += made[name]
        most = max(most, held + _workspace(node, shapes))
        held -= sum(made.pop(name, 0) for name in {*node.input, *node.output} if last.get(name, i) <= i)
    return Cost(work, most)


def _nodes(graph: Any, explained: bool) -> Iterator[Any]:
    """The nodes in order; an ``If`` is replaced by the nodes of its branches."""
    for node in graph.node:
        inner = list(branches(node))
        if not inner:
            yield node
        for branch in inner if explained else ():
            yield from branch.node


def _check_outputs(graph: Any, shapes: _Shapes, rows: int) -> None:
    """Check that outputs have the declared shapes; a branch may also return zero rows."""
    for value in graph.output:
        if shapes.get(value.name, declared := _with_rows(value, rows)) != declared:
            raise IntegrityError(f"its output {value.name!r} has another shape than it declares; rejected")
    for node in graph.node:
        for branch, name in ((b, n) for b in branches(node) for n in node.output):
            want = next((_with_rows(v, rows)[1] for v in graph.output if v.name == name), ())
            made = [shapes[v.name][1] for v in branch.output if v.name in shapes]
            if len(branch.output) != 1 or any(shape not in (want, (0, *want[1:])) for shape in made):
                raise IntegrityError(f"its output {name!r} has another shape than it declares; rejected")


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        yield from branches(node)


def _shapes(graph: Any, nodes: list[Any], rows: int, explained: bool) -> _Shapes:
    """Type and shape of every value; raises IntegrityError if one does not follow from rows and constants."""
    flat, known = _flat(graph, nodes, rows, explained)
    _check_nodes(flat)
    wanted = {name for node in nodes for name in (*node.input, *node.output) if name}
    _infer(flat, known)
    while not wanted <= known.keys() and _fold(flat, known):
        _infer(flat, known)
    for node in nodes:
        if any(name and name not in known for name in (*node.input, *node.output)):
            raise IntegrityError(f"the output size of {node.op_type} is not known before it runs; rejected")
    return known


def _flat(graph: Any, nodes: list[Any], rows: int, explained: bool) -> tuple[Any, _Shapes]:
    """A flat copy of the graph without large constants, and the shapes of its inputs and constants."""
    import onnx

    flat, known = onnx.ModelProto(ir_version=IR_VERSION), {}
    for domain, version in OPSETS.items():
        flat.opset_import.add(domain=domain, version=version)
    flat.graph.name = "flat"
    flat.graph.node.extend(nodes)
    for node in flat.graph.node:
        if node.op_type == "LabelEncoder":
            _as_cast(node)
    for tensor in (t for g in _graphs(graph) if explained or g is graph for t in g.initializer):
        known[tensor.name] = tensor.data_type, tuple(tensor.dims)
        if math.prod(tensor.dims) <= _SMALL:
            flat.graph.initializer.append(tensor)
    for value in graph.input:
        known.setdefault(value.name, _with_rows(value, rows))
    fixed = {t.name for t in flat.graph.initializer}
    for name in known.keys() - fixed:
        flat.graph.input.append(onnx.helper.make_tensor_value_info(name, *known[name]))
    return flat, known


def _as_cast(node: Any) -> None:
    """Replace a LabelEncoder by a Cast of the same shape and type, because onnx's inference for it may crash."""
    import onnx

    held = {a.name for a in node.attribute}
    kinds = {"values_floats": onnx.TensorProto.FLOAT, "values_strings": onnx.TensorProto.STRING}
    kind = next((kinds[name] for name in kinds if name in held), INT64)
    node.op_type, node.domain, node.name = "Cast", "", _LABELS
    del node.attribute[:]
    node.attribute.append(onnx.helper.make_attribute("to", kind))


def _check_nodes(flat: Any) -> None:
    """Raise IntegrityError for nodes that violate their operators' specification; inference may crash on them."""
    import onnx

    try:
        onnx.checker.check_model(flat)
    except Exception as error:  # onnx raises its own types, and others on unexpected input
        raise IntegrityError(f"the nodes of the graph do not fit ({str(error)[:200]}); rejected") from error


def _infer(flat: Any, known: _Shapes) -> None:
    """Add the shapes that onnx can infer; raises IntegrityError if shapes do not fit."""
    import onnx

    try:
        inferred = onnx.shape_inference.infer_shapes(flat, check_type=True, strict_mode=True)
    except Exception as error:  # onnx raises its own types, and others on unexpected input
        raise IntegrityError(f"the shapes of the graph do not fit ({str(error)[:200]}); rejected") from error
    for value in inferred.graph.value_info:
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(d.HasField("dim_value") and d.dim_value >= 0 for d in tensor.shape.dim):
            known[value.name] = tensor.elem_type, tuple(d.dim_value for d in tensor.shape.dim)


# The operators that exporters compute sizes with. Onnx's own propagation covers only some, with unbounded memory.
_SIZES: dict[str, Callable[..., np.ndarray]] = {
    "Identity": lambda a: a,
    "Cast": lambda a: a,
    "Squeeze": lambda a, *axes: a.reshape(()),
    "Unsqueeze": lambda a, axes: a.reshape((1,)),
    "Reshape": lambda a, shape: a.reshape(shape),
    "Concat": lambda *parts: np.concatenate(parts),
    "Gather": lambda a, at: a[at],
    "Slice": lambda a, start, end, *rest: a[int(start[0]) : int(end[0])],
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
}


def _fold(flat: Any, known: _Shapes) -> bool:
    """Replace nodes that compute a known size by constants; returns whether there were any."""
    from onnx import numpy_helper

    sizes = {t.name: t for t in flat.graph.initializer if t.data_type == INT64}
    values = {name: numpy_helper.to_array(t) for name, t in sizes.items() if math.prod(t.dims) <= _LONGEST_SHAPE}
    kept, count = [], len(flat.graph.node)
    for node in flat.graph.node:
        value = _size_of(node, known, values)
        if value is None:
            kept.append(type(node).FromString(node.SerializeToString()))
            continue
        values[node.output[0]] = value
        known[node.output[0]] = INT64, value.shape
        flat.graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
    del flat.graph.node[:]
    flat.graph.node.extend(kept)
    return len(kept) < count


def _size_of(node: Any, known: _Shapes, values: dict[str, np.ndarray]) -> np.ndarray | None:
    """The size that a node computes from known sizes; None if it does not."""
    if node.op_type == "Shape" and node.input[0] in known:
        ends = {a.name: a.i for a in node.attribute}
        return np.array(known[node.input[0]][1][ends.get("start", 0) : ends.get("end")], dtype=np.int64)
    if node.name == _LABELS or node.op_type not in _SIZES or not all(name in values for name in node.input):
        return None
    if any(a.name == "to" and a.i != INT64 for a in node.attribute):
        return None
    try:
        made = _SIZES[node.op_type](*(values[name] for name in node.input))
    except (ValueError, TypeError, IndexError):
        return None
    return np.asarray(made) if np.ndim(made) <= 1 and np.size(made) <= _LONGEST_SHAPE else None


def _with_rows(value: Any, rows: int) -> tuple[int, tuple[int, ...]]:
    tensor = value.type.tensor_type
    return tensor.elem_type, tuple(d.dim_value if d.HasField("dim_value") else rows for d in tensor.shape.dim)


def _longest(graph: Any) -> int:
    """Bytes of the longest string constant in the graph."""
    lengths = [0]
    for inner in _graphs(graph):
        lengths += (len(s) for tensor in inner.initializer for s in tensor.string_data)
        for node in inner.node:
            for attribute in node.attribute:
                lengths += (len(s) for s in (attribute.s, *attribute.strings, *attribute.t.string_data))
    return max(lengths)


def _width(kind: int, longest: int) -> int:
    import onnx

    return longest if kind == onnx.TensorProto.STRING else onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize


def _size(shapes: _Shapes, name: str) -> int:
    return math.prod(shapes[name][1])


def _work(node: Any, shapes: _Shapes) -> int:
    """Scalar operations: one per input and output value, plus the multiplications of products."""
    values = [_size(shapes, name) for name in (*node.input, *node.output) if name]
    return sum(values) + _products(node, shapes)


def _products(node: Any, shapes: _Shapes) -> int:
    if node.op_type == "MatMul":
        return _size(shapes, node.output[0]) * shapes[node.input[0]][1][-1]
    if node.op_type == "Gemm":
        turned = any(a.name == "transA" and a.i for a in node.attribute)
        return _size(shapes, node.output[0]) * shapes[node.input[0]][1][0 if turned else 1]
    if node.op_type in ("Conv", "ConvTranspose"):
        end = node.output[0] if node.op_type == "Conv" else node.input[0]
        return _size(shapes, end) * math.prod(shapes[node.input[1]][1][1:])
    if node.op_type == "AveragePool":
        window = next((a.ints for a in node.attribute if a.name == "kernel_shape"), ())
        return _size(shapes, node.output[0]) * math.prod(window)
    return 0


def _workspace(node: Any, shapes: _Shapes) -> int:
    """Bytes of the unfolded input of a convolution, for one example."""
    if node.op_type not in ("Conv", "ConvTranspose"):
        return 0
    end = node.output[0] if node.op_type == "Conv" else node.input[0]
    return 8 * math.prod(shapes[end][1][2:]) * math.prod(shapes[node.input[1]][1][1:])
