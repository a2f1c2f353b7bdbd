"""p-values and decisions from scores as ONNX nodes: an unrolled binary search, the tail, the alarm budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ganlib.calibrate import Calibration, Table
from ganlib.calibrate.conformal import FADE, REACH, TIE
from ganlib.calibrate.tail import LEAST_P
from ganlib.export.builder import BOOL, DOUBLE, FLOAT, ML, STRING, GraphBuilder


@dataclass(frozen=True)
class _Tables:
    """Concatenated calibration tables, each padded to a power of two as ``-inf, scores..., +inf...``, and constants."""

    values: np.ndarray
    sums: np.ndarray
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
        sums = np.zeros(values.shape)
        for row, table in enumerate(tables):
            values[row, 1 : table.n + 1] = table.scores
            sums[row, : table.n + 1] = table.sums
        names = ("threshold", "p_threshold", "shape", "scale")
        tail = {n: np.array([getattr(t.tail, n) if t.tail else 1.0 for t in tables], dtype=np.float64) for n in names}
        has_tail = np.array([t.tail is not None for t in tables])
        n = np.array([t.n for t in tables], dtype=np.int64)
        median = np.array([t.median for t in tables], dtype=np.float32)
        return cls(values.ravel(), sums.ravel(), stride, n, median, has_tail, tail)


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
    one = b.constant(1.0, np.float64)
    tie, fade = _widths(b, tables, score, group)
    least = b.op("Sub", score, tie)
    place, below = _search(b, tables, least, group)
    n = b.op("Gather", b.constant(tables.n), group)
    rows = b.op("Add", n, b.constant(1, np.int64))
    weight = _faded(b, tables, (place, below), least, fade, group)
    above, wide = b.op("Sub", rows, below), b.cast(rows, DOUBLE)
    p = b.op("Div", b.cast(above, DOUBLE), wide)
    if tables.has_tail.any():
        beyond = b.op("And", b.op("Equal", below, n), b.op("Gather", b.constant(tables.has_tail), group))
        kept = b.op("Min", weight, one)
        tail = b.op("Mul", b.op("Sub", one, kept), b.op("Min", p, _tail(b, tables, score, group)))
        p = b.op("Where", beyond, b.op("Add", b.op("Mul", kept, p), tail), p)
    p = b.op("Min", b.op("Add", p, b.op("Div", weight, wide)), one)
    b.op("Identity", b.cast(p, FLOAT), output="p_value")
    b.op("LessOrEqual", "p_value", alpha, output="is_anomaly")
    for name, kind in (("anomaly_score", FLOAT), ("p_value", FLOAT), ("is_anomaly", BOOL)):
        b.output(name, kind, "batch")


def _group_index(builder: GraphBuilder, groups: list[str], group_input: str) -> str:
    """The index of each row's table; 0, the pooled table, for groups without one."""
    value = builder.input(group_input, STRING, "batch")
    keys, values = (groups, list(range(1, len(groups) + 1))) if groups else ([""], [0])
    return builder.op("LabelEncoder", value, domain=ML, keys_strings=keys, values_int64s=values, default_int64=0)


def _widths(builder: GraphBuilder, tables: _Tables, score: str, group: str) -> tuple[str, str]:
    """The widths of ties and of their fading, float32 ``(n,)`` each."""
    b = builder
    unit = b.op("Max", b.op("Abs", score), b.op("Gather", b.constant(tables.median), group))

    def width(share: float) -> str:
        return b.op("Min", b.op("Mul", unit, b.constant(share, np.float32)), b.constant(REACH, np.float32))

    return width(TIE), b.op("Max", width(FADE), b.constant(np.finfo(np.float32).tiny, np.float32))


def _search(builder: GraphBuilder, tables: _Tables, least: str, group: str) -> tuple[str, str]:
    """How many calibration scores lie below ``least``: an unrolled binary search.

    Returns the place of the largest of them in ``tables.values``, and their number; int64 ``(n,)`` each.
    """
    b = builder
    values = b.constant(tables.values)
    start = b.op("Mul", group, b.constant(tables.stride, np.int64))
    place, step = start, tables.stride // 2
    while step:
        probe = b.op("Add", place, b.constant(step, np.int64))
        place = b.op("Where", b.op("Less", b.op("Gather", values, probe), least), probe, place)
        step //= 2
    return place, b.op("Sub", place, start)


def _faded(builder: GraphBuilder, tables: _Tables, found: tuple[str, str], least: str, fade: str, group: str) -> str:
    """The total weight of the calibration scores up to ``fade`` below ``least``, double ``(n,)``."""
    b = builder
    floor = b.op("Sub", least, fade)
    start, fewer = _search(b, tables, floor, group)
    many = b.cast(b.op("Sub", found[1], fewer), DOUBLE)
    sums = b.constant(tables.sums)
    total = b.op("Sub", b.op("Gather", sums, found[0]), b.op("Gather", sums, start))
    weight = b.op("Div", b.op("Sub", total, b.op("Mul", many, b.cast(floor, DOUBLE))), b.cast(fade, DOUBLE))
    zero = b.constant(0.0, np.float64)
    # Infinite scores have no ties; 0 · inf is NaN.
    return b.op("Where", b.op("Greater", many, zero), b.op("Max", b.op("Min", weight, many), zero), zero)


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
