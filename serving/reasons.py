"""Reasons for anomalies in words. Collects raw values of the rows; ``serving.table.reasons`` does the wording."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from serving.table import arrow
from serving.table.reasons import top_reasons


def raw_columns(data: Any, schema: Mapping[str, Any], rows: np.ndarray) -> dict[str, list[Any]]:
    """Raw values of the feature columns at ``rows``, from a frame of any library, a list of records, or feeds.

    Feeds hold no raw text, so their text columns are left out.
    """
    features = [c for c in schema["columns"] if c["role"] == "feature"]
    if isinstance(data, list):
        return {c["name"]: [data[row].get(c["name"]) for row in rows] for c in features}
    if isinstance(data, dict):
        return {c["name"]: _fed(c, data[c["input"]][rows]) for c in features if c["kind"] != "text"}
    table = arrow.as_table(data, [c["name"] for c in features]).take(pa.array(rows, pa.int64()))
    return {c["name"]: table.column(c["name"]).to_pylist() for c in features}


def _fed(column: Mapping[str, Any], feed: np.ndarray) -> list[Any]:
    if column["kind"] != "date":
        return feed.tolist()
    stamps = feed.astype("datetime64[us]")  # the smallest integer, a missing date, becomes NaT
    return [None if np.isnat(stamp) else str(stamp) for stamp in stamps]


def reasons_of_anomalies(
    contributions: np.ndarray, flags: np.ndarray, schema: Mapping[str, Any], data: Any
) -> pa.Array:
    """``top_reasons`` for the rows that are anomalies, and null for the others, as an Arrow string array."""
    rows = np.flatnonzero(flags)
    out: list[str | None] = [None] * len(flags)
    for row, words in zip(rows, top_reasons(contributions[rows], schema, raw_columns(data, schema, rows)), strict=True):
        out[row] = words
    return pa.array(out, pa.string())
