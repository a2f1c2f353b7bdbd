"""Converts tables and records to feeds by the artifact's schema (docs/artifact.md).

Frames and lists of records are converted to Arrow columns first (``serving.table``).
"""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from serving.errors import DataError, ValueRefused
from serving.table import arrow, values
from serving.textfeatures import text_features
from serving.wording import MOST, counted, listed

log = logging.getLogger("serving")
NO_DATE = values.NO_DATE
Feeds = dict[str, np.ndarray]


class FrameAdapter:
    """Turns Arrow tables, pandas frames and lists of records into feeds for one schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.timezone, self.words = schema["timezone"], schema.get("missing_words")
        self.columns = [c for c in schema["columns"] if c["role"] in ("feature", "group")]
        self._logged = False

    @property
    def names(self) -> list[str]:
        """Names of the required raw columns."""
        return [c["name"] for c in self.columns]

    def feeds(self, data: Any) -> Feeds:
        """Convert data to feeds by input name.

        ``data`` is a frame of any library (``serving.table.arrow``), an Arrow table or batch, or a list of records.
        Raises DataError for missing or repeated columns and for values of the wrong kind.
        """
        if isinstance(data, list):
            return self.column_feeds({name: [record.get(name) for record in data] for name in self.names})
        if hasattr(data, "columns") or hasattr(data, "schema"):
            self.check_columns(arrow.column_names(data))
            table = arrow.as_table(data, self.names)
            return self.column_feeds({name: table.column(name) for name in self.names})
        raise DataError(f"a table or a list of records is needed, not {type(data).__name__}")

    def column_feeds(self, columns: Mapping[str, Any]) -> Feeds:
        """Convert columns by name to feeds: lists of JSON values, or Arrow arrays. Raises as ``feeds``."""
        given = [(c, columns[c["name"]]) for c in self.columns]
        read = [(c, _recorded(c, values) if isinstance(values, list) else values) for c, values in given]
        return {c["input"]: self._feed(c, values) for c, values in read}

    def check_columns(self, present: list[str]) -> None:
        """Raise DataError for missing or repeated columns, with close matches; log extra columns once."""
        if twice := sorted({n for n in present if present.count(n) > 1}):
            raise DataError(f"column names must be unique; these come twice: {listed(twice)}")
        lacking = [n for n in self.names if n not in present]
        if lacking:
            spare = [n for n in present if n not in self.names]
            hints = []
            for name in lacking[:MOST]:
                close = difflib.get_close_matches(name, spare, n=1)
                hints.append(listed([name]) + (f" (renamed to {listed(close)}?)" if close else ""))
            more = f" and {len(lacking) - MOST:,} more" if len(lacking) > MOST else ""
            count = counted(len(lacking), "column is", "columns are")
            raise DataError(f"{count} missing: {', '.join(hints)}{more}; the data has {listed(present) or 'none'}")
        extra = [n for n in present if n not in self.names]
        if extra and not self._logged:
            log.info("columns not used by the model: %s", ", ".join(extra[:20]))
            self._logged = True

    def check_row(self, record: Any) -> str | None:
        """Why a record cannot be scored, or None."""
        if not isinstance(record, dict):
            return f"not an object but {type(record).__name__}"
        if lacking := [n for n in self.names if n not in record]:
            return missing(lacking)
        try:
            self.feeds([record])
        except ValueRefused as error:
            return error.said(None)
        except DataError as error:
            return str(error)
        return None

    def _feed(self, column: dict[str, Any], given: Any) -> np.ndarray:
        read = values.feed(column, given, self.words, self.timezone)
        return text_features(read.tolist(), int(column["buckets"])) if column["kind"] == "text" else read


def missing(columns: list[str]) -> str:
    """Why a record that lacks these columns cannot be scored."""
    return f"missing {'column' if len(columns) == 1 else 'columns'}: {listed(columns)}"


def _recorded(column: dict[str, Any], given: list[Any]) -> pa.Array:
    """One column of JSON records; raises ValueRefused for values that are valid JSON but not valid for the column.

    Values are checked one by one, because Arrow infers a column's type from all records together.
    """
    why = _NESTED if column.get("layout") else _UNFIT.get(column["kind"], _NESTED)
    if not why.keys().isdisjoint(map(type, given)):
        for row, value in enumerate(given):
            if type(value) in why and value == value:
                raise ValueRefused(column["name"], row, f"{_shown(value)} {why[type(value)]}")
    return arrow.column(column["name"], given)


_Reasons = dict[type, str]
_NESTED: _Reasons = {
    list: "is a list, where a single value is needed",
    dict: "is an object, where a single value is needed",
}
_NUMBER: _Reasons = _NESTED | {bool: "is a boolean, where a number is needed"}
_DATE: _Reasons = _NESTED | dict.fromkeys((bool, int, float), "is not an ISO date or time")
_UNFIT = {"number": _NUMBER, "integer": _NUMBER, "date": _DATE}


def _shown(value: Any) -> str:
    """A JSON value for a message, cut to 80 characters."""
    said = repr(value) if isinstance(value, str) else json.dumps(value)
    return said if len(said) <= 80 else said[:79] + "…"
