"""Compares the inputs and outputs that a graph declares with those that its metadata require."""

from __future__ import annotations

from typing import Any

from serving.errors import IntegrityError
from serving.opening.kinds.base import SealedModel
from serving.opening.ports import Ports


def check_interface(model: Any, checked: SealedModel) -> None:
    """Raise IntegrityError if the graph's inputs, outputs or constants differ from its metadata."""
    (inputs, outputs), allowed = checked.ports(), checked.outputs()
    declared = [_declared(values) for values in (model.graph.input, model.graph.output)]
    if declared[0] != inputs or declared[1] not in allowed:
        what = _first_difference(declared[0], inputs) or _first_difference(declared[1], outputs)
        raise IntegrityError(
            f"the graph takes or returns other {checked.holds} than its metadata say (first: {what!r}); "
            "fetch the file again"
        )
    checked.check_constants(model)


def _first_difference(declared: Ports, expected: Ports) -> str | None:
    return next((n for n in [*expected, *declared] if declared.get(n) != expected.get(n)), None)


def _declared(values: Any) -> Ports:
    import onnx

    ports: Ports = {}
    for value in values:
        tensor = value.type.tensor_type
        first, *rest = list(tensor.shape.dim) or [None]
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        free = first is None or first.HasField("dim_param")
        sides = tuple(d.dim_value for d in rest)
        ports[value.name] = (kind if free and value.name not in ports else "other", None if first is None else sides)
    return ports
