"""Encodes tables as vectors, fitted on training rows, with the same arithmetic as the sealed graph.

Encoding (numpy here, ONNX in ``ganlib.export.preprocess``):
- Numbers: non-finite values are missing; ``(v - center) / scale`` in float64; the training median if missing; linear
  within ±10 and logarithmic beyond, so that 1e12 stays finite and ordered; then float32. A 0/1 flag marks missing
  values in columns that had some in training.
- Booleans are 0/1. Categories are one-hot of (categories..., rare or unseen, missing). Text features are numbers.
- Dates are microseconds, encoded as numbers for generation. For detection they are the sine and cosine of the time of
  day, week or year (UTC), and numbers only if the schema says so (``ganlib.data.roles``).
- The time since another date, in seconds, is a number; the median if either date is missing (``ganlib.data.gaps``).
- For detection, one last position is 5 × the number of missing values in columns that had none in training, so that
  such rows do not look normal.

Privacy: a missing number is replaced by the median if several rows share it, and otherwise by the mean of the five
rows around it, so that no single row's value is stored. For columns with fewer than five values, mean, deviation and
this replacement are rounded to three significant digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from ganlib.data.codes import ColumnCode, soft_clip
from ganlib.data.column import Column
from ganlib.data.feeds import make_feeds
from ganlib.data.frames import as_frame
from ganlib.data.gaps import gaps
from ganlib.data.inverse import decode_rows
from ganlib.data.normal_scores import Knots, fit_knots, rounded, rounding_unit, to_scores
from ganlib.data.schema import Schema
from ganlib.data.shares import Shares, training_profile, training_shares
from ganlib.data.spec import Block, BlockKind, DataSpec
from ganlib.data.values import NO_DATE, TEXT_CHANNELS
from ganlib.errors import ConfigError, DataError

COMMON = 5
UNEXPECTED_WEIGHT = 5.0
# Microseconds; a year is the mean one of the Gregorian calendar.
PERIODS = {"day": 86_400_000_000, "week": 604_800_000_000, "year": 31_556_952_000_000}


class TableEncoder:
    """Encodes frames by a schema; ``for_generation`` leaves out columns that cannot be decoded again.

    ``numeric`` (generation only): ``quantile`` maps numbers and dates to normal scores (``ganlib.data.normal_scores``);
    ``standard`` only centres and scales them. Columns with fewer than five values, or with numbers beyond 1e150, are
    scaled in either case.

    After ``fit``: ``codes`` (one per feature column), ``spec`` (width and blocks), ``unexpected_position`` (or None),
    and for detection ``shares`` of missing, unseen and infinite values by column, and the ``profile`` of each one.
    """

    def __init__(
        self, schema: Schema, for_generation: bool = False, numeric: Literal["quantile", "standard"] = "quantile"
    ) -> None:
        if numeric not in ("quantile", "standard"):
            raise ConfigError(f"numbers are encoded by quantile or standard, not by {numeric!r}")
        self.schema, self.for_generation, self.numeric = schema, for_generation, numeric
        self.codes: tuple[ColumnCode, ...] = ()
        self.unexpected_position: int | None = None
        self.shares: Shares = {}
        self.profile: dict[str, Any] = {}

    # ---------------------------------------------------------------- fitting
    def fit(self, frame: Any) -> TableEncoder:
        """Learn centres, scales and references from training rows; raises the errors of ``feeds``."""
        feeds = self.feeds(frame)
        codes, start = [], 0
        for column in self.columns():
            code = self._fit_column(column, feeds[column.input], start)
            if column.gap_from and not self.for_generation:
                code = _with_gap(code, feeds, self.schema.column(column.gap_from).input)
            codes.append(code)
            start += code.width
        self.codes = tuple(codes)
        flagged = [c for c in self.columns() if not c.missing and c.kind != "text"]
        if flagged and not self.for_generation:
            self.unexpected_position, start = start, start + 1
        self.width = start
        if not self.for_generation:
            fed = [c for c in self.schema.columns if c.input in feeds and c.role in ("feature", "group")]
            self.shares, self.profile = training_shares(fed, feeds), training_profile(fed, feeds)
        return self

    def columns(self) -> tuple[Column, ...]:
        """The columns encoded, in order."""
        features = self.schema.features
        return tuple(c for c in features if c.kind != "text") if self.for_generation else features

    def _fit_column(self, column: Column, feed: np.ndarray, start: int) -> ColumnCode:
        if column.kind == "category":
            return self._fit_category(column, feed, start)
        if column.kind == "text":
            return _fit_text(column, feed, start)
        values, lacks = _numbers(column, feed)
        position, cycles = (True, ()) if self.for_generation else _clock(column)
        flag = start + position if column.missing else None
        present = values[~lacks]
        if len(present) == 0:
            present = np.zeros(1)
        if column.kind == "boolean":
            mode = float(present.mean() >= 0.5)
            reference = (mode,) if flag is None else (mode, 0.0)
            return ColumnCode(
                column.name, column.input, "boolean", start, len(reference), median=mode, missing_position=flag,
                reference=reference,
            )  # fmt: skip
        center, scale = _private_moments(present)
        knots, scores = self._knots(column, present)
        width = position + (flag is not None) + 2 * len(cycles)
        code = ColumnCode(
            column.name, column.input, column.kind, start, width, center, scale, missing_position=flag,
            position=position, cycles=cycles, knots=knots, scores=scores,
        )  # fmt: skip
        return _with_reference(code, _middle(present))

    def _knots(self, column: Column, present: np.ndarray) -> Knots:
        if not self.for_generation or self.numeric == "standard":
            return (), ()
        return fit_knots(present, column.minimum, column.maximum)

    def _fit_category(self, column: Column, feed: np.ndarray, start: int) -> ColumnCode:
        categories = column.categories or ()
        has_rare = column.rare or not self.for_generation
        has_missing = column.missing or not self.for_generation
        counts = {c: int((feed == c).sum()) for c in categories}
        width = max(1, len(categories) + has_rare + has_missing)
        best = max(range(len(categories)), key=lambda i: counts[categories[i]]) if categories else 0
        reference = tuple(float(i == best) for i in range(width))
        return ColumnCode(
            column.name, column.input, "category", start, width, categories=categories, has_rare=has_rare,
            has_missing=has_missing, reference=reference,
        )  # fmt: skip

    # ---------------------------------------------------------------- encoding
    @property
    def spec(self) -> DataSpec:
        """Width and blocks of an encoded row."""
        blocks: list[Block] = []
        for code in self.codes:
            blocks.extend(_blocks(code))
        if self.unexpected_position is not None:
            blocks.append(Block("", "number", self.unexpected_position))
        return DataSpec.table(tuple(blocks))

    def feeds(self, frame: Any) -> dict[str, np.ndarray]:
        """Raw feeds by input name; raises DataError if the data does not fit the schema."""
        frame = as_frame(frame)
        if len(frame) == 0:
            raise DataError("the data has no rows")
        return make_feeds(self.schema, frame)

    def encode(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32 ``(n, d)`` from raw feeds."""
        rows = len(next(iter(feeds.values())))
        out = np.zeros((rows, self.width), dtype=np.float32)
        unexpected = np.zeros(rows)
        for code, column in zip(self.codes, self.columns(), strict=True):
            lacks = _encode_column(code, feeds[code.input], out)
            if code.gap_from:
                out[:, code.gap_position] = _encode_gap(code, gaps(feeds[code.input], feeds[code.gap_from]))
            if not column.missing and lacks is not None:
                unexpected += lacks
        if self.unexpected_position is not None:
            out[:, self.unexpected_position] = UNEXPECTED_WEIGHT * unexpected
        return out

    def encode_values(self, index: int, feed: np.ndarray) -> np.ndarray:
        """Encode one feature column, float32 ``(n, width of the column)``, from its raw feed, with the median gap."""
        code = self.codes[index]
        out = np.zeros((len(feed), code.start + code.width), dtype=np.float32)
        _encode_column(code, feed, out)
        return out[:, code.start :]

    def transform(self, frame: Any) -> np.ndarray:
        """``encode(feeds(frame))``."""
        return self.encode(self.feeds(frame))

    @property
    def reference(self) -> np.ndarray:
        """The encoded reference row (medians and modes), float32 ``(d,)``."""
        row = np.zeros(self.width, dtype=np.float32)
        for code in self.codes:
            row[code.start : code.start + code.width] = code.reference
        return row

    def inverse(self, rows: np.ndarray) -> pd.DataFrame:
        """Raw columns from encoded rows, with dtypes, bounds, categories and missing values restored."""
        return decode_rows(self, rows)

    # ---------------------------------------------------------------- persistence
    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "for_generation": self.for_generation,
            "numeric": self.numeric,
            "unexpected_position": self.unexpected_position,
            "width": self.width,
            "shares": self.shares,
            "profile": self.profile,
            "schema": self.schema.to_dict(),
            "codes": [{k: list(v) if isinstance(v, tuple) else v for k, v in asdict(c).items()} for c in self.codes],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TableEncoder:
        """Inverse of ``to_dict``."""
        encoder = cls(Schema.from_dict(values["schema"]), values["for_generation"], values.get("numeric", "quantile"))
        encoder.codes = tuple(ColumnCode.from_dict(code) for code in values["codes"])
        encoder.unexpected_position, encoder.width = values["unexpected_position"], values["width"]
        encoder.shares = {name: dict(found) for name, found in values.get("shares", {}).items()}
        encoder.profile = dict(values.get("profile", {}))
        return encoder


def _with_gap(code: ColumnCode, feeds: Mapping[str, np.ndarray], start: str) -> ColumnCode:
    """Add the gap since another date to a code, before its cycles."""
    seconds = gaps(feeds[code.input], feeds[start])
    present = seconds[~np.isnan(seconds)]
    center, scale = _private_moments(present) if len(present) else (0.0, 1.0)
    middle = float(soft_clip((np.array(_middle(present)) - center) / scale)) if len(present) else 0.0
    before = len(code.reference) - 2 * len(code.cycles)
    return replace(
        code, width=code.width + 1, gap_from=start, gap_center=center, gap_scale=scale, gap_median=middle,
        reference=(*code.reference[:before], middle, *code.reference[before:]),
    )  # fmt: skip


def _encode_gap(code: ColumnCode, seconds: np.ndarray) -> np.ndarray:
    scaled = soft_clip((seconds - code.gap_center) / code.gap_scale)
    return np.where(np.isnan(seconds), code.gap_median, scaled)


def _clock(column: Column) -> tuple[bool, tuple[str, ...]]:
    """Whether a detector uses a date's position in time (for a number: its value), and the date's cycles."""
    if column.kind == "date" and column.clock is None:
        return True, ("day", "week")
    return column.clock != "recurring", column.cycles


def _numbers(column: Column, feed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values as float64, and a mask of missing ones."""
    if column.kind == "date":
        return feed.astype(np.float64), feed == NO_DATE
    return feed, ~np.isfinite(feed)


def _fit_text(column: Column, feed: np.ndarray, start: int) -> ColumnCode:
    center = feed.mean(0, dtype=np.float64)
    deviation = feed.std(0, dtype=np.float64)
    # Bound the scale, so that the first use of a rare bucket does not produce a huge value.
    scale = np.maximum(deviation, 0.05)
    median = (np.median(feed, axis=0) - center) / scale
    return ColumnCode(
        column.name, column.input, "text", start, TEXT_CHANNELS + (column.buckets or 0),
        tuple(map(float, center)), tuple(map(float, scale)), reference=tuple(map(float, median)),
    )  # fmt: skip


def _moments(present: np.ndarray) -> tuple[float, float]:
    """Mean and population standard deviation (1 for constants); also for numbers whose squares overflow."""
    unit = max(1.0, float(np.abs(present).max()) / 1e100)
    center, scale = float((present / unit).mean() * unit), float((present / unit).std() * unit)
    return center, scale if scale > 1e-12 * max(1.0, abs(center)) else 1.0


def _middle(present: np.ndarray) -> float:
    """The median if five rows share it, otherwise the mean of the five rows around it; rounded for fewer rows."""
    ordered = np.sort(present)
    middle, n = ordered[(len(ordered) - 1) // 2], len(ordered)
    if (ordered == middle).sum() >= COMMON:
        return float(middle)
    start = max(0, n // 2 - COMMON // 2)
    around = ordered[start : start + COMMON]
    return _private(float((around / len(around)).sum()), present)


def _private_moments(present: np.ndarray) -> tuple[float, float]:
    """``_moments``, rounded for fewer than five values; the scale is then at least the rounding unit of the centre.

    Otherwise a constant, which has the scale 1, could be encoded too far out to be decoded again.
    """
    center, scale = _moments(present)
    near, span = _private(center, present), float(np.ptp(present)) or abs(center)
    return near, max(_private(scale, present), rounding_unit(center, span) if near != center else 0.0)


def _private(value: float, present: np.ndarray) -> float:
    """A statistic, rounded to three significant digits if it is of fewer than five values."""
    span = float(np.ptp(present)) or abs(value)
    return value if len(present) >= COMMON or not np.isfinite(span) else rounded(value, span)


def _with_reference(code: ColumnCode, raw: float) -> ColumnCode:
    """Set a code's median and its part of the reference row, both from the column's middle value."""
    row = np.zeros((1, code.start + code.width), dtype=np.float32)
    feed = np.array([int(raw)], dtype=np.int64) if code.kind == "date" else np.array([raw])
    _encode_column(code, feed, row)
    median = float(row[0, code.start]) if code.position else 0.0
    return replace(code, median=median, reference=tuple(float(v) for v in row[0, code.start :]))


def _blocks(code: ColumnCode) -> list[Block]:
    if code.kind == "category":
        return [Block(code.column, "category", code.start, code.width)]
    if code.kind == "text":
        return [Block(code.column, "number", code.start + i) for i in range(code.width)]
    kind: BlockKind = "binary" if code.kind == "boolean" else "number"
    first = [Block(code.column, kind, code.start)] if code.position else []
    cycles = [Block(code.column, "number", code.first_cycle + i) for i in range(2 * len(code.cycles))]
    flag = [Block(code.column, "binary", code.missing_position)] if code.missing_position is not None else []
    gap = [Block(code.column, "number", code.gap_position)] if code.gap_from else []
    return [*first, *flag, *gap, *cycles]


def _encode_column(code: ColumnCode, feed: np.ndarray, out: np.ndarray) -> np.ndarray | None:
    """Write one column's positions; returns the mask of missing values (None for text)."""
    if code.kind == "category":
        return _encode_category(code, feed, out)
    if code.kind == "text":
        scaled = (feed.astype(np.float64) - np.array(code.center)) / np.array(code.scale)
        out[:, code.start : code.start + code.width] = soft_clip(scaled)
        return None
    lacks = feed == NO_DATE if code.kind == "date" else ~np.isfinite(feed)
    values = np.where(lacks, 0.0, feed.astype(np.float64))
    if code.kind == "boolean":
        encoded = values
    elif code.knots:
        encoded = soft_clip(to_scores(values, code.knots, code.scores))
    else:
        with np.errstate(over="ignore"):
            encoded = soft_clip((values - float(code.center)) / float(code.scale))  # type: ignore[arg-type]
    if code.position:
        out[:, code.start] = np.where(lacks, code.median, encoded)
    if code.missing_position is not None:
        out[:, code.missing_position] = lacks
    if code.gap_from:
        out[:, code.gap_position] = code.gap_median
    if code.cycles:
        out[:, code.first_cycle : code.start + code.width] = _cycles(code.cycles, feed, lacks)
    return lacks


def _cycles(cycles: tuple[str, ...], feed: np.ndarray, lacks: np.ndarray) -> np.ndarray:
    """Sine and cosine of the time within each cycle, zero where missing: ``(n, 2 * cycles)``."""
    parts = []
    for period in (PERIODS[cycle] for cycle in cycles):
        angle = (2 * np.pi * (np.mod(feed, period).astype(np.float64) / period)).astype(np.float32)
        parts += [np.sin(angle), np.cos(angle)]
    return np.where(lacks[:, None], 0.0, np.stack(parts, 1))


def _encode_category(code: ColumnCode, feed: np.ndarray, out: np.ndarray) -> np.ndarray:
    """One-hot: known categories, then rare or unseen, then missing, if the code has these."""
    size = len(code.categories)
    rare = size if code.has_rare else -1
    missing = size + code.has_rare if code.has_missing else rare
    table = {c: i for i, c in enumerate(code.categories)}
    which, values = pd.factorize(np.asarray(feed, dtype=object))
    index = np.array([missing if v == "" else table.get(v, rare) for v in values], dtype=np.int64)[which]
    known = index >= 0
    out[np.flatnonzero(known), code.start + index[known]] = 1.0
    return feed == ""
