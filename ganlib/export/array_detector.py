"""Exports a fitted detector of images or series as a graph from raw arrays to scores, decisions and maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import onnx
import torch

from ganlib.data.readers.image import ImageReader
from ganlib.data.readers.series import SeriesReader
from ganlib.errors import ParityError
from ganlib.explain import Occlusion
from ganlib.explain.places import LARGEST
from ganlib.export.builder import DOUBLE, FLOAT, UINT8, GraphBuilder
from ganlib.export.decision import add_decision
from ganlib.export.golden import ARRAY_ROWS, firm_rows, to_json
from ganlib.export.network import Network, export_network
from ganlib.export.parity import check_detector, check_map, open_session
from ganlib.export.parts import Sealed, Single, alarm_budget, in_either_precision
from serving.table.artificial import examples
from serving.table.examples import Layout

FORMAT_VERSION = 3  # of densities and translators
DETECTOR_VERSION = 4  # detectors have a map
_CHECKED, _CANDIDATES, _LARGE, _PLACED = 520, 64, 4096, 12
PORTS = {"uint8": UINT8, "float32": FLOAT, "float64": DOUBLE}


def seal_array_detector(estimator: Any) -> Sealed:
    """Build the graph, check it against the estimator, and choose golden rows. Raises ParityError.

    The network runs in float32, or in double if float32 is too coarse for the parity bound and onnxruntime has all its
    operators in double.
    """
    return in_either_precision(lambda precision: _seal_in(estimator, precision))


def _seal_in(estimator: Any, precision: type[Single]) -> Sealed:
    reader, calibration = estimator.reader_, estimator.calibration_
    layout, bounds = layout_of(reader), bounds_of(reader)
    rows = _CHECKED if np.prod(layout.shape) <= _LARGE else _CHECKED // 4
    drawn = examples(np.arange(rows), layout, *bounds)
    limit, placed = estimator.locator_.limit.item(), estimator._places(reader.feeds(drawn[:_PLACED]))
    model, exporter = _graph(estimator, layout, precision, placed.shape[1:])
    session = open_session(model.SerializeToString())
    scores = estimator.anomaly_score(drawn)
    parity = check_detector(session, {"x": drawn}, scores, calibration, None)
    size = np.maximum(np.abs(scores[:_PLACED]), calibration.median_score) / limit
    check_map(session, {"x": drawn[:_PLACED]}, placed, size)
    (got,) = session.run(["anomaly_score"], {"x": drawn[:_CANDIDATES]})
    firm = np.flatnonzero(firm_rows(calibration, got, scores[:_CANDIDATES], None))
    if not len(firm):
        raise ParityError("no row scores the same in the ONNX graph and in torch; nothing was written")
    chosen = np.resize(firm, ARRAY_ROWS)
    metadata = {
        "format_version": DETECTOR_VERSION,
        "modality": layout.modality,
        "shape": list(reader.field.shape),
        "example": {key: value for key, value in asdict(layout).items() if key != "modality"},
        "calibration": calibration.to_dict()
        | {"group_column": None, "alpha": alarm_budget(estimator)}
        | _runs(estimator),
        "contributions": None,
        "map": {"places": list(placed.shape[1:]), "limit": limit},
        "golden": {
            "rows": chosen.tolist(),
            "low": bounds[0],
            "high": bounds[1],
            "anomaly_score": to_json(scores[chosen]),
            "p_value": to_json(calibration.p_value(scores[chosen])),
            "highest_place": to_json(estimator._places(reader.feeds(drawn[chosen])).max((1, 2))),
        },
    }
    return Sealed("detector", model, exporter, parity, metadata, calibration.alpha_min)


def _runs(estimator: Any) -> dict[str, int]:
    """The number of runs behind the calibration, if rows were split by runs."""
    runs = getattr(estimator, "calibration_runs_", None)
    return {} if runs is None else {"runs": runs}


def layout_of(reader: ImageReader | SeriesReader) -> Layout:
    """How the arrays that a detector was fitted on are laid out."""
    if isinstance(reader, SeriesReader):
        return Layout("series", tuple(reader.axes), "uint8" if reader.kind == np.uint8 else "float64")
    channels: Literal["first", "last"] | None = None
    if len(reader.axes) == 3:
        channels = "first" if reader.channels_first else "last"
    if reader.kind == np.uint8:
        return Layout("image", tuple(reader.axes), "uint8", channels)
    return Layout("image", tuple(reader.axes), "float32", channels, -1.0 if reader.signed else 0.0)


def bounds_of(reader: ImageReader | SeriesReader) -> tuple[list[float], list[float]]:
    """The range of artificial examples: that of pixels, or two deviations about the mean of each channel, rounded."""
    if isinstance(reader, ImageReader):
        return [-1.0 if reader.signed else 0.0], [1.0]
    mean, deviation = (np.asarray(v, np.float64).reshape(-1) for v in (reader.mean, reader.deviation))
    low, high = mean - 2 * deviation, mean + 2 * deviation
    return [float(f"{v:.6g}") for v in low], [float(f"{v:.6g}") for v in high]


def _graph(estimator: Any, layout: Layout, precision: type[Single], grid: Sequence[int]) -> tuple[onnx.ModelProto, str]:
    builder = GraphBuilder(["x"])
    x = builder.input("x", PORTS[layout.dtype], "batch", *layout.shape)
    reader = estimator.reader_
    read = read_series(builder, x, reader) if layout.modality == "series" else read_image(builder, x, layout)
    network = export_network(precision(estimator.scorer_), torch.zeros(2, *reader.field.shape))
    weights = network.add_weights(builder, f"{builder.prefix}weights/")
    raw = network.add_nodes(builder, weights, f"{builder.prefix}net/", read)
    alpha = builder.option("alpha", alarm_budget(estimator), np.float32)
    explain = builder.option("explain", False, np.bool_)
    add_decision(builder, estimator.calibration_, raw, None, alpha)
    then, places = builder.branch("explain"), estimator.locator_
    if isinstance(places.locator, Occlusion):
        found = _drops(then, places.locator, network, weights, read, "anomaly_score")
    else:
        located = export_network(precision(places.locator), torch.zeros(2, *reader.field.shape))
        own = located.add_weights(then, f"{then.prefix}weights/", shared=builder.initializers)
        found = located.add_nodes(then, own, f"{then.prefix}net/", read)
    limited = then.op("Div", found, then.constant(places.limit.item(), np.float32))
    builder.output_if(explain, "map", then, limited, *grid)
    return builder.model("detector"), network.exporter


def _drops(
    b: GraphBuilder, occlusion: Occlusion, scorer: Network, weights: Mapping[str, str], x: str, score: str
) -> str:
    """The arithmetic of ``ganlib.explain.places.Occlusion``, with the nodes of the scorer."""

    def sizes(*values: int) -> str:
        return b.constant(values, np.int64)

    masks, usual = occlusion.masks.numpy()[None], occlusion.usual.numpy()[None, None]
    replaced = b.op("Where", b.constant(masks), b.constant(usual), b.op("Unsqueeze", x, sizes(1)))
    flat = b.op("Reshape", replaced, sizes(-1, *occlusion.usual.shape))
    rescored = scorer.add_nodes(b, weights, f"{b.prefix}net/", flat)
    drops = b.op("Sub", b.op("Unsqueeze", score, sizes(1)), b.op("Reshape", rescored, sizes(-1, masks.shape[1])))
    known = b.op("Where", b.op("IsNaN", drops), b.constant(0.0, np.float32), drops)
    within = b.op("Clip", known, b.constant(0.0, np.float32), b.constant(LARGEST, np.float32))
    return b.op("Reshape", within, sizes(-1, *occlusion.grid))


def read_image(b: GraphBuilder, x: str, layout: Layout) -> str:
    """Pixels in [-1, 1], channels first, with the arithmetic of ``ganlib.data.images.to_tensor``."""

    def number(value: float) -> str:
        return b.constant(value, np.float32)

    if layout.dtype == "uint8":
        pixels = b.op("Sub", b.op("Div", b.cast(x, FLOAT), number(127.5)), number(1.0))
    else:
        signed = x if layout.low == -1 else b.op("Sub", b.op("Mul", x, number(2.0)), number(1.0))
        pixels = b.op("Clip", signed, number(-1.0), number(1.0))
    if layout.channels is None:
        return b.op("Unsqueeze", pixels, b.constant([1], np.int64))
    return pixels if layout.channels == "first" else b.op("Transpose", pixels, perm=[0, 3, 1, 2])


def read_series(b: GraphBuilder, x: str, reader: SeriesReader) -> str:
    """Values over the scale of each channel of the training data."""
    mean, deviation = (b.constant(v, np.float64) for v in (reader.mean, reader.deviation))
    values = b.cast(x, DOUBLE) if reader.kind == np.uint8 else x
    return b.cast(b.op("Div", b.op("Sub", values, mean), deviation), FLOAT)
