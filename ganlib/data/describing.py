"""Tables of columns and findings, for a terminal and for the comments of a schema file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from ganlib.data.roles import Finding, joined
from ganlib.data.schema import Schema
from ganlib.data.values import ALL_WORDS, category_text, present_values
from ganlib.errors import DataError
from serving.table.words import Missing


def describe_columns(frame: pd.DataFrame, schema: Schema, findings: Iterable[Finding] = ()) -> list[dict[str, Any]]:
    """One entry per column, of the schema and then of the data only: kind, role, shares, distinct values, examples.

    The examples are real values: print them on a terminal, but do not write them to a file.
    """
    said: dict[str, list[str]] = {}
    for finding in findings:
        if finding.kind in ("leak", "near-constant") or not schema.column(finding.column).note:
            said.setdefault(finding.column, []).append(f"{finding.kind}: {finding.seen}")
    rows = []
    for column in schema.columns:
        note = joined(column.note, *said.get(column.name, ()))
        if column.gap_from:
            note = joined(note, f"and by the time since {column.gap_from}")
        if column.name not in frame.columns:
            note = joined("not in the data", note)
        rows.append({"column": column.name, "kind": column.kind, "role": column.role}
                    | _counts(frame, column.name, schema.missing(column.name))
                    | {"note": note})  # fmt: skip
    known = {c.name for c in schema.columns}
    for name in frame.columns:
        if name not in known:
            rows.append({"column": name, "kind": "-", "role": "unused"} | _counts(frame, name, ALL_WORDS)
                        | {"note": "not in the schema: not used"})  # fmt: skip
    return rows


def _counts(frame: pd.DataFrame, name: str, missing: Missing) -> dict[str, Any]:
    if name not in frame.columns:
        return {"missing": None, "distinct": None, "examples": ""}
    try:
        present = present_values(frame[name], missing)
    except DataError:  # lists and mappings
        present = frame[name].dropna().map(repr)
    values = present.unique()
    return {
        "missing": 1 - len(present) / max(1, len(frame)),
        "distinct": len(values),
        "examples": ", ".join(_short(category_text(v)) for v in values[:2]),
    }


def _short(value: str) -> str:
    """A value for a narrow column of a table."""
    if re.fullmatch(r"-?\d+\.\d+", value):
        return f"{float(value):.4g}"
    return value if len(value) <= 16 else value[:15] + "\u2026"


def comments(findings: Iterable[Finding]) -> Mapping[str, list[str]]:
    """The findings by column, as comment lines for a schema file."""
    lines: dict[str, list[str]] = {}
    for found in findings:
        lines.setdefault(found.column, []).append(f"{found.kind}: {found.seen}; {found.done}. {found.overrule}")
    return lines
