"""The encoder's law as ONNX nodes: raw named columns to encoded rows (``ganlib.data.encoder`` is the same in numpy)."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from ganlib.data.encoder import DAY, LIMIT, UNEXPECTED_WEIGHT, WEEK, ColumnCode, TableEncoder
from ganlib.data.values import NO_DATE
from ganlib.export.builder import GraphBuilder, to_float


class _Pieces:
    """Matrices and the encoded positions that their columns take."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.positions: list[int] = []

    def add(self, name: str, positions: list[int]) -> None:
        self.names.append(name)
        self.positions.extend(positions)


def encode_columns(builder: GraphBuilder, encoder: TableEncoder) -> str:
    """Add inputs and nodes; returns the name of the encoded rows, float32 ``(n, d)``."""
    pieces = _Pieces()
    unexpected: list[str] = []
    columns = encoder.columns()
    numeric = [(c, k) for c, k in zip(encoder.codes, columns, strict=True) if c.kind not in ("category", "text")]
    if numeric:
        unexpected += _numbers(builder, [c for c, _ in numeric], [k.missing for _, k in numeric], pieces)
    for code, column in zip(encoder.codes, columns, strict=True):
        if code.kind == "category":
            lacks = _category(builder, code, pieces)
            if not column.missing:
                unexpected.append(lacks)
        elif code.kind == "text":
            _text(builder, code, pieces)
    if encoder.unexpected_position is not None:
        count = builder.op("ReduceSum", builder.op("Concat", *unexpected, axis=1), builder.constant([1], np.int64))
        weight = builder.constant(UNEXPECTED_WEIGHT, np.float32)
        pieces.add(builder.op("Mul", count, weight), [encoder.unexpected_position])
    return _assemble(builder, pieces)


def _assemble(builder: GraphBuilder, pieces: _Pieces) -> str:
    joined = pieces.names[0] if len(pieces.names) == 1 else builder.op("Concat", *pieces.names, axis=1)
    order = np.argsort(pieces.positions, kind="stable")
    if (order == np.arange(len(order))).all():
        return joined
    return builder.op("Gather", joined, builder.constant(order, np.int64), axis=1)


def _numbers(builder: GraphBuilder, codes: list[ColumnCode], missing: list[bool], pieces: _Pieces) -> list[str]:
    """All numbers, booleans and dates at once; returns the flags of unexpected missing values, float32 ``(n, k)``."""
    raw = []
    for code in codes:
        if code.kind == "date":
            raw.append(_date(builder, code, pieces))
        else:
            raw.append(builder.input(code.input, TensorProto.DOUBLE, "batch"))
    values = builder.stack(raw)
    lacks = builder.op("Or", builder.op("IsNaN", values), builder.op("IsInf", values))
    filled = builder.op("Where", lacks, builder.constant(0.0, np.float64), values)
    center = builder.constant([float(c.center) for c in codes], np.float64)  # type: ignore[arg-type]
    scale = builder.constant([float(c.scale) for c in codes], np.float64)  # type: ignore[arg-type]
    clipped = soft_clip(builder, builder.op("Div", builder.op("Sub", filled, center), scale))
    median = builder.constant([c.median for c in codes], np.float64)
    pieces.add(to_float(builder, builder.op("Where", lacks, median, clipped)), [c.start for c in codes])
    flags = to_float(builder, lacks)
    flagged = [i for i, c in enumerate(codes) if c.missing_position is not None]
    if flagged:
        chosen = builder.op("Gather", flags, builder.constant(flagged, np.int64), axis=1)
        pieces.add(chosen, [int(codes[i].missing_position or 0) for i in flagged])
    never = [i for i, m in enumerate(missing) if not m]
    return [builder.op("Gather", flags, builder.constant(never, np.int64), axis=1)] if never else []


def soft_clip(builder: GraphBuilder, z: str) -> str:
    """Linear within ±LIMIT, logarithmic beyond, in double."""
    limit = builder.constant(LIMIT, np.float64)
    size = builder.op("Abs", z)
    ratio = builder.op("Div", builder.op("Max", size, limit), limit)
    grown = builder.op("Add", limit, builder.op("Mul", limit, builder.op("Log", ratio)))
    return builder.op(
        "Where", builder.op("LessOrEqual", size, limit), z, builder.op("Mul", builder.op("Sign", z), grown)
    )


def _date(builder: GraphBuilder, code: ColumnCode, pieces: _Pieces) -> str:
    """A date as double with NaN for missing; its cyclic parts go to the pieces."""
    stamp = builder.input(code.input, TensorProto.INT64, "batch")
    lacks = builder.op("Equal", stamp, builder.constant(NO_DATE, np.int64))
    if code.cyclic:
        parts = []
        for period in (DAY, WEEK):
            phase = builder.cast(builder.op("Mod", stamp, builder.constant(period, np.int64)), TensorProto.DOUBLE)
            turn = builder.op("Div", phase, builder.constant(float(period), np.float64))
            angle = to_float(builder, builder.op("Mul", turn, builder.constant(2 * np.pi, np.float64)))
            parts += [builder.op("Sin", angle), builder.op("Cos", angle)]
        cycles = builder.op("Where", builder.column(lacks), builder.constant(0.0, np.float32), builder.stack(parts))
        first = code.start + code.width - 4
        pieces.add(cycles, list(range(first, first + 4)))
    return builder.op("Where", lacks, builder.constant(np.nan, np.float64), builder.cast(stamp, TensorProto.DOUBLE))


def _category(builder: GraphBuilder, code: ColumnCode, pieces: _Pieces) -> str:
    """One-hot by a label encoder and a row of the identity; returns the missing flag, float32 ``(n, 1)``."""
    size = len(code.categories)
    keys = [*code.categories, ""]
    values = [*range(size), size + 1]
    value = builder.input(code.input, TensorProto.STRING, "batch")
    index = builder.op(
        "LabelEncoder", value, domain="ai.onnx.ml", keys_strings=keys, values_int64s=values, default_int64=size
    )
    one_hot = builder.op("Gather", builder.constant(np.eye(code.width), np.float32), index, axis=0)
    pieces.add(one_hot, list(range(code.start, code.start + code.width)))
    lacks = builder.op("Equal", index, builder.constant(size + 1, np.int64))
    return to_float(builder, builder.column(lacks))


def _text(builder: GraphBuilder, code: ColumnCode, pieces: _Pieces) -> None:
    value = builder.input(code.input, TensorProto.FLOAT, "batch", code.width)
    centred = builder.op("Sub", builder.cast(value, TensorProto.DOUBLE), builder.constant(code.center, np.float64))
    scaled = soft_clip(builder, builder.op("Div", centred, builder.constant(code.scale, np.float64)))
    pieces.add(to_float(builder, scaled), list(range(code.start, code.start + code.width)))
