"""Recognises text columns whose values are all numbers, durations, dates, times of day or booleans."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pandas as pd

from serving.table.layouts import find_date_layouts, find_number_layout, has_two_readings, is_clock, is_cut, parse_date
from serving.table.spans import find_span_layout

_ISO = re.compile(r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?)?$")
_PROBE = 200  # distinct texts of the first, quick check
_CUT = "fractions of a second are cut to microseconds"


@dataclass(frozen=True)
class Reading:
    """How texts are read: the column's kind and layout, and a note for the user."""

    kind: str
    layout: str | None = None
    note: str = ""


def read_texts(texts: pd.Series) -> Reading | None:
    """How to read these distinct, trimmed texts; None if they are plain text."""
    return _numbers(texts) or _spans(texts) or _dates(texts) or _truths(texts)


def all_numbers(texts: pd.Series) -> bool:
    """Whether all texts are plain numbers; texts with leading zeros (postcodes, account numbers) are codes."""
    coded = texts.str.match(r"^[+-]?0\d").any()
    return bool(not coded and pd.to_numeric(texts, errors="coerce").notna().all())


def _numbers(texts: pd.Series) -> Reading | None:
    """Plain numbers, or numbers with a currency, a percent sign, thousands separators or decimal commas."""
    if all_numbers(texts[:_PROBE]) and all_numbers(texts):
        return Reading("number", find_number_layout(list(texts)) or None)
    # The probe may hold only plain numbers although later ones have marks.
    marked = find_number_layout(list(texts[:_PROBE])) is not None
    layout = find_number_layout(list(texts)) if marked else None
    if not layout:
        return None
    other = ", as separators of thousands; if they are decimal marks, set layout: '{:,3f}'"
    return Reading("number", layout, f"commas read{other}" if has_two_readings(list(texts)) else "")


def _spans(texts: pd.Series) -> Reading | None:
    layout = find_span_layout(list(texts))
    return Reading("number", layout) if layout else None


def _dates(texts: pd.Series) -> Reading | None:
    """Dates and times of day, by a layout or, with layout None, in several ISO forms."""
    note = _CUT if texts.map(is_cut).any() else ""
    probe, rest = list(texts[:_PROBE]), list(texts[_PROBE:])
    found = [layout for layout in find_date_layouts(probe) if all(parse_date(t, layout) is not None for t in rest)]
    if found:
        other = next((layout for layout in found[1:] if _order(layout) != _order(found[0])), None)
        doubt = f"read as {found[0]}, though {other} fits as well: change layout if that is meant" if other else ""
        return Reading("date", found[0], "; ".join(filter(None, [doubt, note])))
    if texts.str.match(_ISO).all():
        return Reading("date", None, note)
    layouts = _several(list(texts))
    said = f"dates in several layouts: {layouts}"
    return Reading("date", layouts, "; ".join(filter(None, [said, note]))) if layouts else None


def _order(layout: str) -> list[str]:
    return re.findall("%[dmbBYy]", layout)


def _several(texts: list[str]) -> str:
    """Two or three layouts that together parse all texts, joined by ``|``; empty if there are none."""
    left: list[str] = texts
    layouts: list[str] = []
    while left and len(layouts) < 3:
        found = find_date_layouts(left[:1])
        best = max(found, key=lambda layout: sum(parse_date(t, layout) is not None for t in left), default=None)
        if best is None or (layouts and is_clock(best) != is_clock(layouts[0])):
            return ""
        layouts.append(best)
        left = [text for text in left if parse_date(text, best) is None]
    return "" if left else "|".join(layouts)


def _truths(texts: pd.Series) -> Reading | None:
    if {text.lower() for text in texts[:5]} <= {"true", "false"} and set(texts.str.lower()) == {"true", "false"}:
        words = sorted(texts, key=str.lower, reverse=True)
        return Reading("boolean", "|".join(words) if len(words) == 2 else None)
    return None
