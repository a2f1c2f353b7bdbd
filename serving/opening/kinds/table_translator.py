"""One direction of a translator of table rows."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from serving.errors import IntegrityError
from serving.opening.entries import FORMAT_VERSION, Column, Entry, Names, Schema
from serving.opening.golden import Feeds, agree, read_columns, run_again
from serving.opening.kinds.base import SealedModel
from serving.opening.ports import Ports, column_port

TRANSLATED = "y:"  # before the name of a translated column: a column that is read may have the same name
_FIRST_VERSION = 3


class _Golden(Entry):
    columns: dict[str, list[Any]]
    results: dict[str, list[Any]]


class TableTranslator(SealedModel):
    """One direction of a translator of rows: ``features`` of ``schema`` in, ``features_b`` of ``schema_b`` out."""

    holds: ClassVar[str] = "columns"

    format_version: Annotated[int, Field(ge=_FIRST_VERSION, le=FORMAT_VERSION)]
    to: Literal["a", "b"]
    schema_: Annotated[Schema, Field(alias="schema")]
    schema_b: Schema
    features: Names
    features_b: Names
    golden: _Golden

    @property
    def taken(self) -> list[Column]:
        """The columns that the graph takes."""
        return _translated(self.schema_)

    @property
    def given(self) -> list[Column]:
        """The columns that the graph returns."""
        return _translated(self.schema_b)

    @model_validator(mode="after")
    def _agrees(self) -> TableTranslator:
        for names, columns in ((self.features, self.taken), (self.features_b, self.given)):
            if names != [c.input for c in columns]:
                raise ValueError("features are not those of the schema")
        return self

    def ports(self) -> tuple[Ports, Ports]:
        """Raw columns of one domain; raw columns of the other."""
        fed = {c.input: column_port(c) for c in self.taken}
        return fed, {TRANSLATED + c.input: column_port(c) for c in self.given}

    def golden_feeds(self) -> Feeds:
        """The golden rows as feeds; raises IntegrityError if they do not match the inputs."""
        return read_columns(self.golden.columns, self.ports()[0])

    def self_test(self, session: Any) -> None:
        """Translate the golden rows again: numbers and dates agree within 1e-4 · max(1, |value|), levels exactly."""
        outputs = self.ports()[1]
        expected = read_columns(self.golden.results, outputs)
        made = run_again(session, list(outputs), self.golden_feeds())
        for column, got in zip(outputs, made, strict=True):
            if not agree(got, expected[column]):
                raise IntegrityError(f"golden rows of column {column!r} disagree with what was sealed")


def _translated(schema: Schema) -> list[Column]:
    """The columns that can be encoded and decoded again."""
    return [c for c in schema.columns if c.role == "feature" and c.kind != "text"]
