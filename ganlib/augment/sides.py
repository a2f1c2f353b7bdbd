"""Three tables read by one schema, to be compared: training rows, synthetic rows, held-out real rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ganlib.augment.stacking import MARK
from ganlib.data.encoder import TableEncoder
from ganlib.data.feeds import make_feeds
from ganlib.data.frames import as_frame, check_names
from ganlib.data.inference import infer_schema, label_column
from ganlib.data.schema import Schema
from ganlib.data.values import NO_DATE, as_strings
from ganlib.errors import DataError
from ganlib.metrics.privacy import copied
from serving.wording import listed

MOST_OVERLAP = 0.5
REAL, SYNTHETIC, HOLDOUT = "real", "synthetic", "holdout"
SIDES = (REAL, SYNTHETIC, HOLDOUT)


@dataclass(frozen=True)
class Side:
    """One table: ``values`` by column (numbers with NaN, or strings with "" for missing), and rows as numbers.

    ``x`` ``(n, d)`` is encoded without the label, ``codes`` ``(n, k)`` numbers the values of each column. ``classes``
    ``(n,)`` are the label's values, all "" without a label.
    """

    frame: pd.DataFrame
    values: Mapping[str, np.ndarray]
    x: np.ndarray
    codes: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True)
class Sides:
    """The three tables, their schema (with the column ``label``, if any), and what was not compared, in words."""

    schema: Schema
    label: str | None
    real: Side
    synthetic: Side
    holdout: Side
    notes: tuple[str, ...]

    @property
    def each(self) -> tuple[Side, Side, Side]:
        """The training, the synthetic and the held-out rows."""
        return self.real, self.synthetic, self.holdout

    @property
    def names(self) -> list[str]:
        """The compared columns, the label last."""
        return list(self.real.values)

    def is_text(self, name: str) -> bool:
        """Whether a column's values are strings."""
        return self.real.values[name].dtype == object


def read_sides(
    real: object, synthetic: object, holdout: object, label: str | None, schema: Schema | str | Path | None
) -> Sides:
    """Read frames by ``schema`` (an object or its file), or by one inferred from ``real``.

    The column ``_synthetic`` is dropped; of ``synthetic``, rows that it marks False are left out. Raises DataError for
    empty tables, columns that differ, values that do not fit the schema, and for held-out rows that are training rows.
    """
    frames = {name: rows_of(name, data) for name, data in zip(SIDES, (real, synthetic, holdout), strict=True)}
    known = _schema(frames[REAL], label, schema)
    label = label or known.label
    known = replace(known, columns=tuple(c for c in known.columns if c.name != label))
    _check_columns(frames, known, label)
    used = known.only(c for c in known.features if c.kind != "text")
    if not used.columns:
        raise DataError(
            "no column can be compared: all are identifiers, texts or dropped; change their roles by schema"
        )
    feeds = {name: make_feeds(used, frame) for name, frame in frames.items()}
    encoder = TableEncoder(used, for_generation=True, numeric="standard").fit(frames[REAL])
    values = {name: {c.name: _plain(feeds[name][c.input], c.kind) for c in used.columns} for name in SIDES}
    absent = [
        n for n in values[REAL] if is_missing(values[SYNTHETIC][n]).all() and not is_missing(values[REAL][n]).all()
    ]
    codes = _codes(values, [n for n in values[REAL] if n not in absent])
    classes = {name: _classes(frame, label) for name, frame in frames.items()}
    if label is not None:
        for name in SIDES:
            values[name][label] = classes[name].astype(object)
        used = replace(used, columns=(*used.columns, replace(label_column(frames[REAL][label]), role="feature")))
    sides = {
        name: Side(frames[name], values[name], encoder.encode(feeds[name]).astype(np.float64), codes[name],
                   classes[name])
        for name in SIDES
    }  # fmt: skip
    notes = _left_out(known, frames[REAL], absent)
    found = Sides(used, label, sides[REAL], sides[SYNTHETIC], sides[HOLDOUT], tuple(notes))
    return replace(found, notes=(*found.notes, *_overlap(found)))


def is_missing(values: np.ndarray) -> np.ndarray:
    """Which values of a side's column are missing, bool ``(n,)``."""
    return values == "" if values.dtype == object else np.isnan(values)


def repeated(side: Side) -> float:
    """The share of rows that equal another one of the table."""
    return float(pd.DataFrame(side.codes).duplicated(keep=False).mean())


def rows_of(name: str, data: object) -> pd.DataFrame:
    """The rows of one of the ``SIDES`` without the column ``_synthetic``: of ``synthetic`` those that it marks.

    Raises DataError for tables without such rows, and for marks other than true and false.
    """
    frame = as_frame(data)
    check_names(frame)
    if MARK in frame.columns:
        marked = as_strings(frame[MARK]).astype(str)
        if wrong := sorted(set(np.char.lower(marked)) - {"true", "false", "1", "0"}):
            raise DataError(
                f"the column {MARK} of {name} holds {wrong[0]!r}: it marks synthetic rows by true and false"
            )
        true = np.isin(np.char.lower(marked), ("true", "1"))
        frame = frame[true if name == SYNTHETIC else ~true].drop(columns=[MARK]).reset_index(drop=True)
        if not len(frame):
            fault = "marks no row as true" if name == SYNTHETIC else "marks every row as true"
            raise DataError(f"the column {MARK} of {name} {fault}: give a table with {_needed(name)}")
    if not len(frame) or not frame.shape[1]:
        raise DataError(f"{name} has {len(frame)} rows and {frame.shape[1]} columns: give a table with {_needed(name)}")
    return frame.reset_index(drop=True)


def _needed(name: str) -> str:
    return {REAL: "the training rows", SYNTHETIC: "synthetic rows", HOLDOUT: "held-out real rows"}[name]


def _schema(real: pd.DataFrame, label: str | None, schema: Schema | str | Path | None) -> Schema:
    if schema is None:
        if label is not None and label not in real.columns:
            raise DataError(f"real has no label column {label!r}: it has {listed(list(real.columns))}")
        features = real.drop(columns=[label] if label else [])
        if not features.shape[1]:
            raise DataError(f"real has no column beside the label {label!r}: there is nothing to compare")
        return infer_schema(features, for_generation=True)
    found = schema if isinstance(schema, Schema) else Schema.load(schema)
    if label is not None and found.label not in (None, label):
        raise DataError(f"the label is {label!r}, but {found.label!r} in the schema: leave one out")
    return found


def _check_columns(frames: Mapping[str, pd.DataFrame], schema: Schema, label: str | None) -> None:
    """Raise DataError unless all tables have the compared columns, and no further ones that only some have."""
    needed = {c.name for c in schema.features} | ({label} if label else set())
    idle = {c.name for c in schema.columns} - needed
    for name, frame in frames.items():
        if lacking := sorted(needed - set(frame.columns)):
            raise DataError(f"{name} lacks the columns {listed(lacking)}: give tables with the same columns")
        if more := sorted(set(frame.columns) - set(frames[REAL].columns) - idle):
            raise DataError(f"{name} has columns that real lacks, {listed(more)}: give tables with the same columns")


def _plain(feed: np.ndarray, kind: str) -> np.ndarray:
    """Numbers with NaN for missing, truth values and categories as strings with "" for missing."""
    if kind == "category":
        return np.asarray(feed, dtype=object)
    if kind == "date":
        return np.where(feed == NO_DATE, np.nan, feed.astype(np.float64))
    numbers = np.where(np.isfinite(feed), feed, np.nan).astype(np.float64)
    if kind == "boolean":
        return np.select([np.isnan(numbers), numbers > 0], ["", "true"], "false").astype(object)
    return numbers


def _codes(values: Mapping[str, Mapping[str, np.ndarray]], names: list[str]) -> dict[str, np.ndarray]:
    """Each column's values as numbers, the same in all tables."""
    lengths = np.cumsum([len(next(iter(values[side].values()))) for side in SIDES])[:-1]
    columns = [pd.factorize(np.concatenate([values[side][name] for side in SIDES]))[0] for name in names]
    whole = np.column_stack(columns) if columns else np.zeros((int(lengths[-1]), 0), dtype=np.int64)
    return dict(zip(SIDES, np.split(whole, lengths), strict=True))


def _classes(frame: pd.DataFrame, label: str | None) -> np.ndarray:
    return as_strings(frame[label]).astype(str) if label is not None else np.full(len(frame), "", dtype=str)


def _left_out(schema: Schema, real: pd.DataFrame, absent: list[str]) -> list[str]:
    """Columns that are not compared, with the reason."""
    notes = []
    if texts := [c.name for c in schema.features if c.kind == "text"]:
        notes.append(f"not compared, because they hold free text: {listed(texts)}")
    if idle := [c.name for c in schema.columns if c.role != "feature" and c.name in real.columns]:
        notes.append(f"not compared, because they identify rows or are dropped: {listed(idle)}")
    if absent:
        notes.append(f"missing in all synthetic rows, so not used to find copies: {listed(absent)}")
    return notes


def _overlap(sides: Sides) -> list[str]:
    """A note on held-out rows that equal training rows; raises DataError if the tables are the same, or mostly so."""
    real, made, held = sides.real.codes, sides.synthetic.codes, sides.holdout.codes
    if not real.shape[1]:
        raise DataError("every compared column is missing in all synthetic rows: there is nothing to compare")
    share = float(copied(real, held).mean())
    # Tables of few values repeat their rows without any leak.
    usual = repeated(sides.real)
    if share > usual + MOST_OVERLAP or _same(real, held):
        raise DataError(
            f"{share:.0%} of the holdout rows equal a training row (of the training rows, {usual:.0%} equal another): "
            "hold out real rows that the generator did not learn from"
        )
    if _same(made, held):
        raise DataError("synthetic and holdout hold the same rows: give the generator's rows and held-out real ones")
    if share > usual + 0.05:
        return [
            f"{share:.0%} of the held-out rows equal a training row, and {usual:.0%} of the training rows another: "
            "copies are judged too mildly"
        ]
    return []


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether both hold the same rows in any order."""
    return len(a) == len(b) and bool((a[np.lexsort(a.T)] == b[np.lexsort(b.T)]).all())
