"""A small builder of ONNX graphs: one call per node, shared constants, and names that cannot clash with columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, ML_OPSET, IR_VERSION = 20, 3, 10
ML = "ai.onnx.ml"
FLOAT, DOUBLE, INT64 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64
BOOL, STRING, UINT8 = TensorProto.BOOL, TensorProto.STRING, TensorProto.UINT8


class GraphBuilder:
    """Collects inputs, nodes, initialisers and outputs of one graph.

    Internal names start with ``prefix``, made longer until no name in ``taken`` (the raw columns) starts with it.
    """

    def __init__(self, taken: Iterable[str] = (), prefix: str = "ganlib/") -> None:
        names = tuple(taken)
        while any(name.startswith(prefix) for name in names):
            prefix = "_" + prefix
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._known: dict[tuple[Any, ...], str] = {}
        self._count = 0

    def branch(self, name: str) -> GraphBuilder:
        """A builder for a branch of an ``If``: it may use this graph's values, and its own names differ."""
        return GraphBuilder(prefix=f"{self.prefix}{name}/")

    def name(self, hint: str) -> str:
        """A fresh name."""
        self._count += 1
        return f"{self.prefix}{hint}_{self._count}"

    def constant(self, value: Any, dtype: Any = None) -> str:
        """An initialiser; equal ones are stored once."""
        array = np.asarray(value, dtype=dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = self.name("const")
            self.initializers.append(numpy_helper.from_array(array, self._known[key]))
        return self._known[key]

    def op(self, kind: str, *inputs: str, output: str | None = None, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output; returns its name."""
        output = output or self.name(kind)
        self.nodes.append(helper.make_node(kind, list(inputs), [output], domain=domain, **attributes))
        return output

    def cast(self, value: str, kind: int) -> str:
        """Cast to a tensor type."""
        return self.op("Cast", value, to=kind)

    def rows(self, values: list[str], count: int) -> str:
        """Concatenate vectors to a matrix ``(count, n)``."""
        joined = values[0] if len(values) == 1 else self.op("Concat", *values, axis=0)
        return self.op("Reshape", joined, self.constant([count, -1], np.int64))

    def take_rows(self, matrix: str, chosen: list[int]) -> str:
        """Some rows of a matrix."""
        return self.op("Gather", matrix, self.constant(chosen, np.int64), axis=0)

    def input(self, name: str, kind: int, *shape: Any) -> str:
        """Declare a graph input."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def option(self, name: str, value: Any, dtype: Any) -> str:
        """An overridable initialiser: an input with a default."""
        array = np.asarray(value, dtype=dtype)
        self.initializers.append(numpy_helper.from_array(array, name))
        return self.input(name, helper.np_dtype_to_tensor_dtype(array.dtype))

    def output(self, name: str, kind: int, *shape: Any) -> None:
        """Declare a graph output."""
        self.outputs.append(helper.make_tensor_value_info(name, kind, list(shape)))

    def output_if(self, flag: str, name: str, branch: GraphBuilder, value: str, *shape: int) -> None:
        """Declare the output ``name``, float32 ``(n, *shape)``: a value of a branch if ``flag`` is true, or no rows."""
        other = self.branch("otherwise")
        none = other.op("Identity", other.constant(np.zeros((0, *shape), np.float32)))
        for made, found in ((branch, value), (other, none)):
            made.output(found, FLOAT, "explained", *shape)
        branches = {"then_branch": branch.graph("explain"), "else_branch": other.graph("otherwise")}
        self.op("If", flag, output=name, **branches)
        self.output(name, FLOAT, "explained", *shape)

    def graph(self, name: str) -> onnx.GraphProto:
        """The finished graph."""
        return helper.make_graph(self.nodes, name, self.inputs, self.outputs, self.initializers)

    def model(self, name: str) -> onnx.ModelProto:
        """The finished model."""
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(ML, ML_OPSET)]
        return helper.make_model(self.graph(name), opset_imports=opsets, ir_version=IR_VERSION, producer_name="ganlib")
