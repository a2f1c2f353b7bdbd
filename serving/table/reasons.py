"""Contributions in words (docs/artifact.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving.table.values import level
from serving.table.words import Missing, missing_words

_MOST, _WIDEST, _LEAST = 3, 40, 0.005


def top_reasons(
    contributions: np.ndarray, schema: Mapping[str, Any], columns: Mapping[str, Sequence[Any]]
) -> list[str | None]:
    """Each row's three largest contributions in words, such as ``size = 54540 (71 %), flag missing (29 %)``.

    ``contributions`` has one column per feature of ``schema``; ``columns`` holds raw values by column name. Percentages
    are of the sum of positive contributions; columns below 0.5 % are left out. ``None`` if no contribution is positive.
    """
    features = [c for c in schema["columns"] if c["role"] == "feature"]
    parts = np.clip(np.nan_to_num(np.asarray(contributions, dtype=np.float64), nan=0.0, posinf=1e38), 0.0, 1e38)
    out: list[str | None] = []
    for row, part in enumerate(parts):
        total = part.sum()
        best = [i for i in np.argsort(-part, kind="stable")[:_MOST] if total > 0 and part[i] >= _LEAST * total]
        words = [f"{_named(features[i], columns, row, schema)} ({round(100 * part[i] / total)} %)" for i in best]
        out.append(", ".join(words) or None)
    return out


def _named(column: Mapping[str, Any], columns: Mapping[str, Sequence[Any]], row: int, schema: Mapping[str, Any]) -> str:
    """A column with its value, as ``name = value`` or ``name missing``; the name alone if the value is unknown."""
    name, kind = str(column["name"]), column["kind"]
    if column["name"] not in columns:
        return name
    value, words = columns[column["name"]][row], missing_words(column, schema.get("missing_words"))
    text = shown(value, words)
    if text is None:
        return f"{name} missing"
    if kind == "category" and level(value, words, column.get("levels")) not in (column["categories"] or ()):
        return f"{name} = {'rare or ' if column['rare'] else ''}unseen {cut(text)!r}"
    return f"{name} = {cut(text)!r}" if kind == "text" else f"{name} = {cut(text)}"


def shown(value: Any, words: Missing) -> str | None:
    """A raw value as text, or None if missing. Whole floats have no decimal point; booleans are true or false."""
    value = value.item() if isinstance(value, np.generic) and not isinstance(value, np.datetime64) else value
    if value is None or str(value) in ("<NA>", "NaT") or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    text = str(value)
    return None if text == "" or (isinstance(value, str) and text in words) else text


def cut(text: str) -> str:
    """At most 40 printable characters on one line."""
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"
