"""What kinds for tables share: the schema, and its columns as inputs."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from serving.opening.entries import Column, Names, Schema
from serving.opening.kinds.base import SealedModel


class OfTable(SealedModel):
    """Metadata of a model for tables; ``features`` are its inputs, in order."""

    holds: ClassVar[str] = "columns"
    generates: ClassVar[bool] = False
    """Whether the columns are outputs; text columns are not generated."""

    schema_: Annotated[Schema, Field(alias="schema")]
    features: Names

    def columns(self) -> list[Column]:
        """The feature columns in order."""
        kept = [c for c in self.schema_.columns if c.role == "feature"]
        return [c for c in kept if c.kind != "text"] if self.generates else kept

    @model_validator(mode="after")
    def _agrees(self) -> OfTable:
        if self.features != [c.input for c in self.columns()]:
            raise ValueError("features are not those of the schema")
        return self
