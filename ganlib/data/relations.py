"""The relations that a schema's constraints state between columns; ``serving.table.relations`` implements them."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

from ganlib.data.column import Column
from ganlib.errors import ConfigError
from serving.table.relations import KINDS, Field, check_relations, read_relations
from serving.table.relations import Relation as Constraint
from serving.table.relations.kinds import UNUSED as UNUSED

# The description of each kind in the heading of a schema file.
GUIDE = "".join(
    f"#   {kind:<11} " + "\n#               ".join(wrap(relation.guide, 102)) + "\n" for kind, relation in KINDS.items()
)


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
