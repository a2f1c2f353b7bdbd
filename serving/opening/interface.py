"""Compares the inputs and outputs that a graph declares with those that its metadata require."""

from __future__ import annotations

from typing import Any

import numpy as np

from serving.errors import IntegrityError
from serving.opening.entries import Calibration, Column
from serving.opening.metadata import (
    TRANSLATED,
    ArrayDetector,
    Arrays,
    Augmenter,
    Checked,
    Detector,
    TableTranslator,
    Translator,
)
from serving.textfeatures import CHANNELS

# Type, and shape of one row; None for a scalar input.
Port = tuple[str, tuple[int, ...] | None]
Ports = dict[str, Port]
_TYPES = {"number": "double", "integer": "double", "boolean": "double", "date": "int64", "category": "string"}
_NUMBERS = {"uint8": "uint8", "float32": "float", "float64": "double"}
_SCORES: Ports = {"anomaly_score": ("float", ()), "p_value": ("float", ()), "is_anomaly": ("bool", ())}


def column_port(column: Column) -> Port:
    """Type and shape of a column as an input or output."""
    if column.kind == "text":
        return "float", (CHANNELS + (column.buckets or 0),)
    return ("string" if column.role == "group" else _TYPES[column.kind]), ()


def expected_ports(checked: Checked) -> tuple[Ports, Ports]:
    """The inputs and outputs by name that the metadata require."""
    if isinstance(checked, Detector):
        fed = {c.input: column_port(c) for c in checked.schema_.columns if c.role in ("feature", "group")}
        options: Ports = {"alpha": ("float", None), "explain": ("bool", None)}
        return fed | options, _SCORES | {"contributions": ("float", (len(checked.features),))}
    if isinstance(checked, ArrayDetector):
        kind = _NUMBERS[checked.example.dtype], tuple(checked.example.shape)
        return {"x": kind, "alpha": ("float", None)}, _SCORES
    if isinstance(checked, Translator):
        taken, given = checked.example, checked.result
        return {"x": (_NUMBERS[taken.dtype], tuple(taken.shape))}, {"y": (_NUMBERS[given.dtype], tuple(given.shape))}
    if isinstance(checked, TableTranslator):
        fed = {c.input: column_port(c) for c in checked.taken}
        return fed, {TRANSLATED + c.input: column_port(c) for c in checked.given}
    inputs: Ports = {} if checked.kind == "encoder" else {"z": ("float", (checked.latent_dim,))}
    if checked.conditions:
        inputs["condition"] = ("string", ())
    if isinstance(checked, Augmenter):
        return inputs, {c.input: column_port(c) for c in checked.columns()}
    return _array_ports(checked, inputs)


def _array_ports(checked: Arrays, inputs: Ports) -> tuple[Ports, Ports]:
    shape = tuple(checked.shape)
    if checked.kind == "encoder":
        return inputs | {"x": ("float", shape)}, {"z": ("float", (checked.latent_dim,))}
    if checked.attributes:
        inputs["attributes"] = ("float", (checked.attributes,))
    if checked.examples:
        inputs["example"] = ("float", shape)
    return inputs, {"x": ("float", shape)}


def check_interface(model: Any, checked: Checked) -> None:
    """Raise IntegrityError if the graph's inputs or outputs differ from its metadata."""
    inputs, outputs = expected_ports(checked)
    declared = [_declared(values) for values in (model.graph.input, model.graph.output)]
    allowed = [outputs]
    if isinstance(checked, Arrays) and checked.kind == "augmenter" and checked.modality == "image":
        channels, height, width = checked.shape
        allowed.append({"image": ("uint8", (height, width, channels))})
    if declared[0] != inputs or declared[1] not in allowed:
        what = _first_difference(declared[0], inputs) or _first_difference(declared[1], outputs)
        kind = "arrays" if isinstance(checked, Arrays | ArrayDetector | Translator) else "columns"
        raise IntegrityError(
            f"the graph takes or returns other {kind} than its metadata say (first: {what!r}); fetch the file again"
        )
    if isinstance(checked, Detector | ArrayDetector):
        options = {"alpha", "explain"} & inputs.keys()
        _check_constants(model, checked.calibration, options)
    elif free := {t.name for t in model.graph.initializer} & inputs.keys():
        raise IntegrityError(f"gives its input {sorted(free)[0]!r} a default, which this format does not use; rejected")


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


def _check_constants(model: Any, calibration: Calibration, options: set[str]) -> None:
    """Check that the graph's constants contain the ``options``, sizes and median of the metadata."""
    from onnx import numpy_helper

    sizes = [calibration.n, *(group.n for group in calibration.groups.values())]
    found: dict[str, bool] = dict.fromkeys((*sorted(options), "n", "median_score"), False)
    for tensor in model.graph.initializer:
        if tensor.name not in found and list(tensor.dims) != [len(sizes)]:
            continue
        values = numpy_helper.to_array(tensor)
        if tensor.name == "alpha":
            found["alpha"] = values.tolist() == float(np.float32(calibration.alpha))
        elif tensor.name == "explain":
            found["explain"] = values.tolist() is False
        elif values.dtype == np.int64:
            found["n"] |= values.tolist() == sizes
        elif values.dtype == np.float32:
            found["median_score"] |= float(values[0]) == float(np.float32(calibration.median_score))
    if wrong := [name for name, agrees in found.items() if not agrees]:
        raise IntegrityError(f"{wrong[0]} is not what the graph was built with; the file was changed or damaged")
