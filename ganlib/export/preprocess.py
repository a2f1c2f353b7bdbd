"""The encoder as ONNX nodes: raw named columns to encoded rows (``ganlib.data.encoder`` is the same in numpy).

Columns of one kind are processed as one matrix ``(columns, n)``. A few large nodes instead of ten small ones per column
keep preprocessing cheap compared with the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ganlib.data.codes import HUGE, LIMIT, ColumnCode
from ganlib.data.encoder import PERIODS, UNEXPECTED_WEIGHT, TableEncoder
from ganlib.data.values import NO_DATE
from ganlib.export.builder import DOUBLE, FLOAT, INT64, ML, STRING, GraphBuilder


@dataclass
class Encoded:
    """Values that the nodes compute.

    ``x`` names the encoded rows ``(n, d)``. ``unexpected`` pairs 0/1 matrices ``(r, n)`` with selections
    ``(r, features)``, which mark the matrix rows that flag a missing value in a column without any in training.
    """

    x: str = ""
    unexpected: list[tuple[str, np.ndarray]] = field(default_factory=list)
    matrices: list[str] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)

    def add(self, matrix: str, positions: Sequence[int]) -> None:
        """Add a matrix ``(r, n)`` and the positions of its rows in the encoded row."""
        self.matrices.append(matrix)
        self.positions.extend(positions)


class _Encoding:
    """Adds the nodes, kind by kind."""

    def __init__(self, builder: GraphBuilder, encoder: TableEncoder) -> None:
        self.builder, self.encoder, self.out = builder, encoder, Encoded()
        self.number = {code.column: i for i, code in enumerate(encoder.codes)}
        self.lacked = {column.name: column.missing for column in encoder.columns()}

    def build(self) -> Encoded:
        codes = self.encoder.codes
        for code in codes:
            self._declare(code)
        if numeric := [c for c in codes if c.kind not in ("category", "text")]:
            # Dates last, so that the other inputs are concatenated without a copy.
            self._numbers(sorted(numeric, key=lambda c: c.kind == "date"))
        if categories := [c for c in codes if c.kind == "category"]:
            self._categories(categories)
        for code in codes:
            if code.kind == "text":
                self._text(code)
        if self.encoder.unexpected_position is not None:
            self.out.add(self._count_unexpected(), [self.encoder.unexpected_position])
        self.out.x = self._assemble()
        return self.out

    def _declare(self, code: ColumnCode) -> None:
        kind = {"category": STRING, "date": INT64, "text": FLOAT}.get(code.kind, DOUBLE)
        self.builder.input(code.input, kind, "batch", *([code.width] if code.kind == "text" else []))

    def _assemble(self) -> str:
        matrices, order = self.out.matrices, np.argsort(self.out.positions)
        rows = matrices[0] if len(matrices) == 1 else self.builder.op("Concat", *matrices, axis=0)
        if (order != np.arange(len(order))).any():
            rows = self.builder.take_rows(rows, order.tolist())
        return self.builder.op("Transpose", rows, perm=[1, 0])

    def _numbers(self, codes: list[ColumnCode]) -> None:
        """Numbers, booleans and dates: scaled, imputed, flagged."""
        b = self.builder
        dates = [c for c in codes if c.kind == "date"]
        feeds = [c.input for c in codes if c.kind != "date"]
        if dates:
            stamps = b.rows([c.input for c in dates], len(dates))
            absent = b.op("Equal", stamps, b.constant(NO_DATE, np.int64))
            values = b.op("Where", absent, b.constant(np.nan, np.float64), b.cast(stamps, DOUBLE))
            feeds.append(b.op("Reshape", values, b.constant([-1], np.int64)))
            self._cycles(stamps, absent, dates)
            self._gaps(stamps, absent, dates)
        values = b.rows(feeds, len(codes))
        # NaN - NaN and inf - inf are NaN, so one test finds all non-finite values.
        lacks = b.op("IsNaN", b.op("Sub", values, values))
        if placed := [i for i, c in enumerate(codes) if c.position]:
            self._place([codes[i] for i in placed], *(_rows(b, m, placed, len(codes)) for m in (values, lacks)))
        missing = b.cast(lacks, FLOAT)
        if flagged := [i for i, c in enumerate(codes) if c.missing_position is not None]:
            self.out.add(b.take_rows(missing, flagged), [codes[i].missing_position or 0 for i in flagged])
        self._watch(codes, list(range(len(codes))), missing, len(codes))

    def _place(self, codes: list[ColumnCode], values: str, lacks: str) -> None:
        """Scale values; use the median if missing."""
        b = self.builder
        # Booleans are unchanged: their codes have the default center 0 and scale 1.
        center = np.array([[float(c.center)] for c in codes])  # type: ignore[arg-type]
        scale = np.array([[float(c.scale)] for c in codes])  # type: ignore[arg-type]
        scaled = b.cast(_scaled(b, values, center, scale), FLOAT)
        median = b.constant([[c.median] for c in codes], np.float32)
        self.out.add(b.op("Where", lacks, median, scaled), [c.start for c in codes])

    def _cycles(self, stamps: str, absent: str, dates: list[ColumnCode]) -> None:
        """Sine and cosine of the time within each cycle, zero where missing."""
        for cycle, period in PERIODS.items():
            if turning := [i for i, c in enumerate(dates) if cycle in c.cycles]:
                chosen = [_rows(self.builder, matrix, turning, len(dates)) for matrix in (stamps, absent)]
                places = [dates[i].first_cycle + 2 * dates[i].cycles.index(cycle) for i in turning]
                self._waves(period, chosen[0], chosen[1], places)

    def _gaps(self, stamps: str, absent: str, dates: list[ColumnCode]) -> None:
        """Seconds since other dates, scaled; the median if either is missing."""
        if not (ends := [i for i, c in enumerate(dates) if c.gap_from]):
            return
        b, place = self.builder, {c.input: i for i, c in enumerate(dates)}
        codes = [dates[i] for i in ends]
        pairs = (ends, [place[c.gap_from] for c in codes])
        end, start = (_rows(b, stamps, rows, len(dates)) for rows in pairs)
        lacks = b.op("Or", *(_rows(b, absent, rows, len(dates)) for rows in pairs))
        seconds = b.op("Div", b.cast(b.op("Sub", end, start), DOUBLE), b.constant(1e6, np.float64))
        center, scale = np.array([[c.gap_center] for c in codes]), np.array([[c.gap_scale] for c in codes])
        scaled = b.cast(_scaled(b, seconds, center, scale), FLOAT)
        median = b.constant([[c.gap_median] for c in codes], np.float32)
        self.out.add(b.op("Where", lacks, median, scaled), [c.gap_position for c in codes])

    def _waves(self, period: int, stamps: str, absent: str, places: list[int]) -> None:
        b, zero = self.builder, self.builder.constant(0.0, np.float32)
        for index, wave in enumerate(("Sin", "Cos")):
            phase = b.cast(b.op("Mod", stamps, b.constant(period, np.int64)), DOUBLE)
            share = b.op("Div", phase, b.constant(float(period), np.float64))
            angle = b.cast(b.op("Mul", share, b.constant(2 * np.pi, np.float64)), FLOAT)
            turned = b.op("Where", absent, zero, b.op(wave, angle))
            self.out.add(turned, [place + index for place in places])

    def _categories(self, codes: list[ColumnCode]) -> None:
        """One-hot of known categories, rare or unseen, and missing."""
        b = self.builder
        levels: list[str] = []
        owner: list[int] = []
        level: list[int] = []
        positions: list[int] = []
        absent: list[int] = []
        for row, code in enumerate(codes):
            rare = len(code.categories)
            places = [float(i) for i in range(rare)] + [rare + 1.0]
            levels.append(
                b.op("LabelEncoder", code.input, domain=ML, keys_strings=[*code.categories, ""], values_floats=places,
                     default_float=float(rare))
            )  # fmt: skip
            absent.append(len(owner) + rare + 1)
            owner += [row] * code.width
            level += range(code.width)
            positions += range(code.start, code.start + code.width)
        spread = b.take_rows(b.rows(levels, len(codes)), owner)
        one_hot = b.cast(b.op("Equal", spread, b.constant(np.array(level)[:, None], np.float32)), FLOAT)
        self.out.add(one_hot, positions)
        self._watch(codes, absent, one_hot, len(positions))

    def _text(self, code: ColumnCode) -> None:
        wide = self.builder.cast(code.input, DOUBLE)
        scaled = _scaled(self.builder, wide, np.array(code.center), np.array(code.scale))
        rows = self.builder.op("Transpose", self.builder.cast(scaled, FLOAT), perm=[1, 0])
        self.out.add(rows, range(code.start, code.start + code.width))

    def _watch(self, codes: list[ColumnCode], rows: list[int], matrix: str, height: int) -> None:
        """Record the rows of ``matrix`` that flag missing values in columns without any in training."""
        select = np.zeros((height, len(self.number)), dtype=np.float32)
        for code, row in zip(codes, rows, strict=True):
            if not self.lacked[code.column]:
                select[row, self.number[code.column]] = 1.0
        if select.any():
            self.out.unexpected.append((matrix, select))

    def _count_unexpected(self) -> str:
        b = self.builder
        counts = [
            b.op("MatMul", b.constant(UNEXPECTED_WEIGHT * select.sum(1)[None], np.float32), matrix)
            for matrix, select in self.out.unexpected
        ]
        return counts[0] if len(counts) == 1 else b.op("Add", *counts)


def encode_columns(builder: GraphBuilder, encoder: TableEncoder) -> Encoded:
    """Add the inputs and nodes that encode raw columns; for a fitted encoder that is not for generation."""
    return _Encoding(builder, encoder).build()


def _rows(builder: GraphBuilder, matrix: str, rows: list[int], height: int) -> str:
    """Some rows of a matrix; the matrix itself for all rows in order."""
    return matrix if rows == list(range(height)) else builder.take_rows(matrix, rows)


def _scaled(builder: GraphBuilder, values: str, center: np.ndarray, scale: np.ndarray) -> str:
    shifted = builder.op("Sub", values, builder.constant(center, np.float64))
    return soft_clip(builder, builder.op("Div", shifted, builder.constant(scale, np.float64)))


def soft_clip(builder: GraphBuilder, z: str) -> str:
    """clip(z, ±L) + sign(z) · L · log(max(|z|, L) / L), double: the encoder's two branches in one expression."""
    limit = builder.constant(LIMIT, np.float64)
    inner = builder.op("Clip", z, builder.constant(-LIMIT, np.float64), limit)
    beyond = builder.op("Clip", builder.op("Abs", z), limit, builder.constant(HUGE, np.float64))
    grown = builder.op("Mul", builder.op("Log", builder.op("Div", beyond, limit)), limit)
    return builder.op("Add", inner, builder.op("Mul", builder.op("Sign", z), grown))
