"""Relations between the columns of a schema, found in a frame; ``serving.table.relations`` implements them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pandas as pd

from ganlib.data.feeds import make_feeds
from ganlib.data.relations import Constraint as Constraint
from ganlib.data.relations import check_constraints as check_constraints
from ganlib.data.relations import fields_of as fields_of
from ganlib.data.relations import read_constraints as read_constraints
from ganlib.data.schema import Schema
from serving.table.relations import Combination as Combination
from serving.table.relations import Line as Line
from serving.table.relations import Order as Order
from serving.table.relations import Product as Product
from serving.table.relations import Sum as Sum
from serving.table.relations import Table, find_relations

FEWEST = 50  # fewest rows to search for relations
_RELATED = ("number", "integer", "boolean", "category", "date")


def table_of(schema: Schema, frame: pd.DataFrame, names: Collection[str], codes: np.ndarray | None = None) -> Table:
    """These columns of a frame as a table for relations; ``codes`` are the rows' class indices, default one class."""
    used = tuple(c for c in schema.features if c.name in names)
    feeds = make_feeds(replace(schema, columns=used, constraints=()), frame)
    codes = np.zeros(len(frame), dtype=np.int64) if codes is None else codes
    return Table(fields_of(used, schema.timezone), {c.name: feeds[c.input] for c in used}, codes)


def find_constraints(frame: pd.DataFrame, schema: Schema) -> tuple[Constraint, ...]:
    """Relations between features that hold in every row of ``frame`` and are unlikely by chance."""
    names = {c.name for c in schema.features if c.kind in _RELATED}
    return find_relations(table_of(schema, frame, names)) if len(frame) >= FEWEST and len(names) > 1 else ()
