"""One direction of a translator of images or series."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from serving.opening.cost import GENERATED_CHUNK
from serving.opening.entries import ARRAY_ROWS, Positive
from serving.opening.golden import few_agree, numbers, run_again
from serving.opening.kinds.example import Bounds, Example, OfExamples
from serving.opening.ports import Ports
from serving.table.examples import Layout


class _Golden(Bounds):
    values: Annotated[list[list[float]], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)]
    mean: Annotated[list[float], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)]


class Translator(OfExamples):
    """One direction of a translator of images or series."""

    shape_b: Annotated[list[Positive], Field(min_length=2, max_length=3)]
    result: Example
    to: Literal["a", "b"]
    golden: _Golden

    @model_validator(mode="after")
    def _agrees(self) -> Translator:
        self.result.check(self.modality, self.shape_b)
        return self

    @property
    def written(self) -> Layout:
        """The arrays that the graph returns."""
        return self.result.layout(self.modality)

    @property
    def most_rows(self) -> int:
        """The largest batch of a session."""
        return self.up_to(GENERATED_CHUNK)

    def ports(self) -> tuple[Ports, Ports]:
        """An example; its counterpart."""
        return {"x": self.example.port}, {"y": self.result.port}

    def self_test(self, session: Any) -> None:
        """Translate the golden examples again: floats must agree within 1e-4 of the largest value, and at least of 1,
        bytes within one level."""
        golden = self.golden
        (made,) = run_again(session, ["y"], self.golden_feeds())
        unit = 1e-4 * max(1.0, float(np.abs(numbers(golden.values)).max()))
        near = ((0.0, 1.0), (0.0, 0.1)) if self.result.dtype == "uint8" else ((0.0, unit), (0.0, unit))
        few_agree(made, golden, near)
