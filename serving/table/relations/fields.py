"""Columns of relations: their bounds, the values that their types can represent, and tables of them.

Values are those of docs/artifact.md: float64 with NaN for numbers, durations in seconds and booleans; int64
microseconds with ``NO_DATE`` for dates; strings with ``""`` for categories. ``Field.at`` rounds a value to one that
survives writing and reading in the column's type, so that a relation still holds in the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from serving.table.layouts import NumberLayout, is_clock, number_layout, on_grid
from serving.table.relations.moments import TEXTS, Moments, unit_of
from serving.table.spans import SpanLayout
from serving.table.values import NO_DATE

MOST_DECIMALS = 12  # beyond them, float precision determines the gap between values
_DIGITS = 10  # significant digits of numbers in text without a layout


@dataclass(frozen=True)
class Field:
    """The properties of a schema column that relations need."""

    name: str
    kind: str
    role: str = "feature"
    dtype: str = "float64"
    missing: bool = False
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    layout: str | None = None
    timezone: str = "UTC"
    public: bool = False

    @classmethod
    def of(cls, column: Mapping[str, Any], timezone: str) -> Field:
        """Read a column's entry in the schema; ``timezone`` is the schema's."""
        known = ("name", "kind", "role", "dtype", "missing", "minimum", "maximum", "step", "layout", "public")
        values = {key: column[key] for key in known if column.get(key) is not None}
        return cls(**values, timezone=str(column.get("timezone") or timezone))

    @cached_property
    def family(self) -> str | None:
        """``date``, ``time of day``, ``duration`` or ``number``; None for columns without arithmetic."""
        if self.kind == "date":
            return "time of day" if is_clock(self.layout) else "date"
        if self.kind not in ("number", "integer"):
            return None
        spans = "timedelta" in self.dtype or self.dtype.startswith("duration")
        return "duration" if spans or isinstance(number_layout(self.layout), SpanLayout) else "number"

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value; infinite if the schema sets none."""
        low, high = self.minimum, self.maximum
        return -math.inf if low is None else float(low), math.inf if high is None else float(high)

    # ---------------------------------------------------------------- units
    @cached_property
    def unit(self) -> float:
        """The gap between neighbouring values of the type; 0 if only float precision limits it."""
        if self.kind == "date":
            return float(self._moments.unit)
        if self.step is not None:
            return float(self.step)
        if self.kind == "integer":
            return 1.0
        if isinstance(layout := number_layout(self.layout), SpanLayout):
            return 10.0**-layout.digits if layout.clock else 86_400.0
        if self.family == "duration":
            return max(1e-6, unit_of(self.dtype) / 1e6)
        decimals = self._decimals
        return 10.0**-decimals if decimals is not None and decimals <= MOST_DECIMALS else 0.0

    @cached_property
    def _decimals(self) -> int | None:
        """The decimals of a layout or a decimal type."""
        layout = number_layout(self.layout)
        if isinstance(layout, NumberLayout):
            found = re.search(r"\.(\d+)", layout.spec)
            return int(found[1]) if found else 0
        found = re.match(r"decimal\d*\(\d+, (\d+)\)", self.dtype)
        return int(found[1]) if found else None

    @cached_property
    def _moments(self) -> Moments:
        return Moments.of(self.dtype, self.layout, self.timezone)

    @cached_property
    def _float(self) -> Any:
        """The numpy type of narrow floats; None for others."""
        if self.dtype.lower().startswith(("float16", "half")):
            return np.float16
        return np.float32 if self.dtype.lower() in ("float32", "float[pyarrow]") else None

    @cached_property
    def _written(self) -> Callable[[float], float] | None:
        """The value of a number after writing it as text; None if ``unit`` describes the rounding."""
        base, *marks = self.dtype.split(":")
        if self.unit or self.family != "number":
            return None
        if self._decimals is not None:
            return lambda value: float(f"{value:.{self._decimals}f}")
        return _short if base.startswith(TEXTS) and marks != ["floating"] else None

    def slack(self, size: np.ndarray) -> np.ndarray:
        """The largest rounding error of a result with terms of this total size, in ``numbers``."""
        unit = self.unit / 1e6 if self.kind == "date" else self.unit
        precise = {np.float32: 1e-6, np.float16: 4e-3}.get(self._float, 1e-8 if self._written else 1e-10)
        return 0.5 * unit * (1 + 1e-6) + precise * size + (1e-6 if self.kind == "date" else 0.0)

    # ---------------------------------------------------------------- rounding
    def at(self, values: np.ndarray, side: int = 0) -> np.ndarray:
        """Round to values of the type: to nearest (0), down (-1) or up (1); ignores the bounds."""
        near = self._near(values)
        if side:
            off = near > values if side < 0 else near < values
            near = np.where(off, self._near(near + side * self._gap(near)), near)
        return near

    def beyond(self, values: np.ndarray, side: int) -> np.ndarray:
        """The next values of the type, strictly above (1) or below (-1)."""
        near = self.at(values, side)
        return np.where(near == values, self._near(near + side * self._gap(near)), near)

    def clipped(self, values: np.ndarray) -> np.ndarray:
        """Values clipped to the limits."""
        low, high = self.limits
        return np.clip(values, low, high).astype(values.dtype, copy=False)

    def written(self, values: np.ndarray) -> np.ndarray:
        """Round to the nearest values of the type within the bounds; missing values stay missing."""
        return np.where(_present(self, values), self.clipped(self.at(values)), values)

    def inside(self, values: np.ndarray) -> np.ndarray:
        """Which values lie within the bounds: bool ``(n,)``."""
        low, high = self.bounds
        return (values >= low) & (values <= high)

    @cached_property
    def limits(self) -> tuple[Any, Any]:
        """The smallest and largest value of the type within the bounds."""
        kind = np.int64 if self.kind == "date" else np.float64
        low, high = self.bounds
        ends = [self.at(np.array([b]).astype(kind), s)[0] if math.isfinite(b) else b for b, s in ((low, 1), (high, -1))]
        info = (NO_DATE + 1, np.iinfo(np.int64).max) if self.kind == "date" else ends
        out = [e if math.isfinite(e) else i for e, i in zip(ends, info, strict=True)]
        return (out[0], out[1]) if out[0] <= out[1] else (low, high)  # narrower than one unit

    def _gap(self, values: np.ndarray) -> Any:
        if self.kind == "date":
            return int(self.unit)
        if self.unit:
            return self.unit
        if self._written:
            return 10.0 ** (np.floor(np.log10(np.maximum(np.abs(values), 1e-300))) + 1 - _DIGITS)
        return np.spacing(np.abs(values).astype(self._float or np.float64)).astype(np.float64)

    def _near(self, values: np.ndarray) -> np.ndarray:
        if self.kind == "date":
            return self._moments.near(values)
        if self.unit:
            return np.round(values) if self.unit == 1.0 else on_grid(values, self.unit)
        if self._written:
            return np.array([self._written(v) for v in values], dtype=np.float64)
        return values if self._float is None else values.astype(self._float).astype(np.float64)

    # ---------------------------------------------------------------- arithmetic
    def numbers(self, values: np.ndarray) -> np.ndarray:
        """Values for arithmetic: float64, dates in seconds since 1970, NaN if missing."""
        if self.kind != "date":
            return values
        return np.where(values == NO_DATE, np.nan, values / 1e6)

    def values(self, numbers: np.ndarray) -> np.ndarray:
        """The inverse of ``numbers``."""
        if self.kind != "date":
            return numbers
        lacks = ~np.isfinite(numbers)
        stamps = np.clip(np.where(lacks, 0.0, numbers) * 1e6, -9e18, 9e18)
        return np.where(lacks, NO_DATE, np.round(stamps).astype(np.int64))


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


class Table:
    """Values by column name, the fields of the related columns, and each row's class index."""

    def __init__(self, fields: Mapping[str, Field], values: dict[str, np.ndarray], codes: np.ndarray) -> None:
        self.fields, self.columns, self.codes = fields, values, codes

    def __len__(self) -> int:
        return len(self.codes)

    def present(self, names: Iterable[str]) -> np.ndarray:
        """Rows with a value in all of these columns, bool ``(n,)``."""
        return np.logical_and.reduce([_present(self.fields[n], self.columns[n]) for n in names])

    def numbers(self, name: str) -> np.ndarray:
        """A column as float64 for arithmetic (``Field.numbers``)."""
        return self.fields[name].numbers(self.columns[name])

    def put(self, name: str, rows: np.ndarray, values: np.ndarray) -> None:
        """Write values of a column into these rows."""
        self.columns[name] = self.columns[name].copy()
        self.columns[name][rows] = values

    def take(self, rows: np.ndarray) -> Table:
        """A table of these rows."""
        return Table(self.fields, {n: v[rows] for n, v in self.columns.items()}, self.codes[rows])

    def replace(self, rows: np.ndarray, other: Table) -> None:
        """Replace these rows by another table's rows."""
        for name, values in other.columns.items():
            self.put(name, rows, values)


def _present(field: Field, values: np.ndarray) -> np.ndarray:
    if field.kind == "category":
        return np.asarray(values != "", dtype=bool)
    return values != NO_DATE if field.kind == "date" else np.isfinite(values)
