"""What kinds that take raw images or series share: the layout of one example, and golden examples by row number."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from serving.opening.cost import CHUNK_VALUES
from serving.opening.entries import ARRAY_ROWS, FORMAT_VERSION, Count, Entry, Positive
from serving.opening.golden import Feeds
from serving.opening.kinds.base import SealedModel
from serving.opening.ports import NUMBERS, Port
from serving.table.artificial import examples
from serving.table.examples import Layout

# Raw arrays came with version 3. Files of all other kinds are still written in version 2.
RAW_ARRAYS = 3
Modality = Literal["image", "series"]


class Example(Entry):
    """How the graph takes or returns one example, as ``serving.table.examples.Layout``."""

    shape: Annotated[list[Positive], Field(min_length=2, max_length=3)]
    dtype: Literal["uint8", "float32", "float64"]
    channels: Literal["first", "last"] | None
    low: Annotated[float, Field(ge=-1, le=0, multiple_of=1)] | None

    @property
    def port(self) -> Port:
        """Type and shape as an input or output."""
        return NUMBERS[self.dtype], tuple(self.shape)

    def layout(self, modality: Modality) -> Layout:
        """The same for reading."""
        return Layout(modality, tuple(self.shape), self.dtype, self.channels, self.low)

    def check(self, modality: Modality, shape: list[int]) -> None:
        """Raise ValueError for an example that is not of the network's shape or of no type of its modality."""
        if shape != _network_shape(self.layout(modality)):
            raise ValueError(f"an example of shape {self.shape} is not of the network's shape {shape}")
        ranged = modality == "image" and self.dtype == "float32"
        known = ("uint8", "float32" if modality == "image" else "float64")
        if (self.low is not None) != ranged or self.dtype not in known:
            raise ValueError(f"an example of {self.dtype} is no {modality} of this format")


class Bounds(Entry):
    """Row numbers of golden examples, and the range of their values."""

    rows: Annotated[list[Count], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)]
    low: list[float]
    high: list[float]


class OfExamples(SealedModel):
    """Metadata of a model that takes raw images or series."""

    format_version: Annotated[int, Field(ge=RAW_ARRAYS, le=FORMAT_VERSION)]
    modality: Modality
    shape: Annotated[list[Positive], Field(min_length=2, max_length=3)]
    example: Example
    golden: Bounds

    @property
    def layout(self) -> Layout:
        """The arrays that the graph takes."""
        return self.example.layout(self.modality)

    def golden_feeds(self) -> Feeds:
        """The golden examples, computed from their row numbers."""
        return {"x": examples(self.golden.rows, self.layout, self.golden.low, self.golden.high)}

    def up_to(self, rows: int) -> int:
        """A batch of at most ``rows`` examples, fewer of large ones."""
        return max(1, min(rows, CHUNK_VALUES // math.prod(self.shape)))

    @model_validator(mode="after")
    def _fits(self) -> OfExamples:
        self.example.check(self.modality, self.shape)
        sides = self.layout.shape[0] if self.modality == "series" else 1
        if [len(self.golden.low), len(self.golden.high)] != [sides, sides]:
            raise ValueError("golden rows have other bounds than the examples")
        return self


def _network_shape(layout: Layout) -> list[int]:
    if layout.modality == "series":
        return list(layout.shape)
    if len(layout.shape) != (2 if layout.channels is None else 3):
        return []
    return [layout.colours, *layout.size]
