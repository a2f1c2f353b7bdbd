"""Roles of the columns of a detector: what to drop, and how dates are read.

``assign_roles`` is the last step of schema inference: it drops columns whose values later rows cannot share with
training rows, and chooses how dates are read. ``find_roles`` reports each such column, the decision, and how to
overrule it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd

from ganlib.data.column import Column
from ganlib.data.findings import REQUESTED
from ganlib.data.findings import Finding as Finding
from ganlib.data.findings import find_roles as find_roles
from ganlib.data.frames import close_names
from ganlib.data.gaps import without_gaps
from ganlib.data.traits import covered_cycles as covered_cycles
from ganlib.data.traits import (
    covering,
    has_whole_days,
    identifying_text,
    is_attribute,
    listed,
    numbers_of,
    row_number,
    running_number,
    stamps_of,
)  # fmt: skip
from ganlib.data.traits import joined as joined
from ganlib.data.traits import runs_with_rows as runs_with_rows
from ganlib.data.traits import span_in_days as span_in_days
from ganlib.data.values import NO_DATE
from ganlib.errors import ConfigError, DataError
from serving.table.layouts import is_clock


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
            decided.append(_dropped(column, row_number(column, frame[column.name])))
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
        column, role=role, note=REQUESTED[role], minimum=None, maximum=None, quantiles=(), categories=None, rare=False,
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
        return _timed(column, stamps_of(column, series, timezone))
    if column.kind in ("number", "integer"):
        return _dropped(column, row_number(column, series) or running_number(column.name, numbers_of(column, series)))
    return _dropped(column, identifying_text(series)) if column.kind in ("text", "category") else column


def _timed(column: Column, stamps: np.ndarray) -> Column:
    """Set the clock and cycles of a date; drops it if the rows cover none of its cycles twice."""
    if is_clock(column.layout):
        note = "a time of day: read by its daily cycle, so that 23:59 lies near 00:01"
        return replace(column, clock="recurring", cycles=("day",), note=joined(column.note, note))
    present = stamps[stamps != NO_DATE].astype(np.float64)
    whole_days = has_whole_days(column)
    if is_attribute(present, whole_days):
        note = "whole days in no order of the rows: read by position in time"
        return replace(column, clock="absolute", note=joined(column.note, note))
    cycles = covered_cycles(present, whole_days)
    if not cycles:
        note = f"a clock: {covering(present)} cover no cycle twice, so nothing recurs"
        return replace(column, role="dropped", note=joined(column.note, note))
    note = f"a clock: read by time of {listed(cycles)}"
    return replace(column, clock="recurring", cycles=cycles, note=joined(column.note, note))
