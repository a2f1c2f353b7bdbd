"""Tables and records to feeds, by the artifact's schema: the reading half of docs/artifact.md.

Arrow is the common ground: pandas frames and lists of records become Arrow tables first.
"""

from __future__ import annotations

import difflib
import json
import logging
import math
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from serving.errors import DataError, ValueRefused
from serving.textfeatures import text_features
from serving.wording import MOST, counted, listed

log = logging.getLogger("serving")
NO_DATE = np.iinfo(np.int64).min
Feeds = dict[str, np.ndarray]
TRUTH = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "yes": 1.0, "no": 0.0}


class FrameAdapter:
    """Turns Arrow tables, pandas frames and lists of records into feeds for one schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.timezone = schema["timezone"]
        self.columns = [c for c in schema["columns"] if c["role"] in ("feature", "group")]
        self._told = False

    @property
    def names(self) -> list[str]:
        """Raw columns that are needed."""
        return [c["name"] for c in self.columns]

    def feeds(self, data: Any) -> Feeds:
        """Feeds by input name; raises DataError on missing or repeated columns or values of the wrong kind."""
        table = self._table(data)
        self.check_columns(table.column_names)
        return {c["input"]: self._feed(c, table.column(c["name"])) for c in self.columns}

    def _table(self, data: Any) -> pa.Table:
        if isinstance(data, pa.Table):
            return data
        if isinstance(data, pa.RecordBatch):
            return pa.Table.from_batches([data])
        if isinstance(data, list):
            return pa.table({c["name"]: _recorded(c, [record.get(c["name"]) for record in data]) for c in self.columns})
        repeated = data.columns[data.columns.duplicated()] if hasattr(data, "columns") else []
        if len(repeated):
            raise DataError(f"column names must be unique; these come twice: {listed(list(map(str, repeated)))}")
        self.check_columns([str(c) for c in data.columns])
        return pa.table({n: _column_of(n, data[n]) for n in self.names})

    def check_columns(self, present: list[str]) -> None:
        """Raise DataError naming missing or repeated columns with close matches; log extra ones once."""
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
        if extra and not self._told:
            log.info("columns not used by the model: %s", ", ".join(extra[:20]))
            self._told = True

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

    def _feed(self, column: dict[str, Any], values: pa.ChunkedArray) -> np.ndarray:
        kind = column["kind"]
        if pa.types.is_nested(values.type):
            raise DataError(f"column {column['name']!r} holds {values.type}, where single values are needed")
        if kind in ("number", "integer"):
            return _numbers(column["name"], values)
        if kind == "boolean":
            return _booleans(column["name"], values)
        if kind == "date":
            return _dates(column["name"], values, column["timezone"] or self.timezone)
        if kind == "text":
            return text_features(_strings(values).tolist(), int(column["buckets"]))
        return _strings(values)


def missing(columns: list[str]) -> str:
    """Why a record that lacks these columns cannot be scored."""
    return f"missing {'column' if len(columns) == 1 else 'columns'}: {listed(columns)}"


def _recorded(column: dict[str, Any], values: list[Any]) -> pa.Array:
    """One column of JSON records; what JSON can say and the column cannot mean is refused by its row.

    Judged value by value, because Arrow's type of the whole column depends on the other records.
    """
    why = _UNFIT.get(column["kind"], _NESTED)
    if not why.keys().isdisjoint(map(type, values)):
        for row, value in enumerate(values):
            if type(value) in why and value == value:
                raise ValueRefused(column["name"], row, f"{_shown(value)} {why[type(value)]}")
    return _column_of(column["name"], values)


_Reasons = dict[type, str]
_NESTED: _Reasons = {
    list: "is a list, where a single value is needed",
    dict: "is an object, where a single value is needed",
}
_NUMBER: _Reasons = _NESTED | {bool: "is a boolean, where a number is needed"}
_DATE: _Reasons = _NESTED | dict.fromkeys((bool, int, float), "is not an ISO date or time")
_UNFIT = {"number": _NUMBER, "integer": _NUMBER, "date": _DATE}


def _shown(value: Any) -> str:
    """A value for a message, cut to 80 characters."""
    said = repr(value) if isinstance(value, str) else json.dumps(value)
    return said if len(said) <= 80 else said[:79] + "…"


def _column_of(name: str, values: Any) -> pa.Array:
    """One column as Arrow; mixed Python values fall back to strings, so that a message can name the bad one."""
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, UnicodeEncodeError):
        return _unmixed(name, values)


def _unmixed(name: str, values: Any) -> pa.Array:
    texts = [None if _missing(v) else _text(v) for v in values]
    for row, text in enumerate(texts):
        try:
            (text or "").encode()
        except UnicodeEncodeError:
            raise ValueRefused(name, row, "holds half a character (a lone surrogate); mend its encoding") from None
    return pa.array(texts, type=pa.string())


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or str(value) in ("<NA>", "NaT")


def _text(value: Any) -> str:
    """A category value's string (docs/artifact.md)."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        return str(int(value)) if float(value).is_integer() else str(float(value))
    return str(value)


def _plain(values: pa.ChunkedArray) -> pa.Array:
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], type=array.type)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()


def _numbers(name: str, values: pa.ChunkedArray) -> np.ndarray:
    array = _plain(values)
    if pa.types.is_null(array.type):
        return np.full(len(array), np.nan)
    if _is_text(array.type):
        array = _parse(name, array, pa.float64(), "is not a number")
    elif pa.types.is_duration(array.type):
        unit = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[array.type.unit]
        array = pc.divide(array.cast(pa.int64()).cast(pa.float64()), float(unit))
    elif pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    elif not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type) or pa.types.is_decimal(array.type)):
        raise DataError(f"column {name!r} holds {array.type}, where numbers are needed")
    out = array.cast(pa.float64(), safe=False)
    return out.to_numpy(zero_copy_only=False) if out.null_count == 0 else pc.fill_null(out, np.nan).to_numpy()


def _parse(name: str, array: pa.Array, kind: pa.DataType, why: str) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(array)
    empty = pc.is_in(pc.utf8_lower(trimmed), pa.array(["", "nan", "null", "na", "none"], type=trimmed.type))
    cleaned = pc.if_else(empty, pa.scalar(None, trimmed.type), trimmed)
    try:
        return cleaned.cast(kind)
    except pa.ArrowInvalid:
        for row, value in enumerate(cleaned.to_pylist()):
            try:
                pa.scalar(value).cast(kind) if value is not None else None
            except pa.ArrowInvalid:
                raise ValueRefused(name, row, f"{_shown(value)} {why}; mend the data or drop the row") from None
        raise


def _booleans(name: str, values: pa.ChunkedArray) -> np.ndarray:
    array = _plain(values)
    if pa.types.is_null(array.type):
        return np.full(len(array), np.nan)
    if pa.types.is_boolean(array.type):
        return pc.fill_null(array.cast(pa.float64()), np.nan).to_numpy()
    out = np.full(len(array), np.nan)
    for row, value in enumerate(_strings(array)):
        if value:
            key = value.strip().lower()
            if key not in TRUTH:
                raise ValueRefused(name, row, f"{_shown(value)} is neither true nor false")
            out[row] = TRUTH[key]
    return out


def _strings(values: pa.ChunkedArray) -> np.ndarray:
    """Category strings, missing as "": each distinct value is written once."""
    array = _plain(values)
    if pa.types.is_null(array.type):
        return np.full(len(array), "", dtype=object)
    encoded = array.dictionary_encode() if not pa.types.is_dictionary(array.type) else array
    table = [("" if _missing(v) else _text(v)) for v in encoded.dictionary.to_pylist()]
    codes = pc.fill_null(encoded.indices, len(table)).to_numpy(zero_copy_only=False)
    return np.array([*table, ""], dtype=object)[codes]


def _dates(name: str, values: pa.ChunkedArray, timezone: str) -> np.ndarray:
    array = _plain(values)
    if pa.types.is_null(array.type):
        return np.full(len(array), NO_DATE)
    if _is_text(array.type):
        return _date_strings(name, array, timezone)
    if pa.types.is_date(array.type):
        array = array.cast(pa.timestamp("us"))
    if not pa.types.is_timestamp(array.type):
        raise DataError(f"column {name!r} holds {array.type}, where dates are needed")
    if array.type.tz is None:
        array = pc.assume_timezone(
            array.cast(pa.timestamp("us"), safe=False), timezone, ambiguous="earliest", nonexistent="latest"
        )
    stamps = array.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64())
    return pc.fill_null(stamps, NO_DATE).to_numpy(zero_copy_only=False)


def _date_strings(name: str, array: pa.Array, timezone: str) -> np.ndarray:
    from datetime import datetime

    zone, memo = ZoneInfo(timezone), {"": NO_DATE}
    out = np.empty(len(array), dtype=np.int64)
    for row, value in enumerate(array.to_pylist()):
        key = (value or "").strip()
        if key not in memo:
            try:
                moment = datetime.fromisoformat(key)
            except ValueError:
                raise ValueRefused(name, row, f"{_shown(value)} is not an ISO date or time") from None
            moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
            memo[key] = round(moment.timestamp() * 1_000_000)
        out[row] = memo[key]
    return out
