"""Special columns of a detector: clocks, counters, identifiers, constants, and leaks of the label.

``assign_roles`` is the last step of schema inference: it drops columns whose values later rows cannot share with
training rows, and chooses how dates are read. ``find_roles`` reports each such column, the decision, and how to
overrule it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd

from ganlib.data.frames import close_names
from ganlib.data.gaps import without_gaps
from ganlib.data.leaks import alone
from ganlib.data.schema import Column, Schema
from ganlib.data.values import (
    NO_DATE,
    as_microseconds,
    as_numbers,
    as_strings,
    present_values,
)
from ganlib.errors import ConfigError, DataError
from serving.table.layouts import is_clock, resolution
from serving.table.words import MISSING_WORDS, Missing

LEAST_ROWS = 20  # rows needed to judge an order
LEAST_STEPS = 5  # distinct values for a monotone column to be a possible clock
ENOUGH_ROWS = 200  # rows needed to call a column near-constant
NEARLY_ALL = 0.995
LEAK = 0.995  # smallest AUROC of a single column that counts as a leak
EVEN = 0.99  # correlation with the row number above which values advance evenly
IN_ORDER = 0.999  # rank correlation with the row number above which values are in order, except for late rows
DAYS = {"day": 1.0, "week": 7.0, "year": 365.2425}
_DAY = 86_400_000_000
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
_ASKED = {"dropped": "dropped on request", "id": "identifier on request: not used"}


@dataclass(frozen=True)
class Finding:
    """A column to report to the user.

    ``kind``: clock, counter, date, identifier, constant, near-constant, word, leak, empty or unreadable. ``done``:
    dropped, not used, kept, or how a date is read. ``seen`` and ``overrule`` are sentences without a period.
    """

    column: str
    kind: str
    done: str
    seen: str
    overrule: str

    def line(self) -> str:
        """One line: column, kind, what was seen, what was done, how to overrule it."""
        return f"column {self.column!r} ({self.kind}): {self.seen}; {self.done}. {self.overrule}"

    def to_dict(self) -> dict[str, str]:
        """JSON values."""
        return asdict(self)


# ---------------------------------------------------------------- roles of a new schema
def assign_roles(
    frame: pd.DataFrame, columns: list[Column], timezone: str, for_generation: bool = False
) -> list[Column]:
    """Drop counters, clocks and identifiers and choose how dates are read, unless no feature would be left.

    ``for_generation`` only drops row numbers, because generated rows need their dates.
    """
    decided = []
    for column in columns:
        if column.role != "feature":
            decided.append(column)
        elif for_generation:
            decided.append(_dropped(column, _row_number(column, frame[column.name])))
        else:
            decided.append(_assigned(column, frame[column.name], timezone))
    if any(c.role == "feature" for c in decided):
        return decided
    return [_last_resort(before, after) for before, after in zip(columns, decided, strict=True)]


def with_requests(columns: list[Column], drop: Iterable[str] = (), ids: Iterable[str] = ()) -> list[Column]:
    """Set the requested roles; raises DataError for missing columns and ConfigError for conflicts."""
    wanted = {name: "dropped" for name in drop}
    known = {c.name: c for c in columns}
    for name in ids:
        if wanted.setdefault(name, "id") != "id":
            raise ConfigError(f"column {name!r} is both to be dropped and an identifier; choose one")
    for name, role in wanted.items():
        if name not in known:
            what = "drop" if role == "dropped" else "be an identifier"
            raise DataError(f"there is no column {name!r} to {what}; {close_names(name, known)}")
        if known[name].role in ("label", "group"):
            raise ConfigError(f"column {name!r} is the {known[name].role}; it can be neither dropped nor an identifier")
    return list(without_gaps(_requested(c, wanted[c.name]) if c.name in wanted else c for c in columns))


def _requested(column: Column, role: str) -> Column:
    """An unused column, which stores nothing about its values."""
    return replace(
        column, role=role, note=_ASKED[role], minimum=None, maximum=None, quantiles=(), categories=None, rare=False,
        clock=None, cycles=(), gap_from=None,
    )  # fmt: skip


def _dropped(column: Column, note: str) -> Column:
    return replace(column, role="dropped", note=note) if note else column


def _last_resort(before: Column, after: Column) -> Column:
    """Keep a column that would be dropped, with a note; used if no feature would be left."""
    if before.role != "feature" or after.role == "feature":
        return after
    return replace(before, note=f"{after.note}; kept: no other column is left")


def _assigned(column: Column, series: pd.Series, timezone: str) -> Column:
    if column.kind == "date":
        return _timed(column, _stamps(column, series, timezone))
    if column.kind in ("number", "integer"):
        return _dropped(column, _row_number(column, series) or _running_number(column.name, _numbers(column, series)))
    return _dropped(column, _identifying_text(series)) if column.kind in ("text", "category") else column


# ---------------------------------------------------------------- dates
def _timed(column: Column, stamps: np.ndarray) -> Column:
    """Set the clock and cycles of a date; drops it if the rows cover none of its cycles twice."""
    if is_clock(column.layout):
        note = "a time of day: read by its daily cycle, so that 23:59 lies near 00:01"
        return replace(column, clock="recurring", cycles=("day",), note=joined(column.note, note))
    present = stamps[stamps != NO_DATE].astype(np.float64)
    whole_days = _whole_days(column)
    if _is_attribute(present, whole_days):
        note = "whole days in no order of the rows: read by position in time"
        return replace(column, clock="absolute", note=joined(column.note, note))
    cycles = covered_cycles(present, whole_days)
    if not cycles:
        note = f"a clock: {_covering(present)} cover no cycle twice, so nothing recurs"
        return replace(column, role="dropped", note=joined(column.note, note))
    note = f"a clock: read by time of {_words(cycles)}"
    return replace(column, clock="recurring", cycles=cycles, note=joined(column.note, note))


def _is_attribute(present: np.ndarray, whole_days: bool) -> bool:
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
    return float((high - low) / 0.98 / _DAY)


def _covering(present: np.ndarray) -> str:
    days = span_in_days(present)
    return f"its {days:.1f} days" if days >= 1 else f"its {days * 24:.1f} hours"


def _words(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def joined(*notes: str) -> str:
    """Join the notes that are not empty."""
    return "; ".join(note for note in notes if note)


# ---------------------------------------------------------------- numbers
def _whole_days(column: Column) -> bool:
    return resolution(column.layout) == _DAY if column.layout else column.dtype.endswith(":day")


def _numbers(column: Column, series: pd.Series) -> np.ndarray:
    return as_numbers(series, layout=column.layout)


def _stamps(column: Column, series: pd.Series, timezone: str) -> np.ndarray:
    return as_microseconds(series, column.timezone or timezone, layout=column.layout)


def _row_number(column: Column, series: pd.Series) -> str:
    """Why a column of whole numbers is a row number or identifier; empty if it is not.

    Only for integer types, because whole floats are usually measurements.
    """
    typed = column.dtype.lower().startswith(("int", "uint")) or column.dtype.endswith(":integer")
    # In a text file whole numbers are written without a point, as integers are.
    typed = typed or (column.dtype in _TEXT_TYPES and not column.layout)
    if column.kind != "integer" or column.missing or not typed:
        return ""
    values = _numbers(column, series)
    if len(values) < 2 or len(np.unique(values)) < len(values):
        return ""
    if _named_id(column.name):
        return "every value is different: an identifier by its name"
    if len(values) >= LEAST_ROWS and (np.diff(values) > 0).all():
        return "grows from row to row: a row number or counter"
    return ""


def _named_id(name: str) -> bool:
    return bool(_ID_NAME.search(name) or _ID_NAME.search(name.lower()))


def _named_clock(name: str) -> bool:
    return bool(_CLOCK_NAME.search(name) or _CLOCK_NAME.search(name.lower()))


def _running_number(name: str, values: np.ndarray) -> str:
    """Why numbers are a running clock or counter; empty if they are not."""
    present = values[np.isfinite(values)]
    runs = runs_with_rows(present)
    if (unit := _epoch_unit(present)) and (runs or _named_clock(name)):
        return f"{unit} since 1970, a clock: write it as a date to have its hour and weekday read"
    never_back = len(present) >= LEAST_ROWS and _never_turns(present) and len(np.unique(present)) >= LEAST_ROWS
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
    return bool(late or _never_turns(present))


def _never_turns(present: np.ndarray) -> bool:
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
def _identifying_text(series: pd.Series) -> str:
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


# ---------------------------------------------------------------- findings
def find_roles(frame: pd.DataFrame, schema: Schema, anomalous: np.ndarray | None = None) -> list[Finding]:
    """The findings about the columns, in the schema's order.

    ``frame`` holds all rows; ``anomalous`` marks the known anomalies, which are used only to find leaks. Columns with
    a requested role are left out.
    """
    normal = frame if anomalous is None else frame.loc[~anomalous]
    found = []
    for column in schema.columns:
        if column.role in ("label", "group") or column.note in _ASKED.values():
            continue
        if column.name not in frame.columns:
            continue
        if finding := _finding(column, normal[column.name], schema.timezone):
            found.append(finding)
        if column.role == "feature" and column.not_missing:
            found.append(_kept_words(column))
        if column.role == "feature" and anomalous is not None:
            found += _leaks(column, frame[column.name], anomalous, schema.timezone)
    return found


def _finding(column: Column, series: pd.Series, timezone: str) -> Finding | None:
    if column.role in ("dropped", "id"):
        done = "dropped" if column.role == "dropped" else "not used"
        seen = column.note or "the schema says so"
        return Finding(column.name, kind := _kind_of(seen), done, seen, _use(column, kind))
    if column.clock == "recurring" and not is_clock(column.layout):
        seen, how = f"a running clock over {_days_of(column)}", "`clock: absolute` in a schema file keeps its position"
        gap = f", and by the time since {column.gap_from}" if column.gap_from else ""
        return Finding(column.name, "clock", f"read by the time of {_words(column.cycles)}{gap}", seen, how)
    if seen := _constant(series):
        kind = "constant" if seen.startswith("one value in all") else "near-constant"
        return Finding(column.name, kind, "kept", seen, _leave(column))
    if column.kind == "date" and not is_clock(column.layout):
        return _kept_date(column, _stamps(column, series, timezone))
    if seen := _doubtful(column, series):
        kind = "identifier" if "identifier" in seen else "clock"
        return Finding(column.name, kind, "kept", seen, _leave(column))
    return None


def _kept_words(column: Column) -> Finding:
    words = _words(column.not_missing)
    how = "`not_missing: []` in a schema file reads it as missing"
    return Finding(column.name, "word", "kept", f"{words} read as a value, not as missing", how)


def _kind_of(note: str) -> str:
    """The kind of a dropped column, derived from its note."""
    words = {
        "identifier": "identifier", "counter": "counter", "clock": "clock", "missing": "empty", "empty": "empty",
        "finite": "empty", "lists": "unreadable",
    }  # fmt: skip
    return next((kind for word, kind in words.items() if word in note), "dropped")


def _days_of(column: Column) -> str:
    if column.minimum is None or column.maximum is None:
        return "its range"
    days = (column.maximum - column.minimum) / _DAY
    return f"{days:,.0f} days" if days != 1 else "1 day"


def _use(column: Column, kind: str) -> str:
    if kind in ("empty", "unreadable"):
        return "It is used once the data holds single values in it"
    absolute = " and `clock: absolute`" if column.kind == "date" else ""
    return f"`role: feature`{absolute} in a schema file uses it"


def _leave(column: Column) -> str:
    return f"--drop {column.name} leaves it out"


def _constant(series: pd.Series) -> str:
    present = present_values(series, Missing(MISSING_WORDS))
    if len(present) == 0:
        return ""
    share = float(present.value_counts().iloc[0]) / len(series)
    if share == 1.0:
        return "one value in all rows; any other is anomalous"
    if len(series) >= ENOUGH_ROWS and share > NEARLY_ALL:
        return f"one value in {share:.2%} of the rows; others look anomalous"
    return ""


def _kept_date(column: Column, stamps: np.ndarray) -> Finding | None:
    """A date read by its position in time."""
    present = stamps[stamps != NO_DATE].astype(np.float64)
    leave = f"`clock: recurring` with `cycles` in a schema file reads what recurs; {_leave(column)}"
    if column.clock == "absolute" and _is_attribute(present, _whole_days(column)):
        seen = "whole days over years in no order of the rows, read by position in time"
        return Finding(column.name, "date", "kept", seen, leave)
    if len(present):
        seen = f"read by its position in time over {_covering(present)}: rows of later times will look anomalous"
        return Finding(column.name, "clock", "kept", seen, leave)
    return None


def _doubtful(column: Column, series: pd.Series) -> str:
    """The reason to doubt a feature that is kept; empty if there is none."""
    if column.kind not in ("number", "integer"):
        return ""
    values = _numbers(column, series)
    present = values[np.isfinite(values)]
    if running := _row_number(column, series) or _running_number(column.name, values):
        return running
    if column.kind == "integer" and _named_id(column.name):
        return "named like an identifier, but values repeat: read as a number"
    if len(present) >= LEAST_ROWS and len(np.unique(present)) >= LEAST_STEPS and _never_turns(present):
        return "never turns back from row to row: the table is sorted by it, or it is a clock"
    return ""


# ---------------------------------------------------------------- leaks
def _leaks(column: Column, series: pd.Series, anomalous: np.ndarray, timezone: str) -> list[Finding]:
    figure = alone(column, series, anomalous, timezone)
    if figure < LEAK:
        return []
    seen = f"alone it separates known anomalies from other rows (AUROC {figure:.3f})"
    how = f"--drop {column.name} leaves it out if it is not known before the anomaly is"
    return [Finding(column.name, "leak", "kept", seen, how)]
