"""What a column of text is, where all of its values are numbers, durations, dates, times of day or truths."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pandas as pd

from serving.table.layouts import find_date_layouts, find_number_layout, has_two_readings, is_clock, is_cut, parse_date
from serving.table.spans import find_span_layout

_ISO = re.compile(r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?)?$")
_PROBE = 200  # distinct texts that a layout is first sought in
_CUT = "fractions of a second are cut to microseconds"


@dataclass(frozen=True)
class Reading:
    """What texts are: a column's kind and layout, and what a person should know of it."""

    kind: str
    layout: str | None = None
    note: str = ""


def read_texts(texts: pd.Series) -> Reading | None:
    """What these distinct, trimmed texts are; None where they are words."""
    return _numbers(texts) or _spans(texts) or _dates(texts) or _truths(texts)


def all_numbers(texts: pd.Series) -> bool:
    """Whether all texts are plain numbers. Leading zeros (postcodes, account numbers) make codes of numbers."""
    coded = texts.str.match(r"^[+-]?0\d").any()
    return bool(not coded and pd.to_numeric(texts, errors="coerce").notna().all())


def _numbers(texts: pd.Series) -> Reading | None:
    """Plain numbers, and those with a currency, a percent sign, separators of thousands or decimal commas."""
    if all_numbers(texts[:_PROBE]) and all_numbers(texts):
        return Reading("number", find_number_layout(list(texts)) or None)
    # A few hundred plain numbers may come before the first that has a mark.
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
    """Dates and times of day, by a layout, or (None) as ISO of several forms."""
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
    """Two or three layouts that together read all of the texts, joined by ``|``; empty where there are none."""
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
