"""The table of relation kinds. To add one, write a class and add it here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from serving.table.relations.base import Fields, Relation
from serving.table.relations.combination import Combination
from serving.table.relations.equation import in_turn
from serving.table.relations.fields import Table
from serving.table.relations.line import Line
from serving.table.relations.order import Order
from serving.table.relations.product import Product
from serving.table.relations.sum import Sum

UNUSED = ("id", "dropped")  # roles of columns that are not generated
# In the order of the search: later kinds skip relations that earlier ones imply.
KINDS: Mapping[str, type[Relation]] = {k.kind: k for k in (Product, Sum, Line, Combination, Order)}


def read_relations(entries: Any) -> tuple[Relation, ...]:
    """Parse the entries of a schema file; raises ValueError naming the entry and the problem."""
    if entries is None:
        return ()
    if not isinstance(entries, list | tuple):
        raise ValueError(f"constraints must be a list of entries with kind and columns, not {entries!r}")
    return tuple(_read(entry, f"constraint {i}") for i, entry in enumerate(entries))


def _read(entry: Any, where: str) -> Relation:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where} of the schema is {entry!r}, not a mapping with kind and columns")
    kind, names = entry.get("kind"), entry.get("columns")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"{where}: kind {kind!r} is none of {', '.join(KINDS)}")
    allowed = ["kind", "columns", *sorted(KINDS[kind].keys)]
    if unknown := set(entry) - set(allowed):
        raise ValueError(f"{where}: unknown keys {', '.join(sorted(map(str, unknown)))}; write {', '.join(allowed)}")
    if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
        raise ValueError(f"{where}: columns must be a list of column names, not {names!r}")
    try:
        return KINDS[kind].read(entry)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def check_relations(relations: Sequence[Relation], fields: Fields) -> None:
    """Raise ValueError for unknown, repeated, unused or unsuitable columns, and for repeated or cyclic targets."""
    for relation in relations:
        said, names = f"constraint {relation.describe()!r}", relation.columns
        if lacking := [n for n in names if n not in fields]:
            columns = ", ".join(fields)
            raise ValueError(
                f"{said} names {', '.join(map(repr, lacking))}, which the schema does not have; columns: {columns}"
            )
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError(f"{said} needs two different columns or more")
        used = [fields[n] for n in names]
        if idle := next((f for f in used if f.role in UNUSED), None):
            raise ValueError(
                f"{said} names {idle.name!r}, whose role is {idle.role}, so it is not generated. Set `role: feature` "
                "in its entry, or remove the constraint"
            )
        if not relation.fits(used):
            what = ", ".join(f"{f.name!r} ({f.family or f.kind})" for f in used)
            raise ValueError(f"{said} is for {relation.takes}, not for {what}")
    in_turn(relations)


def find_relations(table: Table) -> tuple[Relation, ...]:
    """Relations that hold in every row and are explained neither by chance nor by other relations."""
    found: list[Relation] = []
    for kind in KINDS.values():
        found += kind.find(table, tuple(found))
    return tuple(found)


def unsealed(entries: Sequence[Mapping[str, Any]], fields: Fields, classes: int) -> tuple[Relation, ...]:
    """The relations of a sealed file with this number of classes; raises ValueError for invalid entries."""
    try:
        relations = tuple(KINDS[e["kind"]].unsealed(e, classes) for e in entries)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"an entry lacks a key or holds an invalid value: {error!r}") from error
    check_relations(relations, fields)
    return relations
