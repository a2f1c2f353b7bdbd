"""Exports a fitted density as a graph from raw columns or arrays to log-densities."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import onnx
import torch

from ganlib.data.codes import HUGE, LIMIT
from ganlib.errors import ConfigError, ParityError
from ganlib.export.array_detector import FORMAT_VERSION, PORTS, bounds_of, layout_of, read_image, read_series
from ganlib.export.builder import DOUBLE, FLOAT, GraphBuilder
from ganlib.export.golden import ARRAY_ROWS, ROWS, schema_feeds, to_json
from ganlib.export.network import Network, export_network
from ganlib.export.parity import Parity, batches, open_session
from ganlib.export.parts import Sealed, Single, check_names, in_either_precision
from ganlib.export.preprocess import soft_clip
from serving.table.artificial import examples

TOLERANCE = 1e-4
_CHECKED, _LARGE = 520, 4096
_Feeds = dict[str, np.ndarray]


def seal_density(estimator: Any) -> Sealed:
    """Build the graph, check it against the estimator, and choose golden rows.

    The graph takes raw columns, or arrays as they were fitted on, and returns ``log_prob`` in the units of the data,
    NaN for rows with missing or infinite numbers. The network runs in float32, or in double if float32 is too coarse.
    Raises ConfigError for an estimator that is not fitted, ParityError if the graph does not reproduce it.
    """
    if not hasattr(estimator, "density_"):
        raise ConfigError(f"{type(estimator).__name__} is not a fitted density; call fit first")
    reader = estimator.reader_
    if reader.tabular:
        check_names(reader.encoder.columns(), ("log_prob",))
        return in_either_precision(lambda precision: _seal_table(estimator, precision))
    return in_either_precision(lambda precision: _seal_array(estimator, precision))


# ---------------------------------------------------------------- tables
def _seal_table(estimator: Any, precision: type[Single]) -> Sealed:
    encoder = estimator.reader_.encoder
    model, network = _table_graph(estimator, precision)
    feeds = schema_feeds(encoder, _CHECKED, seed=1, wild=0.0)
    feeds = {name: values[4:] for name, values in feeds.items()}  # the first rows are missing or at both ends
    parity, expected = _check(estimator, model, feeds, np.stack([feeds[c.input] for c in encoder.codes], 1))
    chosen = np.argsort(-expected, kind="stable")[:ROWS]
    golden = {"columns": {n: to_json(v[chosen]) for n, v in feeds.items()}, "log_prob": to_json(expected[chosen])}
    metadata = {
        "format_version": FORMAT_VERSION,
        "features": [code.input for code in encoder.codes],
        "golden": golden,
    }
    return Sealed("density", model, network.exporter, parity, metadata)


def _table_graph(estimator: Any, precision: type[Single]) -> tuple[onnx.ModelProto, Network]:
    units, codes = estimator.units_, estimator.reader_.encoder.codes
    b = GraphBuilder([code.input for code in codes])
    values = b.rows([b.input(code.input, DOUBLE, "batch") for code in codes], len(codes))
    center, scale = (b.constant(v[:, None], np.float64) for v in (units.center, units.scale))
    z = b.op("Div", b.op("Sub", values, center), scale)
    placed = b.op("Transpose", b.cast(soft_clip(b, z), FLOAT), perm=[1, 0])
    network, log_q = _network(b, estimator, precision, placed)
    limit = b.constant(LIMIT, np.float64)
    beyond = b.op("Div", limit, b.op("Clip", b.op("Abs", z), limit, b.constant(HUGE, np.float64)))
    # Values minus themselves are 0, or NaN where they are missing or infinite.
    each = b.op("Add", b.op("Log", beyond), b.op("Sub", values, values))
    volume = b.op("ReduceSum", each, b.constant([0], np.int64), keepdims=0)
    _write(b, log_q, volume, -float(np.log(units.scale).sum()))
    return b.model("density"), network


# ---------------------------------------------------------------- arrays
def _seal_array(estimator: Any, precision: type[Single]) -> Sealed:
    reader, layout = estimator.reader_, layout_of(estimator.reader_)
    b = GraphBuilder(["x"])
    x = b.input("x", PORTS[layout.dtype], "batch", *layout.shape)
    placed = read_series(b, x, reader) if layout.modality == "series" else read_image(b, x, layout)
    if layout.modality == "image" and layout.dtype == "uint8":
        placed = b.op("Mul", placed, b.constant(estimator.units_.shrink, np.float32))
    network, log_q = _network(b, estimator, precision, placed)
    rows = _CHECKED if np.prod(layout.shape) <= _LARGE else _CHECKED // 4
    drawn = examples(np.arange(rows), layout, *bounds_of(reader))
    values = estimator.units_.values(drawn.astype(reader.kind))
    _write(b, log_q, None, float(estimator.units_.log_volume(values[:1])[0]))
    model = b.model("density")
    parity, expected = _check(estimator, model, {"x": drawn}, values)
    low, high = bounds_of(reader)
    metadata = {
        "format_version": FORMAT_VERSION,
        "modality": layout.modality,
        "shape": list(reader.field.shape),
        "example": {key: value for key, value in asdict(layout).items() if key != "modality"},
        "golden": {
            "rows": list(range(ARRAY_ROWS)),
            "low": low,
            "high": high,
            "log_prob": to_json(expected[:ARRAY_ROWS]),
        },
    }
    return Sealed("density", model, network.exporter, parity, metadata)


# ---------------------------------------------------------------- both
def _network(b: GraphBuilder, estimator: Any, precision: type[Single], placed: str) -> tuple[Network, str]:
    network = export_network(precision(estimator.density_), torch.zeros(2, *estimator.reader_.spec.shape))
    weights = network.add_weights(b, f"{b.prefix}weights/")
    return network, network.add_nodes(b, weights, f"{b.prefix}net/", placed)


def _write(b: GraphBuilder, log_q: str, volume: str | None, constant: float) -> None:
    """The log-density in raw units: that of placed values, plus the logarithm of the change of volume."""
    total = b.op("Add", b.cast(log_q, DOUBLE), b.constant(constant, np.float64))
    total = total if volume is None else b.op("Add", total, volume)
    b.op("Cast", total, output="log_prob", to=FLOAT)
    b.output("log_prob", FLOAT, "batch")


def _check(estimator: Any, model: onnx.ModelProto, feeds: _Feeds, values: np.ndarray) -> tuple[Parity, np.ndarray]:
    """Compare the graph with the estimator within 1e-4 · max(1, |value|); raises ParityError beyond."""
    session, expected = open_session(model.SerializeToString()), estimator._log_prob(values)
    closest = Parity(0.0, TOLERANCE, len(expected))
    for rows in batches(len(expected)):
        (got,) = session.run(["log_prob"], {name: value[rows] for name, value in feeds.items()})
        gap, bound = np.abs(got - expected[rows]), TOLERANCE * np.maximum(1.0, np.abs(expected[rows]))
        row = int(np.argmax(np.where(np.isfinite(gap), gap / bound, np.inf)))
        if not gap[row] <= bound[row]:
            raise ParityError(
                f"the ONNX graph gives the log-density {got[row]:.8g} where torch gives {expected[rows][row]:.8g}; "
                "nothing was written"
            )
        if gap[row] / bound[row] > closest.max_abs / closest.bound:
            closest = Parity(float(gap[row]), float(bound[row]), len(expected))
    return closest, expected
