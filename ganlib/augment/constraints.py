"""Enforces the schema's constraints in generated rows: fits them to training rows and checks the final frame."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ganlib.data.constraints import Constraint, table_of
from ganlib.data.schema import Schema
from ganlib.data.values import reading
from ganlib.errors import DataError
from serving.table.relations import Keeper, Table, reject


def keeper_of(schema: Schema, frame: pd.DataFrame, codes: np.ndarray | None) -> Keeper | None:
    """The enforcer of the schema's constraints, fitted to real rows; None without constraints.

    ``codes`` are the rows' class indices, or None. Warns if some rows break a constraint; raises DataError if all do,
    or if the constraint cannot be fitted.
    """
    if not schema.constraints:
        return None
    table = table_of(schema, frame, {name for c in schema.constraints for name in c.columns}, codes)
    classes = 1 if codes is None else int(codes.max()) + 1
    try:
        learned = [c.learn(table, classes) for c in schema.constraints]
    except ValueError as error:
        raise DataError(str(error)) from None
    for constraint in learned:
        _check_real(constraint, table)
    return Keeper(learned, table.fields)


def _check_real(constraint: Constraint, table: Table) -> None:
    whole, broken = int(table.present(constraint.columns).sum()), int(constraint.broken(table).sum())
    if not broken:
        return
    said = f"the constraint {constraint.describe()!r} is broken by {broken} of {whole} training rows"
    if broken == whole:
        raise DataError(f"{said}; change its columns, or remove it from the schema")
    warnings.warn(f"{said}; generated rows satisfy it anyway: remove it if it is wrong", stacklevel=2)


def check_written(keeper: Keeper, schema: Schema, made: pd.DataFrame) -> None:
    """Raise DataError if converting rows to their columns' types broke a constraint."""
    table = table_of(schema, made, keeper.fields)
    broken = {name: int(rows.sum()) for name, rows in keeper.broken(table.columns).items()} if len(made) else {}
    reading(reject)({name: n for name, n in broken.items() if n}, len(made))


def joined_reports(reports: Sequence[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """Counts of several samples added up, by constraint."""
    whole: dict[str, dict[str, int]] = {}
    for report in reports:
        for name, counts in report.items():
            own = whole.setdefault(name, dict.fromkeys(counts, 0))
            for key, count in counts.items():
                own[key] += count
    return whole
