"""Requests and answers in MLflow's conventions: ``POST /invocations``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from serving.readers.example import EXAMPLE
from serving.scorer import ScoreBatch, Scorer
from serving.service.query import Query, kind, limited, options, parsed
from serving.service.rejected import bad

Columns = tuple[dict[str, Any], int]


def read(body: bytes, names: list[str], most: int) -> Query:
    """The request in a body, for a model of the columns ``names``; ``most`` limits the rows. Raises Rejected."""
    value = parsed(body)
    formats = [name for name in _FORMATS if name in value]
    if len(formats) != 1 or value.keys() - {*_FORMATS, "params"}:
        raise bad(f"the body must have one of {', '.join(_FORMATS)}, and may have params")
    alpha, explain = options(value.get("params"))
    columns, rows = _FORMATS[formats[0]](value[formats[0]], names, formats[0])
    limited(rows, most)
    return Query(columns, rows, alpha, explain)


def _split(value: Any, names: list[str], what: str) -> Columns:
    """``{"columns": [...], "data": [[...], ...]}``."""
    if not isinstance(value, dict) or not isinstance(value.get("columns"), list):
        raise bad(f"{what} must be an object with columns and data, both lists")
    columns, data = [str(name) for name in value["columns"]], value.get("data")
    if not isinstance(data, list):
        raise bad(f"{what}: data must be a list of rows, not {kind(data)}")
    if twice := sorted({name for name in columns if columns.count(name) > 1})[:1]:
        raise bad(f"{what}: column names must be unique; {twice[0]!r} comes twice", column=twice[0])
    for row, values in enumerate(data):
        if not isinstance(values, list) or len(values) != len(columns):
            found = f"{len(values):,} values" if isinstance(values, list) else kind(values)
            why = f"{found}, where a list of {len(columns):,} values is needed"
            raise bad(f"{what}, row {row}: {why}", row=row, reason=why)
    lists = zip(*data, strict=True) if data else ([] for _ in columns)
    return {name: list(values) for name, values in zip(columns, lists, strict=True)}, len(data)


def _records(value: Any, names: list[str], what: str) -> Columns:
    """``[{"a": 1}, ...]``: each record holds all columns of the model."""
    if not isinstance(value, list):
        raise bad(f"{what} must be a list of records, not {kind(value)}")
    for row, record in enumerate(value):
        if not isinstance(record, dict):
            raise bad(f"{what}, row {row}: not an object but {kind(record)}", row=row)
        for name in names:
            if name not in record:
                why = f"the column {name!r} is missing; give null for a missing value"
                raise bad(f"{what}, row {row}: {why}", row=row, column=name, reason=why)
    return {name: [record[name] for record in value] for name in names}, len(value)


def _instances(value: Any, names: list[str], what: str) -> Columns:
    """Records, or a list of examples."""
    if isinstance(value, list) and names == [EXAMPLE] and not any(isinstance(one, dict) for one in value):
        return {EXAMPLE: value}, len(value)
    return _records(value, names, what)


def _inputs(value: Any, names: list[str], what: str) -> Columns:
    """``{"a": [1, 2], ...}``, or as ``instances``."""
    if not isinstance(value, dict):
        return _instances(value, names, what)
    for name, column in value.items():
        if not isinstance(column, list):
            raise bad(f"{what}: column {name!r} must be a list, not {kind(column)}", column=name)
    if len(lengths := {len(column) for column in value.values()}) > 1:
        raise bad(f"{what}: the columns have {' and '.join(map(str, sorted(lengths)[:2]))} rows; give each the same")
    return value, max(lengths, default=0)


_FORMATS: dict[str, Callable[[Any, list[str], str], Columns]] = {
    "dataframe_split": _split, "dataframe_records": _records, "instances": _instances, "inputs": _inputs,
}  # fmt: skip


def answer(scores: ScoreBatch, scorer: Scorer) -> bytes:
    """The body of an answer: one record a row, with the columns of the model that MLflow serves."""
    columns: dict[str, list[Any]] = {
        "anomaly_score": scores.anomaly_score.tolist(),
        "p_value": scores.p_value.tolist(),
        "is_anomaly": scores.is_anomaly.tolist(),
    }
    if scores.contributions is not None:
        for place, feature in enumerate(scorer.artifact.features):
            columns[f"contribution.{feature}"] = scores.contributions[:, place].tolist()
    if scores.map is not None:
        columns["map"] = scores.map.tolist()
    if scores.top_reasons is not None:
        columns["top_reasons"] = scores.top_reasons.to_pylist()
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return json.dumps({"predictions": rows}).encode()
