"""Explains rows of a table by a sealed detector: chosen ones, the most anomalous, or a single record."""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from serving.artifact import load_artifact
from serving.errors import DataError, UsageError
from serving.explained import Explanation, Part
from serving.inputs import Input, Piece, Reading, place_date
from serving.plan import data_files
from serving.readers import check_inputs
from serving.reasons import raw_columns
from serving.scorer import ScoreBatch, Scorer
from serving.table.reasons import cut, shown
from serving.table.usual import remark, usual
from serving.table.words import missing_words
from serving.wording import counted, listed, say

WORST = 5


def explain(
    model: str | Path | bytes,
    input: str | Path | None = None,
    *,
    rows: Sequence[str] = (),
    worst: int | None = None,
    record: str | None = None,
    alpha: float | None = None,
    date: str | None = None,
    sha256: str | None = None,
) -> list[Explanation]:
    """Explain rows of ``input``, or one ``record`` (a JSON object).

    - ``rows``: positions from 0, as ``source_row`` in scores; ``FILE:17`` if the input has several files.
    - ``worst``: the number of most anomalous rows, which are explained if no ``rows`` are given; defaults to 5.
    - ``date`` (YYYY-MM-DD) replaces ``{date}`` in ``input``; defaults to today in UTC.

    Raises UsageError for options that contradict each other, a row that is not in the input, or a model without
    contributions; DataError for rows that cannot be scored; and the errors of ``load_artifact``.
    """
    _check_options(input, rows, worst, record)
    scorer = Scorer(load_artifact(model, sha256), alpha)
    if scorer.artifact.explanation != "contributions":
        kind = "images" if scorer.artifact.modality == "image" else "series"
        raise UsageError(
            f"explain divides a score among the columns of a table; this detector reads {kind}, and `score --explain` "
            "says which of their places are anomalous"
        )
    if record is not None:
        return [_of_record(scorer, record)]
    location = place_date(str(input), date)
    inputs = data_files(location)
    check_inputs(inputs, scorer.reader)
    if rows:
        chosen = [_chosen(text, inputs) for text in dict.fromkeys(rows)]
        return [_explained(scorer, source.name, row, _row(scorer, source, row)) for source, row in chosen]
    found = _most_anomalous(scorer, inputs, location, WORST if worst is None else worst)
    return [_explained(scorer, source, row, table) for source, row, table in found]


def _check_options(input: str | Path | None, rows: Sequence[str], worst: int | None, record: str | None) -> None:
    if (input is None) == (record is None):
        raise UsageError("give --input with the table that holds the rows, or --record with one record, not both")
    if record is not None and (rows or worst is not None):
        raise UsageError("--record is explained by itself; leave out --row and --worst")
    if rows and worst is not None:
        raise UsageError("--row chooses rows and --worst the most anomalous ones; give one of them")
    if worst is not None and worst < 1:
        raise UsageError(f"--worst must be at least 1, not {worst}")


# -------------------------------------------------------------------- choosing rows
def _of_record(scorer: Scorer, text: str) -> Explanation:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--record is not JSON ({str(error)[:200]}); give an object such as '{{\"a\": 1}}'") from error
    if why := scorer.reader.check_row(record):
        raise DataError(f"--record: {why}")
    return _explained(scorer, "record", None, [record])


def _chosen(text: str, inputs: Sequence[Input]) -> tuple[Input, int]:
    """The file and the position of ``17`` or ``FILE:17``."""
    name, _, number = text.rpartition(":")
    if not (number.isascii() and number.isdigit()):
        raise UsageError(f"--row {text!r} is no row; give its position from 0, such as 17, or FILE:17")
    names = [source.name for source in inputs]
    if name and name not in names:
        raise UsageError(f"--row {text!r}: the input has no file {name!r}; it has {listed(names) or 'none'}")
    if not name and len(names) != 1:
        raise UsageError(f"--row {text} could be of any of {listed(names) or 'no files'}; give FILE:{number}")
    return inputs[names.index(name) if name else 0], int(number)


def _row(scorer: Scorer, source: Input, row: int) -> pa.Table:
    """One row of a file as a table; raises UsageError beyond its end, DataError if it cannot be scored."""
    reader = scorer.reader
    piece = next(Reading().pieces(source, reader.names, row, row + 1, reader.names, reader.nested), None)
    if piece is None or piece.stop <= row:
        rows = source.count()
        last = f"0 to {rows - 1}" if rows else "none"
        raise UsageError(f"--row {row}: {source.path} has {counted(rows, 'row')}, {last}; the first one is row 0")
    _, bad = _sifted(scorer, source, piece)
    if bad:
        raise DataError(f"{source.path}, {bad[0]}; fix the value or choose another row")
    return piece.table


def _sifted(scorer: Scorer, source: Input, piece: Piece) -> tuple[np.ndarray, list[str]]:
    """The indices of the rows that can be scored, and why others cannot."""
    rows = piece.rows()
    try:
        sifted = scorer.reader.feeding(Reading()).sift(source, piece, piece.table.num_rows)
    except DataError as error:
        raise DataError(f"{source.path}: {error}") from error
    bad = [(b.row, b.column, b.reason) for b in piece.broken]
    bad += [(int(rows[row]), column, why) for row, column, why in sifted.bad]
    said = [f"row {row}: {f'column {column!r}: ' if column else ''}{why}" for row, column, why in sorted(bad)]
    return sifted.good, said


def _most_anomalous(
    scorer: Scorer, inputs: Sequence[Input], location: str, count: int
) -> list[tuple[str, int, pa.Table]]:
    """The rows with the smallest p-values, of equal ones those with the highest scores, the first of these first."""
    kept: list[tuple[tuple[float, float, int], str, int, pa.Table]] = []
    seen = left_out = 0
    first = ""
    for source, piece in _pieces(scorer, inputs):
        good, bad = _sifted(scorer, source, piece)
        left_out += len(bad)
        first = first or (f"{source.path}, {bad[0]}" if bad else "")
        rows, table = piece.rows()[good], piece.table.take(good)
        result = scorer.score(table)
        order = np.lexsort((-result.anomaly_score, result.p_value))[:count]
        for at in order:
            rank = (float(result.p_value[at]), -float(result.anomaly_score[at]), seen + int(at))
            kept.append((rank, source.name, int(rows[at]), table.take([int(at)])))
        kept = heapq.nsmallest(count, kept, key=lambda entry: entry[0])
        seen += len(good)
    if left_out:
        say(f"warning: {counted(left_out, 'row')} cannot be scored and left out; the first: {first}")
    if not kept:
        raise DataError(f"there are no rows to explain in {location}")
    return [entry[1:] for entry in kept]


def _pieces(scorer: Scorer, inputs: Sequence[Input]) -> Iterator[tuple[Input, Piece]]:
    reading, reader = Reading(), scorer.reader
    for source in inputs:
        for piece in reading.pieces(source, reader.names, 0, None, reader.names, reader.nested):
            yield source, piece


# -------------------------------------------------------------------- explaining one row
def _explained(scorer: Scorer, source: str, row: int | None, data: Any) -> Explanation:
    """The explanation of a table, or list of records, that holds a single row."""
    feeds = scorer.reader.feeds(data)
    result = scorer.score(data, explain=True)
    score, p_value = float(result.anomaly_score[0]), float(result.p_value[0])
    if not math.isfinite(score):
        raise DataError(f"{source}{'' if row is None else f', row {row}'}: the model gives no finite score for it")
    group, normal = _group(scorer, feeds)
    at_least = max(0, min(normal, round(p_value * (normal + 1) - 1)))
    return Explanation(
        source, row, score, p_value, bool(result.is_anomaly[0]), scorer.alpha, normal, at_least, group,
        _parts(scorer, feeds, data, result),
    )  # fmt: skip


def _group(scorer: Scorer, feeds: dict[str, np.ndarray]) -> tuple[str | None, int]:
    """The row's group, if it has a calibration of its own, and the number of normal rows behind its p-value."""
    calibration = scorer.artifact.calibration
    column = next((c for c in scorer.artifact.schema["columns"] if c["name"] == calibration["group_column"]), None)
    value = None if column is None else str(feeds[column["input"]][0])
    if value in calibration["groups"]:
        return value, int(calibration["groups"][value]["n"])
    return None, int(calibration["n"])


def _parts(scorer: Scorer, feeds: dict[str, np.ndarray], data: Any, result: ScoreBatch) -> tuple[Part, ...]:
    """The columns, the largest contribution first; files of earlier releases hold some of either sign."""
    schema, shares = scorer.artifact.schema, scorer.artifact.metadata.get("shares") or {}
    features = [c for c in schema["columns"] if c["role"] == "feature"]
    raw = raw_columns(data, schema, np.array([0]))
    assert result.contributions is not None
    amounts = np.nan_to_num(result.contributions[0].astype(np.float64), nan=0.0, posinf=1e38, neginf=-1e38)
    total = float(amounts.clip(0.0).sum())
    parts = []
    for column, amount in zip(features, amounts.tolist(), strict=True):
        name, words = column["name"], missing_words(column, schema.get("missing_words"))
        value = shown(raw[name][0], words)
        lacking = float(shares.get(name, {}).get("missing", 0.0))
        said = remark(column, feeds[column["input"]][0], schema["timezone"])
        parts.append(Part(
            name, None if value is None else cut(value), usual(column, schema["timezone"], lacking), said, amount,
            max(0.0, amount) / total if total > 0 else 0.0,
        ))  # fmt: skip
    return tuple(sorted(parts, key=lambda part: -part.contribution))
