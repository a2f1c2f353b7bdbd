"""The encoder of a generator as ONNX nodes: raw named columns to encoded rows, from which rows can be decoded.

``ganlib.export.preprocess`` is the same for detectors, whose numbers are scaled and whose dates turn in cycles.
"""

from __future__ import annotations

import numpy as np

from ganlib.data.codes import ColumnCode
from ganlib.data.encoder import TableEncoder
from ganlib.data.normal_scores import to_scores
from ganlib.data.values import NO_DATE
from ganlib.export.builder import DOUBLE, FLOAT, INT64, ML, STRING, GraphBuilder
from ganlib.export.preprocess import soft_clip


def encode_rows(builder: GraphBuilder, encoder: TableEncoder) -> str:
    """Add the inputs and nodes that encode raw columns for generation; returns the rows, float32 ``(n, d)``."""
    parts = [part for code in encoder.codes for part in _column(builder, code)]
    return parts[0] if len(parts) == 1 else builder.op("Concat", *parts, axis=1)


def _column(b: GraphBuilder, code: ColumnCode) -> list[str]:
    """The parts of a column, each ``(n, positions)``."""
    if code.kind == "category":
        return [_category(b, code)]
    if code.kind == "date":
        stamps = b.input(code.input, INT64, "batch")
        lacks, values = b.op("Equal", stamps, b.constant(NO_DATE, np.int64)), b.cast(stamps, DOUBLE)
    else:
        values = b.input(code.input, DOUBLE, "batch")
        lacks = b.op("IsNaN", b.op("Sub", values, values))  # NaN - NaN and inf - inf are NaN
    values = b.op("Where", lacks, b.constant(0.0, np.float64), values)
    encoded = values if code.kind == "boolean" else _scaled(b, code, values)
    filled = b.op("Where", lacks, b.constant(code.median, np.float32), b.cast(encoded, FLOAT))
    flags = [] if code.missing_position is None else [b.cast(lacks, FLOAT)]
    return [b.op("Unsqueeze", part, b.constant([1], np.int64)) for part in (filled, *flags)]


def _scaled(b: GraphBuilder, code: ColumnCode, values: str) -> str:
    if code.knots:
        return soft_clip(b, _scores(b, code, values))
    shifted = b.op("Sub", values, b.constant(code.center, np.float64))
    return soft_clip(b, b.op("Div", shifted, b.constant(code.scale, np.float64)))


def _scores(b: GraphBuilder, code: ColumnCode, values: str) -> str:
    """The piecewise linear map to normal scores: one line for each knot and for each stretch between two of them."""
    at, base, slope = pieces(code.knots, code.scores)
    wide, knots = b.op("Unsqueeze", values, b.constant([1], np.int64)), b.constant(at[None])
    passed = [
        b.op("ReduceSum", b.cast(b.op(kind, wide, knots), INT64), b.constant([1], np.int64), keepdims=0)
        for kind in ("GreaterOrEqual", "Greater")
    ]
    piece = b.op("Add", *passed)
    starts = np.concatenate([[at[0]], np.repeat(at, 2)])
    first, low, rise = (b.op("Gather", b.constant(table), piece) for table in (starts, base, slope))
    return b.op("Add", low, b.op("Mul", b.op("Sub", values, first), rise))


def pieces(knots: tuple[float, ...], scores: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places ``(k,)``, and the lines of ``to_scores`` below the first, on each and after each of them: ``(2k + 1,)``.

    A line is its value at the place where it begins and its slope. Places are the knots and the middles of gaps.
    """
    x, y = np.array(knots), np.array(scores)
    gaps = np.flatnonzero(np.diff(y) == 0)
    at = np.unique(np.concatenate([x, x[gaps] + (x[gaps + 1] - x[gaps]) / 2]))

    def score(values: np.ndarray) -> np.ndarray:
        return to_scores(values, knots, scores)

    after, before = np.nextafter(at[:-1], np.inf), np.nextafter(at[1:], -np.inf)
    here, low, high = score(at), score(after), score(before)
    width = before - after
    rise = np.divide(high - low, width, out=np.zeros_like(width), where=width > 0)
    base, slope = np.full(2 * len(at) + 1, here[0]), np.zeros(2 * len(at) + 1)
    base[1::2], base[2:-1:2], base[-1] = here, low, here[-1]
    slope[2:-1:2] = rise
    return at, base, slope


def _category(b: GraphBuilder, code: ColumnCode) -> str:
    """One-hot of the known categories, and of rare and of missing ones if the code has these; else all zeros."""
    size = len(code.categories)
    rare = size if code.has_rare else -1
    missing = size + code.has_rare if code.has_missing else rare
    level = b.op(
        "LabelEncoder", b.input(code.input, STRING, "batch"), domain=ML, keys_strings=[*code.categories, ""],
        values_int64s=[*range(size), missing], default_int64=rare,
    )  # fmt: skip
    wide = b.op("Unsqueeze", level, b.constant([1], np.int64))
    return b.cast(b.op("Equal", wide, b.constant(np.arange(code.width)[None], np.int64)), FLOAT)
