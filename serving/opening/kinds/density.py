"""Log-densities of table rows, images or series."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from serving.errors import IntegrityError
from serving.opening.cost import CHUNK
from serving.opening.entries import ARRAY_ROWS, FORMAT_VERSION, TABLE_ROWS, Entry
from serving.opening.golden import Feeds, numbers, read_columns, run_again
from serving.opening.kinds.example import RAW_ARRAYS, Bounds, OfExamples
from serving.opening.kinds.table import OfTable
from serving.opening.ports import Ports, column_port

_TOLERANCE = 1e-4


class _TableGolden(Entry):
    columns: dict[str, list[Any]]
    log_prob: Annotated[list[float], Field(min_length=TABLE_ROWS, max_length=TABLE_ROWS)]


class _ExampleGolden(Bounds):
    log_prob: Annotated[list[float], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)]


class TableDensity(OfTable):
    """The density of numeric columns, in their own units."""

    format_version: Annotated[int, Field(ge=RAW_ARRAYS, le=FORMAT_VERSION)]
    golden: _TableGolden

    @model_validator(mode="after")
    def _numeric(self) -> TableDensity:
        if wrong := [c.name for c in self.columns() if c.kind not in ("number", "integer")]:
            raise ValueError(f"column {wrong[0]!r} is no number and has no density")
        return self

    @property
    def most_rows(self) -> int:
        """The largest batch of a session."""
        return CHUNK

    def ports(self) -> tuple[Ports, Ports]:
        """Raw columns; log-densities."""
        return {c.input: column_port(c) for c in self.columns()}, {"log_prob": ("float", ())}

    def golden_feeds(self) -> Feeds:
        """The golden rows as feeds; raises IntegrityError if they do not match the inputs."""
        return read_columns(self.golden.columns, self.ports()[0])

    def self_test(self, session: Any) -> None:
        """Run the golden rows again."""
        _compare(session, self.golden_feeds(), self.golden.log_prob)


class ArrayDensity(OfExamples):
    """The density of images or series, per unit of their values."""

    golden: _ExampleGolden

    @property
    def most_rows(self) -> int:
        """The largest batch of a session."""
        return self.up_to(CHUNK)

    def ports(self) -> tuple[Ports, Ports]:
        """An example; its log-density."""
        return {"x": self.example.port}, {"log_prob": ("float", ())}

    def self_test(self, session: Any) -> None:
        """Run the golden examples again."""
        _compare(session, self.golden_feeds(), self.golden.log_prob)


def _compare(session: Any, feeds: Feeds, sealed: list[float]) -> None:
    """Raise IntegrityError unless log-densities agree within 1e-4 · max(1, |value|)."""
    (made,) = run_again(session, ["log_prob"], feeds)
    expected = numbers(list(sealed))
    right = np.abs(made - expected) <= _TOLERANCE * np.maximum(1.0, np.abs(expected))
    if not right.all():
        raise IntegrityError(f"{int((~right).sum())} of {len(right)} golden rows disagree with what was sealed")
