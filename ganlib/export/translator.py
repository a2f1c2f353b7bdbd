"""Exports one direction of a fitted translator as a graph: raw arrays to raw arrays; of tables, see
``ganlib.export.table_translator``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganlib.data.readers import SeriesReader
from ganlib.errors import ConfigError, ParityError
from ganlib.export.array_detector import FORMAT_VERSION, PORTS, bounds_of, layout_of, read_image, read_series
from ganlib.export.arrays import model_card
from ganlib.export.builder import DOUBLE, UINT8, GraphBuilder
from ganlib.export.golden import ARRAY_ROWS, to_json
from ganlib.export.network import export_network
from ganlib.export.parity import Parity, open_session
from ganlib.export.parts import Sealed
from ganlib.export.reference import positions
from ganlib.export.table_translator import seal_rows
from serving.table.artificial import examples
from serving.table.examples import Layout

TOLERANCE = 1e-4
_CHECKED, _LARGE = 136, 4096


def seal_translator(estimator: Any, to: str = "b") -> Sealed:
    """Build the graph of the way to domain ``to``, check it against torch, and choose golden rows.

    ``save_sealed`` writes the result; ``serving.translator`` opens it. The graph takes and gives arrays in the axes,
    type and units of those that the domains were fitted on, except that only bytes are rounded: other whole numbers are
    given as doubles, truth values as floats from 0 to 1. Tables: raw columns to raw columns. Raises ConfigError for an
    estimator that is not fitted and for a direction that the model did not learn; ParityError if the graph does not
    reproduce torch.
    """
    if not hasattr(estimator, "algorithm_") or not hasattr(estimator, "way"):
        raise ConfigError(f"{type(estimator).__name__} is not a fitted translator; call fit first")
    source, target, module = estimator.way(to)
    if source.tabular:
        return seal_rows(estimator, source, target, module, to)
    layout, result = layout_of(source), layout_of(target)
    builder = GraphBuilder(["x", "y"])
    x = builder.input("x", PORTS[layout.dtype], "batch", *layout.shape)
    read = read_series(builder, x, source) if layout.modality == "series" else read_image(builder, x, layout)
    network = export_network(module, torch.zeros(2, *source.field.shape))
    weights = network.add_weights(builder, f"{builder.prefix}weights/")
    made = network.add_nodes(builder, weights, f"{builder.prefix}net/", read)
    if result.modality == "series":
        _write_series(builder, made, target)
    else:
        _write_image(builder, made, result)
    builder.output("y", PORTS[result.dtype], "batch", *result.shape)
    model = builder.model("translator")
    low, high = bounds_of(source)
    rows = _CHECKED if np.prod(layout.shape) <= _LARGE else _CHECKED // 4
    drawn = examples(np.arange(rows), layout, low, high)
    with torch.no_grad():
        expected = _written(module(source.read(drawn.astype(source.kind))), target, result)
    parity = _check(open_session(model.SerializeToString()), drawn, expected, target, result)
    chosen = _whole(expected[:ARRAY_ROWS], result).reshape(ARRAY_ROWS, -1)
    metadata = {
        "format_version": FORMAT_VERSION,
        "model": model_card(estimator.algorithm_),
        "modality": layout.modality,
        "to": to,
        "shape": list(source.field.shape),
        "example": _entry(layout),
        "shape_b": list(target.field.shape),
        "result": _entry(result),
        "golden": {
            "rows": list(range(ARRAY_ROWS)),
            "low": low,
            "high": high,
            "values": to_json(chosen[:, positions(chosen.shape[1])]),
            "mean": to_json(chosen.mean(1)),
        },
    }
    return Sealed("translator", model, network.exporter, parity, metadata)


def _entry(layout: Layout) -> dict[str, Any]:
    return {key: value for key, value in asdict(layout).items() if key != "modality"}


# ---------------------------------------------------------------- what torch gives
def _written(made: Tensor, target: Any, result: Layout) -> np.ndarray:
    """The network's values in the axes and units of the target, not yet rounded, float64."""
    values = made.double().numpy()
    if isinstance(target, SeriesReader):
        values = values * target.deviation + target.mean
        return values
    values = (values.clip(-1, 1) + 1) / 2 if result.low != -1 else values.clip(-1, 1)
    values = values * 255 if result.dtype == "uint8" else values
    if result.channels is None:
        return values[:, 0]
    return values if result.channels == "first" else values.transpose(0, 2, 3, 1)


def _whole(values: np.ndarray, result: Layout) -> np.ndarray:
    """The same, rounded as in the graph."""
    return np.clip(np.rint(values), 0, 255) if result.dtype == "uint8" else values


def _check(session: Any, drawn: np.ndarray, expected: np.ndarray, target: Any, result: Layout) -> Parity:
    """Check that all rows agree, bytes by level unless torch's value is near a boundary; raises ParityError.

    The bound is 1e-4 of the range of pixels, or of the largest deviation or mean of a series.
    """
    unit = TOLERANCE * (255 if result.dtype == "uint8" else 1.0)
    if result.modality == "series":
        unit = TOLERANCE * max(1.0, float(np.abs(target.mean).max()), float(np.abs(target.deviation).max()))
    worst, limits = 0.0, (0, 255) if result.dtype == "uint8" else (-np.inf, np.inf)
    for part in (slice(0, 1), slice(1, 8), slice(0, len(drawn))):
        (got,) = session.run(["y"], {"x": drawn[part]})
        gap = np.abs(got.astype(np.float64) - np.clip(expected[part], *limits))
        if result.dtype == "uint8":
            gap = np.maximum(0.0, gap - 0.5)  # how far torch's value lies beyond the boundary of its level
        if not (gap <= unit).all():
            raise ParityError(
                f"{int((gap > unit).reshape(len(gap), -1).any(1).sum())} of {len(gap)} translations differ between the "
                "ONNX graph and torch; nothing was written"
            )
        worst = max(worst, float(gap.max()))
    return Parity(worst, unit, len(drawn))


# ---------------------------------------------------------------- what the graph gives
def _write_series(b: GraphBuilder, made: str, target: SeriesReader) -> None:
    """Values in the units of the target's channels."""
    mean, deviation = (b.constant(np.asarray(v, np.float64)) for v in (target.mean, target.deviation))
    values = b.op("Add", b.op("Mul", b.cast(made, DOUBLE), deviation), mean)
    if target.kind == np.uint8:
        values = b.op("Round", values)
        values = b.cast(b.op("Clip", values, b.constant(0.0, np.float64), b.constant(255.0, np.float64)), UINT8)
    b.op("Identity", values, output="y")


def _write_image(b: GraphBuilder, made: str, result: Layout) -> None:
    """Pixels in the range, the type and the axes of the target."""

    def number(value: float) -> str:
        return b.constant(value, np.float32)

    values = b.op("Clip", made, number(-1.0), number(1.0))
    if result.dtype == "uint8":
        values = b.op("Round", b.op("Mul", b.op("Add", values, number(1.0)), number(127.5)))
        values = b.cast(values, UINT8)
    elif result.low != -1:
        values = b.op("Div", b.op("Add", values, number(1.0)), number(2.0))
    if result.channels is None:
        b.op("Squeeze", values, b.constant([1], np.int64), output="y")
    elif result.channels == "first":
        b.op("Identity", values, output="y")
    else:
        b.op("Transpose", values, perm=[0, 2, 3, 1], output="y")
