"""Decodes encoded rows to raw columns as ONNX nodes (``ganlib.data.inverse`` is the same in numpy)."""

from __future__ import annotations

import numpy as np

from ganlib.data.codes import LIMIT, ColumnCode
from ganlib.data.encoder import TableEncoder
from ganlib.data.schema import Column
from ganlib.data.values import NO_DATE
from ganlib.export.builder import DOUBLE, FLOAT, INT64, ML, STRING, GraphBuilder
from serving.table.layouts import parts_of


def add_latent(builder: GraphBuilder, latent_dim: int, conditions: list[str]) -> list[str]:
    """Declare ``z`` and, with conditions, ``condition``; returns the sampler's inputs."""
    z = builder.input("z", FLOAT, "batch", latent_dim)
    return [z, add_condition(builder, conditions)] if conditions else [z]


def add_condition(builder: GraphBuilder, conditions: list[str]) -> str:
    """Declare ``condition``; returns class indices int64 ``(n,)``.

    An unknown condition makes the run fail, so that it is not silently replaced by another class.
    """
    value = builder.input("condition", STRING, "batch")
    classes = list(range(len(conditions)))
    index = builder.op(
        "LabelEncoder", value, domain=ML, keys_strings=conditions, values_int64s=classes, default_int64=len(classes)
    )
    return builder.op("Gather", builder.constant(classes, np.int64), index)


def decode_columns(builder: GraphBuilder, encoder: TableEncoder, rows: str, prefix: str = "") -> None:
    """Add nodes and outputs that turn encoded rows ``(n, d)`` into raw columns, typed as docs/artifact.md says.

    ``prefix`` comes before the names of outputs: a graph that also reads columns may read some of the same name.
    """
    positions = builder.op("Transpose", rows, perm=[1, 0])
    for code, column in zip(encoder.codes, encoder.columns(), strict=True):
        if code.kind == "category":
            _category(builder, code, positions, prefix + code.input)
        else:
            _number(builder, code, column, positions, prefix + code.input)


def _position(builder: GraphBuilder, positions: str, index: int) -> str:
    return builder.op("Gather", positions, builder.constant(index, np.int64), axis=0)


def _category(builder: GraphBuilder, code: ColumnCode, positions: str, output: str) -> None:
    # Rare levels are missing, because the file must not list them.
    names = [*code.categories, *[""] * code.has_rare, *[""] * code.has_missing] or [""]
    block = builder.take_rows(positions, list(range(code.start, code.start + code.width)))
    chosen = builder.op("ArgMax", block, axis=0, keepdims=0)
    builder.op(
        "LabelEncoder", chosen, domain=ML, keys_int64s=list(range(len(names))), values_strings=names,
        default_string="", output=output,
    )  # fmt: skip
    builder.output(output, STRING, "batch")


def _number(b: GraphBuilder, code: ColumnCode, column: Column, positions: str, output: str) -> None:
    """Numbers, booleans and dates."""
    encoded = b.cast(_position(b, positions, code.start), DOUBLE)
    half = b.constant(0.5, np.float64)
    if code.kind == "boolean":
        values = b.cast(b.op("Greater", encoded, half), DOUBLE)
    else:
        values = _raw(b, code, column, encoded)
    absent = None
    if code.missing_position is not None:
        absent = b.op("Greater", _position(b, positions, code.missing_position), b.constant(0.5, np.float32))
    if code.kind == "date":
        stamps, none = b.cast(values, INT64), b.constant(NO_DATE, np.int64)
        final = stamps if absent is None else b.op("Where", absent, none, stamps)
    else:
        final = values if absent is None else b.op("Where", absent, b.constant(np.nan, np.float64), values)
    kind = INT64 if code.kind == "date" else DOUBLE
    b.op("Identity", final, output=output)
    b.output(output, kind, "batch")


def _raw(b: GraphBuilder, code: ColumnCode, column: Column, encoded: str) -> str:
    values = _from_scores(b, code, encoded) if code.knots else _unscaled(b, code, encoded)
    if column.step is not None:
        values = _on_grid(b, values, column.step)
    values = b.op("Clip", values, *(b.constant(bound, np.float64) for bound in column.bounds))
    return b.op("Round", values) if code.kind in ("integer", "date") else values


def _on_grid(b: GraphBuilder, values: str, step: float) -> str:
    """Round to multiples of a step (``serving.table.layouts.on_grid``)."""
    multiple, decimals = parts_of(step)
    power, unit = b.constant(10.0**decimals, np.float64), b.constant(float(multiple), np.float64)
    whole = b.op("Round", b.op("Div", b.op("Mul", values, power), unit))
    return b.op("Div", b.op("Mul", whole, unit), power)


def _unscaled(b: GraphBuilder, code: ColumnCode, encoded: str) -> str:
    """Invert the soft clip, then scale."""
    limit, one = b.constant(LIMIT, np.float64), b.constant(1.0, np.float64)
    size = b.op("Abs", encoded)
    power = b.op("Min", b.op("Sub", b.op("Div", size, limit), one), b.constant(5.0, np.float64))
    grown = b.op("Mul", b.op("Sign", encoded), b.op("Mul", limit, b.op("Exp", power)))
    z = b.op("Where", b.op("LessOrEqual", size, limit), encoded, grown)
    return b.op("Add", b.op("Mul", z, b.constant(code.scale, np.float64)), b.constant(code.center, np.float64))


def _from_scores(b: GraphBuilder, code: ColumnCode, encoded: str) -> str:
    """Piecewise linear interpolation of the knots, extrapolated with their mean slope."""
    knots, scores = np.array(code.knots), np.array(code.scores)
    first, last = b.constant(scores[0]), b.constant(scores[-1])
    inner = b.op("Clip", encoded, first, last)
    wide = b.op("Unsqueeze", inner, b.constant([1], np.int64))
    passed = b.op("GreaterOrEqual", wide, b.constant(scores[None, 1:-1]))
    segment = b.op("ReduceSum", b.cast(passed, INT64), b.constant([1], np.int64), keepdims=0)
    # Jumps have no width, so they are never selected as a segment.
    slopes = np.divide(np.diff(knots), np.diff(scores), out=np.zeros(len(knots) - 1), where=np.diff(scores) > 0)
    start, base, slope = (b.op("Gather", b.constant(v), segment) for v in (scores[:-1], knots[:-1], slopes))
    inside = b.op("Add", b.op("Mul", slope, b.op("Sub", inner, start)), base)
    outside = b.op("Mul", b.op("Sub", encoded, inner), b.constant((knots[-1] - knots[0]) / (scores[-1] - scores[0])))
    return b.op("Add", inside, outside)
