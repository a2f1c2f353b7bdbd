"""Relations between the columns of a schema and a frame; ``serving.table.relations`` implements them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from ganlib.errors import ConfigError
from serving.table.relations import KINDS, Field, Table, check_relations, find_relations, read_relations
from serving.table.relations import Combination as Combination
from serving.table.relations import Line as Line
from serving.table.relations import Order as Order
from serving.table.relations import Product as Product
from serving.table.relations import Relation as Constraint
from serving.table.relations import Sum as Sum
from serving.table.relations.kinds import UNUSED as UNUSED

if TYPE_CHECKING:
    import pandas as pd

    from ganlib.data.schema import Column, Schema

FEWEST = 50  # fewest rows to search for relations
# The description of each kind in the heading of a schema file.
GUIDE = "".join(
    f"#   {kind:<11} " + "\n#               ".join(wrap(relation.guide, 102)) + "\n" for kind, relation in KINDS.items()
)
_RELATED = ("number", "integer", "boolean", "category", "date")


def read_constraints(entries: Any) -> tuple[Constraint, ...]:
    """Parse the constraints of a schema file; raises ConfigError naming the entry and the problem."""
    try:
        return read_relations(entries)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def check_constraints(constraints: Sequence[Constraint], columns: Sequence[Column], timezone: str) -> None:
    """Raise ConfigError for unknown, repeated, unused or unsuitable columns, and for repeated or cyclic targets."""
    if not constraints:
        return
    try:
        check_relations(constraints, fields_of(columns, timezone))
    except ValueError as error:
        raise ConfigError(str(error)) from None


def fields_of(columns: Sequence[Column], timezone: str) -> dict[str, Field]:
    """The columns as relation fields, by name."""
    return {c.name: Field.of(vars(c), timezone) for c in columns}


def table_of(schema: Schema, frame: pd.DataFrame, names: Collection[str], codes: np.ndarray | None = None) -> Table:
    """These columns of a frame as a table for relations; ``codes`` are the rows' class indices, default one class."""
    from ganlib.data.feeds import make_feeds

    used = tuple(c for c in schema.features if c.name in names)
    feeds = make_feeds(replace(schema, columns=used, constraints=()), frame)
    codes = np.zeros(len(frame), dtype=np.int64) if codes is None else codes
    return Table(fields_of(used, schema.timezone), {c.name: feeds[c.input] for c in used}, codes)


def find_constraints(frame: pd.DataFrame, schema: Schema) -> tuple[Constraint, ...]:
    """Relations between features that hold in every row of ``frame`` and are unlikely by chance."""
    names = {c.name for c in schema.features if c.kind in _RELATED}
    return find_relations(table_of(schema, frame, names)) if len(frame) >= FEWEST and len(names) > 1 else ()
