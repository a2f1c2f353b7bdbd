"""What is usual for a column, and what is unusual about a value, in words from what a sealed file holds of both."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from serving.table.layouts import is_clock, number_layout, write_date
from serving.table.reasons import cut
from serving.table.values import NO_DATE
from serving.table.zones import zone
from serving.wording import counted

_QUANTILES, _CATEGORIES, _LEAST = 5, 3, 0.0005
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Column = Mapping[str, Any]


def usual(column: Column, timezone: str, missing: float = 0.0) -> str:
    """The usual values of a schema's column: the range of nine in ten, or the categories; empty for text.

    ``missing`` is the share of training rows without a value. Statistics are those of the schema, which are rounded.
    """
    words = {"category": _categories, "boolean": _booleans, "date": _dates, "text": _nothing}
    said = words.get(column["kind"], _numbers)(column, timezone)
    lacking = f"missing in {100 * missing:.2g} %" if missing >= _LEAST else ""
    return "; ".join(part for part in (said, lacking) if part)


def remark(column: Column, fed: Any, timezone: str) -> str:
    """What training rows never had, of one value as the graph takes it: missing, unseen, or out of their range."""
    kind, known = column["kind"], column.get("categories") or ()
    if kind == "text":
        return ""
    lacks = fed == "" if kind == "category" else fed == NO_DATE if kind == "date" else fed != fed
    if lacks:
        return "" if column["missing"] else "never missing in training"
    if kind == "category":
        return "" if fed in known else ("rare or " if column["rare"] else "") + "unseen in training"
    if kind in ("number", "integer") and fed in (float("inf"), float("-inf")):
        return "not finite: read as missing"
    if kind == "boolean" or (kind == "date" and column.get("clock") == "recurring"):
        return ""
    write = _number if kind != "date" else lambda column, value: _date(column, int(value), timezone)
    for bound, beyond, word in (("minimum", -1, "below the minimum"), ("maximum", 1, "above the maximum")):
        if column[bound] is not None and (fed - column[bound]) * beyond > 0:
            return f"{word}, {write(column, column[bound])}"
    return ""


def _numbers(column: Column, _: str) -> str:
    return _span([_number(column, value) for value in column.get("quantiles") or ()])


def _dates(column: Column, timezone: str) -> str:
    cycles = " and ".join(column.get("cycles") or ())
    said = f"its place in the {cycles} counts" if cycles else ""
    if column.get("clock") != "recurring":
        stamps = [_date(column, int(value), timezone) for value in column.get("quantiles") or ()]
        said = _span(stamps) + (f"; {said}" if said else "")
    gap = column.get("gap_from")
    return said + (f"; its time since {gap!r} counts" if gap else "")


def _span(quantiles: list[str]) -> str:
    """``20 to 79, median 54``, of five quantiles in words."""
    if len(quantiles) != _QUANTILES:
        return ""
    low, middle, high = quantiles[1:4]
    return middle if low == high else f"{low} to {high}, median {middle}"


def _categories(column: Column, _: str) -> str:
    known = [cut(name) for name in column.get("categories") or ()]
    rest = len(known) - _CATEGORIES
    if rest <= 0:
        return " or ".join(known)
    return f"{', '.join(known[:_CATEGORIES])} or {counted(rest, 'other')}"


def _booleans(column: Column, _: str) -> str:
    return " or ".join((column.get("layout") or "true|false").split("|"))


def _nothing(*_: Any) -> str:
    return ""


def _number(column: Column, value: float) -> str:
    layout = number_layout(column.get("layout"))
    return f"{value:.6g}" if layout is None else layout.write(float(value))


def _date(column: Column, stamp: int, timezone: str) -> str:
    layout = (column.get("layout") or "").partition("|")[0] or "%Y-%m-%d"
    local = not (layout.endswith("Z") or is_clock(layout))
    moment = (_EPOCH + timedelta(microseconds=stamp)).astimezone(
        zone(column.get("timezone") or timezone) if local else UTC
    )
    return write_date(moment, layout)
