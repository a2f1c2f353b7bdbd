"""A torch module as ONNX nodes, added to a builder; its weights can be used by a second copy of its nodes."""

from __future__ import annotations

import io
import logging
import warnings
from dataclasses import dataclass

import onnx
import torch
from torch import Tensor, nn

from ganlib.errors import ParityError
from ganlib.export.builder import OPSET, GraphBuilder


@dataclass(frozen=True)
class Network:
    """An exported module: its graph with inputs in order, one output, and which exporter made it."""

    graph: onnx.GraphProto
    inputs: tuple[str, ...]
    exporter: str

    def add_weights(self, builder: GraphBuilder, prefix: str) -> None:
        """Add the initialisers once."""
        for tensor in self.graph.initializer:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = prefix + tensor.name
            builder.initializers.append(copy)

    def add_nodes(self, builder: GraphBuilder, weights: str, prefix: str, *inputs: str) -> str:
        """Add the nodes, values named with ``prefix`` and weights with ``weights``; returns the output's name."""
        names = {tensor.name: weights + tensor.name for tensor in self.graph.initializer}
        names |= dict(zip(self.inputs, inputs, strict=True)) | {"": ""}
        for node in self.graph.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = ""
            copy.input[:] = [names.get(n, prefix + n) for n in node.input]
            copy.output[:] = [prefix + n for n in node.output]
            builder.nodes.append(copy)
        output = self.graph.output[0].name
        return names.get(output, prefix + output)


def export_network(module: nn.Module, *examples: Tensor) -> Network:
    """Export with a free batch axis: by the dynamo exporter, or by the older one where that fails.

    Raises ParityError naming both failures.
    """
    failures = []
    for exporter in (_dynamo, _torchscript):
        try:
            model = exporter(module, examples)
            onnx.checker.check_model(model)
        except Exception as error:  # exporters raise whatever their passes raise
            failures.append(f"{exporter.__name__.strip('_')}: {type(error).__name__}: {str(error)[:200]}")
            continue
        names = {t.name for t in model.graph.initializer}
        inputs = tuple(i.name for i in model.graph.input if i.name not in names)
        if any(a.HasField("g") for node in model.graph.node for a in node.attribute):
            failures.append(f"{exporter.__name__.strip('_')}: the network holds control flow")
            continue
        return Network(model.graph, inputs, exporter.__name__.strip("_"))
    raise ParityError("the network cannot be exported to ONNX; " + "; ".join(failures))


def _names(examples: tuple[Tensor, ...]) -> list[str]:
    return [f"in_{i}" for i in range(len(examples))]


def _dynamo(module: nn.Module, examples: tuple[Tensor, ...]) -> onnx.ModelProto:
    batch = torch.export.Dim("batch", min=1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(), examples, dynamo=True, input_names=_names(examples), output_names=["out"],
            dynamic_shapes=tuple({0: batch} for _ in examples), external_data=False, verbose=False,
            opset_version=OPSET,
        )  # fmt: skip
    assert program is not None
    return program.model_proto


def _torchscript(module: nn.Module, examples: tuple[Tensor, ...]) -> onnx.ModelProto:
    buffer = io.BytesIO()
    names = _names(examples)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(), examples, buffer, dynamo=False, input_names=names, output_names=["out"],
            dynamic_axes={n: {0: "batch"} for n in [*names, "out"]}, opset_version=OPSET,
        )  # fmt: skip
    return onnx.load_from_string(buffer.getvalue())
