"""Input columns that are copied to every score row, so that scores can be joined to rows."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from serving.errors import DataError, UsageError
from serving.inputs import Input
from serving.readers import Reader
from serving.wording import listed, say

# The columns that every score row has.
SCORE_COLUMNS = (
    "source", "source_row", "anomaly_score", "p_value", "is_anomaly", "alpha", "model_name", "model_version",
    "artifact_sha256", "scored_at", "fdr_selected",
)  # fmt: skip


@dataclass(frozen=True)
class Kept:
    """An input column with its name and Arrow type in the scores.

    The type is the column's type if all files agree, and text otherwise.
    """

    column: str
    name: str
    type: str

    @property
    def arrow(self) -> pa.DataType:
        """Its Arrow type in the scores."""
        return arrow_type(self.type)

    def of(self, table: pa.Table) -> pa.ChunkedArray | pa.Array:
        """The column's values in a table; nulls if the table lacks it."""
        kind = self.arrow
        if self.column not in table.column_names:
            return pa.nulls(table.num_rows, kind)
        values = table.column(self.column)
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        return values if values.type == kind else values.cast(kind)


def split_names(given: Sequence[str] | None) -> tuple[str, ...] | None:
    """Parse column names from the command line: comma-separated, quoted if they contain a comma; None stays None."""
    if given is None:
        return None
    try:
        return tuple(dict.fromkeys(name for text in given for row in csv.reader([text]) for name in row if name))
    except csv.Error as error:
        said = listed(list(given))
        raise UsageError(
            f"--keep {said} cannot be read ({error}); put quotes around a name with a line break"
        ) from error


def names_to_keep(wanted: Iterable[str] | None, reader: Reader, inputs: Sequence[Input]) -> tuple[str, ...]:
    """The requested columns; defaults to those that the reader chooses, such as a schema's identifiers.

    Raises DataError if a file lacks a requested column.
    """
    if wanted is None:
        return tuple(reader.kept({name: kind for source in inputs for name, kind in source.types().items()}))
    names = tuple(dict.fromkeys(wanted))
    for source in inputs:
        has = source.names()
        if has and (lacking := [name for name in names if name not in has]):
            close = difflib.get_close_matches(lacking[0], has, n=1)
            hint = f" (did you mean {listed(close)}?)" if close else ""
            raise DataError(f"{source.path} has no column {lacking[0]!r} to keep{hint}; it has {listed(has)}")
    return names


def kept_columns(names: Sequence[str], inputs: Sequence[Input]) -> tuple[Kept, ...]:
    """Names and types of the kept columns in the scores. A name that score rows already use becomes ``input.NAME``.

    Raises UsageError if two columns would get the same name, and DataError for types that cannot be kept.
    """
    taken, kept = {name.lower() for name in SCORE_COLUMNS}, []
    for column in names:
        clash = column.lower() in SCORE_COLUMNS or column.startswith("contribution.")
        name = f"input.{column}" if clash else column
        # Spark and DuckDB ignore case in column names.
        if name.lower() in taken:
            raise UsageError(f"--keep: two columns would be called {name!r} among the scores; keep one of them")
        taken.add(name.lower())
        kept.append(Kept(column, name, str(_common_type(column, inputs))))
    return tuple(kept)


def _common_type(column: str, inputs: Sequence[Input]) -> pa.DataType:
    found: dict[pa.DataType, str] = {}
    for source in inputs:
        types = source.types()
        if column in types:
            found.setdefault(_plain(types[column]), source.name)
        elif types:
            say(f"warning: {source.path} has no column {column!r}; its rows keep null")
    kinds = [kind for kind in found if not pa.types.is_null(kind)]
    for kind in kinds:
        if not _named(kind) or (len(kinds) > 1 and pa.types.is_binary(kind)):
            raise DataError(f"column {column!r} holds {kind}, which cannot be kept; keep a column of single values")
    if len(kinds) <= 1:
        return kinds[0] if kinds else pa.string()
    if all(map(pa.types.is_signed_integer, kinds)):
        return pa.int64()
    said = ", ".join(f"{kind} in {found[kind]}" for kind in kinds[:3])
    say(f"warning: column {column!r} is {said}: it is kept as text")
    return pa.string()


def _plain(kind: pa.DataType) -> pa.DataType:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.string() if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) else kind


def _named(kind: pa.DataType) -> bool:
    """Whether a type survives a round trip through its name."""
    try:
        return arrow_type(str(kind)) == kind
    except (ValueError, KeyError):
        return False


def arrow_type(name: str) -> pa.DataType:
    """Parse an Arrow type from the name that Arrow prints; raises ValueError for unknown names."""
    head, _, inside = name.partition("[")
    if head == "timestamp" and ", tz=" in inside:
        return pa.timestamp(*inside.rstrip("]").split(", tz="))
    if name.startswith("decimal"):
        bits, _, size = name.rstrip(")").partition("(")
        return getattr(pa, bits)(*map(int, size.split(",")))
    if head == "fixed_size_binary":
        return pa.binary(int(inside.rstrip("]")))
    return pa.type_for_alias(name)
