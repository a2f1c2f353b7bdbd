"""Exports a torch module to ONNX nodes in a builder; a second copy of the nodes can share the weights."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import inliner, numpy_helper
from torch import Tensor, nn

from ganlib.errors import ParityError
from ganlib.export.builder import OPSET, GraphBuilder
from ganlib.export.parity import open_session
from serving.errors import IntegrityError
from serving.opening.cost import cost
from serving.opening.operators import ALLOWED

_BATCHES = (1, 3, 64)
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Network:
    """An exported module: its graph with ordered inputs and one output, and the exporter used."""

    graph: onnx.GraphProto
    inputs: tuple[str, ...]
    exporter: str

    def add_weights(
        self, builder: GraphBuilder, prefix: str, shared: Sequence[onnx.TensorProto] = ()
    ) -> dict[str, str]:
        """Add the initialisers, named with ``prefix``, except those equal to one of ``shared``; returns their names."""
        present = {_content(tensor): tensor.name for tensor in shared}
        names = {}
        for tensor in self.graph.initializer:
            names[tensor.name] = present.get(_content(tensor), prefix + tensor.name)
            if names[tensor.name] in present.values():
                continue
            kept = onnx.TensorProto()
            kept.CopyFrom(tensor)
            kept.name, kept.doc_string = names[tensor.name], ""
            del kept.metadata_props[:]
            builder.initializers.append(kept)
        return names

    def add_nodes(self, builder: GraphBuilder, weights: Mapping[str, str], prefix: str, *inputs: str) -> str:
        """Add the nodes, values named with ``prefix`` and weights as in ``weights``; returns the output's name."""
        names = dict(weights) | dict(zip(self.inputs, inputs, strict=True)) | {"": ""}
        for node in self.graph.node:
            kept = onnx.NodeProto()
            kept.CopyFrom(node)
            # Remove source files and stack traces, which exporters store here.
            kept.name = kept.doc_string = ""
            del kept.metadata_props[:]
            kept.input[:] = [names.get(n, prefix + n) for n in node.input]
            kept.output[:] = [prefix + n if n else "" for n in node.output]
            builder.nodes.append(kept)
        output = self.graph.output[0].name
        return names.get(output, prefix + output)


def _content(tensor: onnx.TensorProto) -> tuple[int, tuple[int, ...], bytes]:
    return tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes()


def export_network(
    module: nn.Module, *examples: Tensor, exporters: tuple[str, ...] = ("dynamo", "torchscript")
) -> Network:
    """Export with a free batch axis, by the first exporter whose graph agrees with torch at batches of 1, 3 and 64.

    ``examples`` are inputs of at least two rows. Raises ParityError with the failure of each exporter.
    """
    module = copy.deepcopy(module).cpu().eval()
    failures = []
    for name in exporters:
        try:
            model = _EXPORTERS[name](module, examples)
            if model.functions:
                model = inliner.inline_local_functions(model)
            _lift_constants(model.graph)
            problem = _unsupported(model) or _disagreement(model, module, examples)
        except Exception as error:  # exporters may raise anything
            problem = f"{type(error).__name__}: {str(error)[:200]}"
        if problem:
            failures.append(f"{name}: {problem}")
            continue
        weights = {t.name for t in model.graph.initializer}
        return Network(model.graph, tuple(i.name for i in model.graph.input if i.name not in weights), name)
    raise ParityError("the network cannot be exported to ONNX; " + "; ".join(failures))


def _lift_constants(graph: onnx.GraphProto) -> None:
    """Replace Constant nodes by initialisers, as the sealed format requires."""
    nodes = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
        else:
            nodes.append(node)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(nodes)


def _unsupported(model: onnx.ModelProto) -> str:
    """Why the graph does not fit the sealed format; empty if it does."""
    onnx.checker.check_model(model)
    if any(a.HasField("g") for node in model.graph.node for a in node.attribute):
        return "the network holds control flow"
    if foreign := {(node.domain, node.op_type) for node in model.graph.node} - ALLOWED:
        return f"operators that sealed graphs do not have: {', '.join(sorted(name for _, name in foreign))}"
    try:
        cost(model, 1, False)
    except IntegrityError as error:
        return str(error)
    return ""


def _disagreement(model: onnx.ModelProto, module: nn.Module, examples: tuple[Tensor, ...]) -> str:
    """How the graph and torch differ at some batch size (for example by a frozen axis); empty if they agree."""
    session = open_session(model.SerializeToString())
    names = [i.name for i in session.get_inputs()]
    generator = torch.Generator().manual_seed(0)
    for batch in _BATCHES:
        inputs = [_like(example, batch, generator) for example in examples]
        with torch.no_grad():
            expected = module(*inputs).numpy()
        (got,) = session.run(None, dict(zip(names, (i.numpy() for i in inputs), strict=True)))
        if got.shape != expected.shape:
            return f"shape {got.shape} instead of {expected.shape} at batch {batch}"
        bound = _TOLERANCE * (np.abs(expected) + np.median(np.abs(expected)) + 1e-6)
        if not (np.abs(got - expected) <= bound).mean() >= 0.99:
            return f"values differ from torch by up to {np.abs(got - expected).max():.3g} at batch {batch}"
    return ""


def _like(example: Tensor, batch: int, generator: torch.Generator) -> Tensor:
    if example.is_floating_point():
        return torch.randn((batch, *example.shape[1:]), generator=generator)
    # Integers are class indices; only those of the example are valid.
    chosen = torch.randint(len(example), (batch,), generator=generator)
    return example[chosen]


def _names(examples: tuple[Tensor, ...]) -> list[str]:
    return [f"in_{i}" for i in range(len(examples))]


def _dynamo(module: nn.Module, examples: tuple[Tensor, ...]) -> onnx.ModelProto:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _captured(module, examples), dynamo=True, input_names=_names(examples), output_names=["out"],
            external_data=False, verbose=False, opset_version=OPSET,
        )  # fmt: skip
    assert program is not None
    return program.model_proto


def _captured(module: nn.Module, examples: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    """The module's operations with a free batch axis."""
    batch = torch.export.Dim("batch", min=1)
    shapes = tuple({0: batch} for _ in examples)
    with torch.no_grad():
        try:
            return torch.export.export(module, examples, dynamic_shapes=shapes, strict=False)
        except Exception:  # `len(x)` freezes the batch axis in this mode, but not in the strict one
            return torch.export.export(module, examples, dynamic_shapes=shapes, strict=True)


def _torchscript(module: nn.Module, examples: tuple[Tensor, ...]) -> onnx.ModelProto:
    buffer = io.BytesIO()
    names = _names(examples)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, examples, buffer, dynamo=False,  # type: ignore[arg-type]
            input_names=names, output_names=["out"],
            dynamic_axes={n: {0: "batch"} for n in [*names, "out"]}, opset_version=OPSET,
        )  # fmt: skip
    return onnx.load_from_string(buffer.getvalue())


_EXPORTERS: dict[str, Callable[[nn.Module, tuple[Tensor, ...]], onnx.ModelProto]] = {
    "dynamo": _dynamo,
    "torchscript": _torchscript,
}
