"""What the values of one column show: a clock, a counter, an identifier, or none of these."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

from ganlib.data.column import Column
from ganlib.data.values import as_microseconds, as_numbers, as_strings
from serving.table.layouts import resolution

LEAST_ROWS = 20  # rows needed to judge an order
EVEN = 0.99  # correlation with the row number above which values advance evenly
IN_ORDER = 0.999  # rank correlation with the row number above which values are in order, except for late rows
DAYS = {"day": 1.0, "week": 7.0, "year": 365.2425}
DAY = 86_400_000_000
_ID_NAME = re.compile(r"^(id|uuid|guid|index|unnamed: \d+)$|[_\-. ](id|uuid|guid)$|[a-z]I[Dd]$")
_CLOCK_NAME = re.compile(
    r"(?:^|[_\W])(?:ts|time|times|timestamp|epoch|unix|unixtime|date|datetime|clock)(?:[_\W]|$)|[_\W]at$"
    r"|[a-z](?:Time|Date|Timestamp|At)$|^(?:date|time|timestamp)"
)
# Dates and times that were not read as such: 31/01/2026, 2026-01-31 10:00:00.123456789, Jan 31 2026.
_DATE_LIKE = (
    r"(?:\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d{8}|\d{1,2}[- ][A-Za-z]{3,9}[- ]\d{2,4}|[A-Za-z]{3,9} \d{1,2},? \d{4})"
    r"(?:[T, ]+\d{1,2}:\d{2}.*)?"
)
_UUID = r"\{?[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\}?"
# Seconds since 1970 lie here from 2000 to 2100.
_EPOCH = (946_684_800.0, 4_102_444_800.0)
_UNITS = {"seconds": 1.0, "milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
_TEXT_TYPES = ("str", "object", "string")


# ---------------------------------------------------------------- dates
def is_attribute(present: np.ndarray, whole_days: bool) -> bool:
    """Whether dates are attributes of their rows (birth, contract) rather than the time of recording."""
    if not whole_days or len(present) < LEAST_ROWS or span_in_days(present) < 2 * DAYS["year"]:
        return False
    steps = np.diff(present)
    turns = min((steps < 0).mean(), (steps > 0).mean())
    return bool(turns > 0.05 and abs(_evenness(present)) < 0.9)


def covered_cycles(present: np.ndarray, whole_days: bool = False) -> tuple[str, ...]:
    """Cycles that dates (microseconds) go through at least twice; whole days have no time of day."""
    span = span_in_days(present)
    # Samples end slightly inside the time they cover.
    return tuple(cycle for cycle, days in DAYS.items() if span >= 1.95 * days and not (cycle == "day" and whole_days))


def span_in_days(present: np.ndarray) -> float:
    """Days from first to last date, ignoring 1% of the rows at either end as outliers."""
    if len(present) < 2:
        return 0.0
    low, high = np.quantile(present, (0.01, 0.99))
    return float((high - low) / 0.98 / DAY)


def covering(present: np.ndarray) -> str:
    """The time that dates cover, in words."""
    days = span_in_days(present)
    return f"its {days:.1f} days" if days >= 1 else f"its {days * 24:.1f} hours"


def listed(names: Iterable[str]) -> str:
    """Names in a sentence: a, b and c."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def joined(*notes: str) -> str:
    """Join the notes that are not empty."""
    return "; ".join(note for note in notes if note)


# ---------------------------------------------------------------- numbers
def has_whole_days(column: Column) -> bool:
    """Whether a date column has no time of day."""
    return resolution(column.layout) == DAY if column.layout else column.dtype.endswith(":day")


def numbers_of(column: Column, series: pd.Series) -> np.ndarray:
    """The column's values as float64."""
    return as_numbers(series, layout=column.layout)


def stamps_of(column: Column, series: pd.Series, timezone: str) -> np.ndarray:
    """The column's dates as microseconds, int64."""
    return as_microseconds(series, column.timezone or timezone, layout=column.layout)


def row_number(column: Column, series: pd.Series) -> str:
    """Why a column of whole numbers is a row number or identifier; empty if it is not.

    Only for integer types, because whole floats are usually measurements.
    """
    typed = column.dtype.lower().startswith(("int", "uint")) or column.dtype.endswith(":integer")
    # In a text file whole numbers are written without a point, as integers are.
    typed = typed or (column.dtype in _TEXT_TYPES and not column.layout)
    if column.kind != "integer" or column.missing or not typed:
        return ""
    values = numbers_of(column, series)
    if len(values) < 2 or len(np.unique(values)) < len(values):
        return ""
    if named_id(column.name):
        return "every value is different: an identifier by its name"
    if len(values) >= LEAST_ROWS and (np.diff(values) > 0).all():
        return "grows from row to row: a row number or counter"
    return ""


def named_id(name: str) -> bool:
    """Whether a name is that of an identifier."""
    return bool(_ID_NAME.search(name) or _ID_NAME.search(name.lower()))


def _named_clock(name: str) -> bool:
    return bool(_CLOCK_NAME.search(name) or _CLOCK_NAME.search(name.lower()))


def running_number(name: str, values: np.ndarray) -> str:
    """Why numbers are a running clock or counter; empty if they are not."""
    present = values[np.isfinite(values)]
    runs = runs_with_rows(present)
    if (unit := _epoch_unit(present)) and (runs or _named_clock(name)):
        return f"{unit} since 1970, a clock: write it as a date to have its hour and weekday read"
    never_back = len(present) >= LEAST_ROWS and never_turns(present) and len(np.unique(present)) >= LEAST_ROWS
    if runs or (never_back and _named_clock(name)):
        return "runs with the order of the rows: a clock or counter, which later rows lie beyond"
    return ""


def runs_with_rows(present: np.ndarray) -> bool:
    """Whether values advance evenly with the rows, up or down, as clocks and counters do.

    Monotone values are not enough, because a table may be sorted by a measurement.
    """
    if len(present) < LEAST_ROWS or len(np.unique(present)) < LEAST_ROWS:
        return False
    if abs(_evenness(present)) < EVEN:
        return False
    # Rows slightly out of order hardly change the rank correlation.
    late = len(present) >= 5 * LEAST_ROWS and abs(_evenness(pd.Series(present).rank().to_numpy())) >= IN_ORDER
    return bool(late or never_turns(present))


def never_turns(present: np.ndarray) -> bool:
    """Whether values never rise, or never fall."""
    steps = np.sign(present[1:] - present[:-1])
    return bool((steps >= 0).all() or (steps <= 0).all())


def _evenness(present: np.ndarray) -> float:
    """Correlation of values with their row numbers; 0 for constants."""
    values = present / max(1.0, float(np.abs(present).max()))  # squares of huge values overflow
    values, rows = values - values.mean(), np.arange(len(values)) - (len(values) - 1) / 2
    scale = float(np.sqrt((values**2).sum() * (rows**2).sum()))
    return float((values * rows).sum() / scale) if scale > 0 else 0.0


def _epoch_unit(present: np.ndarray) -> str:
    """The unit in which all values lie between the years 2000 and 2100; empty if there is none."""
    if len(present) == 0:
        return ""
    low, high = float(present.min()), float(present.max())
    return next((u for u, per in _UNITS.items() if low >= _EPOCH[0] * per and high <= _EPOCH[1] * per), "")


# ---------------------------------------------------------------- texts
def identifying_text(series: pd.Series) -> str:
    """Why texts are identifiers or a clock; empty if they are not."""
    texts = pd.Series(as_strings(series)).str.strip()
    present = texts[texts != ""]
    if len(present) < LEAST_ROWS:
        return ""
    distinct = pd.Series(present.unique())
    if len(distinct) < LEAST_ROWS:
        return ""
    if distinct.str.fullmatch(_DATE_LIKE).mean() > 0.99:
        return "a clock: dates in a form that is not ISO; write them as 2026-01-31T10:00:00 to have what recurs read"
    if distinct.str.fullmatch(_UUID).all():
        return "UUIDs: an identifier by its form"
    code_like = not distinct.str.contains(" ").any() and distinct.str.len().std() < 3
    if code_like and len(distinct) > 0.9 * len(present) and distinct.str.contains(r"\d").mean() > 0.9:
        return f"codes that hardly repeat ({len(distinct):,} in {len(present):,} rows): an identifier"
    return ""
