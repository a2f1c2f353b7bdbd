"""Scores to p-values to decisions as ONNX nodes: an unrolled binary search, the tail, the alarm budget."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from ganlib.calibrate import Calibration, Table
from ganlib.export.builder import GraphBuilder, to_float


@dataclass(frozen=True)
class _Tables:
    """Calibration tables laid end to end, each padded with +inf to one power of two, and their constants."""

    values: np.ndarray
    stride: int
    n: np.ndarray
    has_tail: np.ndarray
    tail: dict[str, np.ndarray]


def _lay_out(tables: list[Table]) -> _Tables:
    stride = 2 ** math.ceil(math.log2(max(t.n for t in tables) + 1))
    values = np.full((len(tables), stride), np.inf, dtype=np.float32)
    for row, table in enumerate(tables):
        values[row, : table.n] = table.scores
    names = ("threshold", "p_threshold", "shape", "scale")
    tail = {n: np.array([getattr(t.tail, n) if t.tail else 1.0 for t in tables], dtype=np.float64) for n in names}
    has_tail = np.array([t.tail is not None for t in tables])
    return _Tables(values.ravel(), stride, np.array([t.n for t in tables], dtype=np.int64), has_tail, tail)


def add_decision(
    builder: GraphBuilder, calibration: Calibration, score: str, group_input: str | None, alpha: str
) -> None:
    """From ``score`` float32 ``(n,)`` to the outputs ``p_value`` and ``is_anomaly``."""
    groups = list(calibration.groups)
    tables = _lay_out([calibration.pooled, *(calibration.groups[g] for g in groups)])
    score = builder.op("Where", builder.op("IsNaN", score), builder.constant(np.inf, np.float32), score)
    if group_input is None:
        group = builder.constant(0, np.int64)
    else:
        value = builder.input(group_input, TensorProto.STRING, "batch")
        keys, values = groups or [""], list(range(1, len(groups) + 1)) or [0]
        group = builder.op(
            "LabelEncoder", value, domain="ai.onnx.ml", keys_strings=keys, values_int64s=values, default_int64=0
        )
    below = _search(builder, tables, score, group)
    n = builder.op("Gather", builder.constant(tables.n), group)
    one = builder.constant(1, np.int64)
    above = builder.cast(builder.op("Sub", builder.op("Add", n, one), below), TensorProto.DOUBLE)
    rows = builder.cast(builder.op("Add", n, one), TensorProto.DOUBLE)
    p = to_float(builder, builder.op("Div", above, rows))
    if tables.has_tail.any():
        beyond = builder.op("And", builder.op("Equal", below, n), _gather(builder, tables.has_tail, group))
        tail = builder.op("Min", p, to_float(builder, _tail(builder, tables, score, group)))
        p = builder.op("Where", beyond, tail, p)
    builder.op("Identity", p, output="p_value")
    builder.op("LessOrEqual", "p_value", alpha, output="is_anomaly")
    builder.output("p_value", TensorProto.FLOAT, "batch")
    builder.output("is_anomaly", TensorProto.BOOL, "batch")


def _gather(builder: GraphBuilder, values: np.ndarray, group: str) -> str:
    return builder.op("Gather", builder.constant(values), group)


def _search(builder: GraphBuilder, tables: _Tables, score: str, group: str) -> str:
    """How many calibration scores lie strictly below: a binary search unrolled over the power of two."""
    values = builder.constant(tables.values)
    start = builder.op("Mul", group, builder.constant(tables.stride, np.int64))
    count = builder.cast(builder.op("Mul", score, builder.constant(0, np.float32)), TensorProto.FLOAT)
    # Zeros of the batch's shape; 0 · inf would be NaN, so they are made by a comparison.
    count = builder.cast(builder.op("Less", count, builder.constant(-1, np.float32)), TensorProto.INT64)
    step = tables.stride // 2
    while step:
        probe = builder.op("Add", builder.op("Add", start, count), builder.constant(step - 1, np.int64))
        less = builder.op("Less", builder.op("Gather", values, probe), score)
        jump = builder.op("Mul", builder.cast(less, TensorProto.INT64), builder.constant(step, np.int64))
        count = builder.op("Add", count, jump)
        step //= 2
    return count


def _tail(builder: GraphBuilder, tables: _Tables, score: str, group: str) -> str:
    """p_threshold · (1 + shape · excess)^(-1/shape), exponential where the shape is 0: double ``(n,)``."""
    constants = {name: _gather(builder, values, group) for name, values in tables.tail.items()}
    zero, one = builder.constant(0.0, np.float64), builder.constant(1.0, np.float64)
    distance = builder.op("Sub", builder.cast(score, TensorProto.DOUBLE), constants["threshold"])
    excess = builder.op("Div", builder.op("Max", distance, zero), constants["scale"])
    flat = np.abs(tables.tail["shape"]) < 1e-6
    shape = _gather(builder, np.where(flat, 1.0, tables.tail["shape"]), group)
    power = builder.op("Div", builder.op("Neg", one), shape)
    pareto = builder.op("Pow", builder.op("Add", one, builder.op("Mul", shape, excess)), power)
    exponential = builder.op("Exp", builder.op("Neg", excess))
    survival = builder.op("Where", _gather(builder, flat, group), exponential, pareto)
    return builder.op("Mul", constants["p_threshold"], survival)
