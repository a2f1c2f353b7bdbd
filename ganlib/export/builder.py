"""A small builder for ONNX graphs: nodes with generated names, constants stored once."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, ML_OPSET, IR_VERSION = 20, 3, 10


class GraphBuilder:
    """Collects inputs, nodes, initialisers and outputs of one graph.

    Generated names start with ``prefix`` so that they never meet a column's name.
    """

    def __init__(self, prefix: str = "ganlib/") -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._count = 0

    def name(self, hint: str) -> str:
        """A fresh name."""
        self._count += 1
        return f"{self.prefix}{hint}_{self._count}"

    def constant(self, value: Any, dtype: Any = None) -> str:
        """An initialiser; returns its name."""
        name = self.name("const")
        self.initializers.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def op(self, kind: str, *inputs: str, output: str | None = None, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output; returns its name."""
        output = output or self.name(kind)
        self.nodes.append(helper.make_node(kind, list(inputs), [output], domain=domain, **attributes))
        return output

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

    def cast(self, value: str, kind: int) -> str:
        """Cast to a tensor type."""
        return self.op("Cast", value, to=kind)

    def column(self, value: str) -> str:
        """``(n,) -> (n, 1)``."""
        return self.op("Unsqueeze", value, self.constant([1], np.int64))

    def stack(self, values: list[str]) -> str:
        """Columns ``(n,)`` to a matrix ``(n, k)``."""
        columns = [self.column(v) for v in values]
        return columns[0] if len(columns) == 1 else self.op("Concat", *columns, axis=1)

    def model(self, name: str) -> onnx.ModelProto:
        """The finished model."""
        graph = helper.make_graph(self.nodes, name, self.inputs, self.outputs, self.initializers)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="ganlib")


def to_float(builder: GraphBuilder, value: str) -> str:
    """Cast to float32."""
    return builder.cast(value, TensorProto.FLOAT)
