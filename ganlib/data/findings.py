"""Reports the special columns of a detector: clocks, identifiers, constants, and leaks of the label."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from ganlib.data.column import Column
from ganlib.data.leaks import alone
from ganlib.data.schema import Schema
from ganlib.data.traits import (
    DAY,
    LEAST_ROWS,
    covering,
    has_whole_days,
    is_attribute,
    listed,
    named_id,
    never_turns,
    numbers_of,
    row_number,
    running_number,
    stamps_of,
)  # fmt: skip
from ganlib.data.values import NO_DATE, present_values
from serving.table.layouts import is_clock
from serving.table.words import MISSING_WORDS, Missing

LEAST_STEPS = 5  # distinct values for a monotone column to be a possible clock
ENOUGH_ROWS = 200  # rows needed to call a column near-constant
NEARLY_ALL = 0.995
LEAK = 0.995  # smallest AUROC of a single column that counts as a leak
# The notes of columns whose role was requested.
REQUESTED = {"dropped": "dropped on request", "id": "identifier on request: not used"}


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


def find_roles(frame: pd.DataFrame, schema: Schema, anomalous: np.ndarray | None = None) -> list[Finding]:
    """The findings about the columns, in the schema's order.

    ``frame`` holds all rows; ``anomalous`` marks the known anomalies, which are used only to find leaks. Columns with
    a requested role are left out.
    """
    normal = frame if anomalous is None else frame.loc[~anomalous]
    found = []
    for column in schema.columns:
        if column.role in ("label", "group") or column.note in REQUESTED.values():
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
        return Finding(column.name, "clock", f"read by the time of {listed(column.cycles)}{gap}", seen, how)
    if seen := _constant(series):
        kind = "constant" if seen.startswith("one value in all") else "near-constant"
        return Finding(column.name, kind, "kept", seen, _leave(column))
    if column.kind == "date" and not is_clock(column.layout):
        return _kept_date(column, stamps_of(column, series, timezone))
    if seen := _doubtful(column, series):
        kind = "identifier" if "identifier" in seen else "clock"
        return Finding(column.name, kind, "kept", seen, _leave(column))
    return None


def _kept_words(column: Column) -> Finding:
    words = listed(column.not_missing)
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
    days = (column.maximum - column.minimum) / DAY
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
    if column.clock == "absolute" and is_attribute(present, has_whole_days(column)):
        seen = "whole days over years in no order of the rows, read by position in time"
        return Finding(column.name, "date", "kept", seen, leave)
    if len(present):
        seen = f"read by its position in time over {covering(present)}: rows of later times will look anomalous"
        return Finding(column.name, "clock", "kept", seen, leave)
    return None


def _doubtful(column: Column, series: pd.Series) -> str:
    """The reason to doubt a feature that is kept; empty if there is none."""
    if column.kind not in ("number", "integer"):
        return ""
    values = numbers_of(column, series)
    present = values[np.isfinite(values)]
    if running := row_number(column, series) or running_number(column.name, values):
        return running
    if column.kind == "integer" and named_id(column.name):
        return "named like an identifier, but values repeat: read as a number"
    if len(present) >= LEAST_ROWS and len(np.unique(present)) >= LEAST_STEPS and never_turns(present):
        return "never turns back from row to row: the table is sorted by it, or it is a clock"
    return ""


def _leaks(column: Column, series: pd.Series, anomalous: np.ndarray, timezone: str) -> list[Finding]:
    figure = alone(column, series, anomalous, timezone)
    if figure < LEAK:
        return []
    seen = f"alone it separates known anomalies from other rows (AUROC {figure:.3f})"
    how = f"--drop {column.name} leaves it out if it is not known before the anomaly is"
    return [Finding(column.name, "leak", "kept", seen, how)]
