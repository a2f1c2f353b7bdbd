"""A generator of table rows."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from serving.errors import IntegrityError
from serving.opening.entries import TABLE_ROWS, Entry, Names, Positive
from serving.opening.golden import agree, latent_feeds, read_columns, run_again
from serving.opening.kinds.table import OfTable
from serving.opening.ports import Ports, column_port
from serving.table import relations


class _Golden(Entry):
    z: Annotated[list[list[float]], Field(min_length=TABLE_ROWS, max_length=TABLE_ROWS)]
    condition: Annotated[list[str], Field(min_length=TABLE_ROWS, max_length=TABLE_ROWS)] | None = None
    columns: dict[str, list[Any]]


class Augmenter(OfTable):
    """A generator of table rows."""

    generates: ClassVar[bool] = True

    latent_dim: Positive
    conditions: Names
    golden: _Golden
    constraints: list[Any] = []

    @model_validator(mode="after")
    def _related(self) -> Augmenter:
        if self.constraints:
            fields = {c.name: relations.Field.of(c.model_dump(), self.schema_.timezone) for c in self.schema_.columns}
            try:
                relations.Keeper(relations.unsealed(self.constraints, fields, max(1, len(self.conditions))), fields)
            except ValueError as error:
                raise ValueError(f"the constraints cannot be read: {error}") from error
        return self

    def ports(self) -> tuple[Ports, Ports]:
        """Noise and condition; raw columns."""
        inputs: Ports = {"z": ("float", (self.latent_dim,))}
        if self.conditions:
            inputs["condition"] = ("string", ())
        return inputs, {c.input: column_port(c) for c in self.columns()}

    def self_test(self, session: Any) -> None:
        """Generate the golden rows again: numbers and dates agree within 1e-4 · max(1, |value|), levels exactly."""
        inputs, outputs = self.ports()
        expected = read_columns(self.golden.columns, outputs)
        made = run_again(session, list(outputs), latent_feeds(self.golden, inputs))
        for column, got in zip(outputs, made, strict=True):
            if not agree(got, expected[column]):
                raise IntegrityError(f"golden rows of column {column!r} disagree with what was sealed")
