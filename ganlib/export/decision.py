"""Scores to p-values to decisions as ONNX nodes: an unrolled binary search, the tail, the alarm budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ganlib.calibrate import Calibration, Table
from ganlib.calibrate.conformal import REACH, TIE
from ganlib.calibrate.tail import LEAST_P
from ganlib.export.builder import BOOL, DOUBLE, FLOAT, ML, STRING, GraphBuilder


@dataclass(frozen=True)
class _Tables:
    """Calibration tables end to end, each ``-inf, scores..., +inf...`` of one power of two, and their constants."""

    values: np.ndarray
    stride: int
    n: np.ndarray
    median: np.ndarray
    has_tail: np.ndarray
    tail: dict[str, np.ndarray]

    @classmethod
    def of(cls, tables: list[Table]) -> _Tables:
        stride = 1 << max(t.n for t in tables).bit_length()
        values = np.full((len(tables), stride), np.inf, dtype=np.float32)
        values[:, 0] = -np.inf
        for row, table in enumerate(tables):
            values[row, 1 : table.n + 1] = table.scores
        names = ("threshold", "p_threshold", "shape", "scale")
        tail = {n: np.array([getattr(t.tail, n) if t.tail else 1.0 for t in tables], dtype=np.float64) for n in names}
        has_tail = np.array([t.tail is not None for t in tables])
        n = np.array([t.n for t in tables], dtype=np.int64)
        median = np.array([t.median for t in tables], dtype=np.float32)
        return cls(values.ravel(), stride, n, median, has_tail, tail)


def add_decision(
    builder: GraphBuilder, calibration: Calibration, raw: str, group_input: str | None, alpha: str
) -> None:
    """From raw scores float32 ``(n,)`` to the outputs ``anomaly_score``, ``p_value`` and ``is_anomaly``.

    A raw score that is not finite becomes +inf. Same arithmetic as ``Calibration.p_value``.
    """
    b, groups = builder, list(calibration.groups)
    tables = _Tables.of([calibration.pooled, *(calibration.groups[g] for g in groups)])
    broken = b.op("IsNaN", b.op("Sub", raw, raw))
    score = b.op("Where", broken, b.constant(np.inf, np.float32), raw, output="anomaly_score")
    group = b.constant(0, np.int64) if group_input is None else _group_index(b, groups, group_input)
    below = _search(b, tables, score, group)
    n = b.op("Gather", b.constant(tables.n), group)
    above = b.op("Sub", b.op("Add", n, b.constant(1, np.int64)), below)
    rows = b.op("Add", n, b.constant(1, np.int64))
    p = b.cast(b.op("Div", b.cast(above, DOUBLE), b.cast(rows, DOUBLE)), FLOAT)
    if tables.has_tail.any():
        beyond = b.op("And", b.op("Equal", below, n), b.op("Gather", b.constant(tables.has_tail), group))
        tail = b.cast(_tail(b, tables, score, group), FLOAT)
        p = b.op("Where", beyond, b.op("Min", p, tail), p)
    b.op("Identity", p, output="p_value")
    b.op("LessOrEqual", "p_value", alpha, output="is_anomaly")
    for name, kind in (("anomaly_score", FLOAT), ("p_value", FLOAT), ("is_anomaly", BOOL)):
        b.output(name, kind, "batch")


def _group_index(builder: GraphBuilder, groups: list[str], group_input: str) -> str:
    """0, the pooled table, for groups without a table of their own."""
    value = builder.input(group_input, STRING, "batch")
    keys, values = (groups, list(range(1, len(groups) + 1))) if groups else ([""], [0])
    return builder.op("LabelEncoder", value, domain=ML, keys_strings=keys, values_int64s=values, default_int64=0)


def _search(builder: GraphBuilder, tables: _Tables, score: str, group: str) -> str:
    """How many calibration scores lie below the score, ties aside: an unrolled binary search, int64 ``(n,)``."""
    b = builder
    unit = b.op("Max", b.op("Abs", score), b.op("Gather", b.constant(tables.median), group))
    tie = b.op("Min", b.op("Mul", unit, b.constant(TIE, np.float32)), b.constant(REACH, np.float32))
    least = b.op("Sub", score, tie)
    values = b.constant(tables.values)
    start = b.op("Mul", group, b.constant(tables.stride, np.int64))
    place, step = start, tables.stride // 2
    while step:
        probe = b.op("Add", place, b.constant(step, np.int64))
        place = b.op("Where", b.op("Less", b.op("Gather", values, probe), least), probe, place)
        step //= 2
    return b.op("Sub", place, start)


def _tail(builder: GraphBuilder, tables: _Tables, score: str, group: str) -> str:
    """max(p_threshold · (1 + shape · excess)^(-1/shape), 1e-30): double ``(n,)``."""
    b = builder
    shape = tables.tail["shape"]

    def each(values: np.ndarray) -> str:
        return b.op("Gather", b.constant(values), group)

    distance = b.op("Sub", b.cast(score, DOUBLE), each(tables.tail["threshold"]))
    excess = b.op("Div", b.op("Max", distance, b.constant(0.0, np.float64)), each(tables.tail["scale"]))
    base = b.op("Add", b.constant(1.0, np.float64), b.op("Mul", each(shape), excess))
    p = b.op("Mul", each(tables.tail["p_threshold"]), b.op("Pow", base, each(-1.0 / shape)))
    return b.op("Max", p, b.constant(LEAST_P, np.float64))
