"""A generator or an encoder of images, series or points."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from serving.errors import IntegrityError
from serving.opening.cost import CHUNK_VALUES, GENERATED_CHUNK
from serving.opening.entries import ARRAY_ROWS, Count, Entry, Names, Positive
from serving.opening.golden import few_agree, latent_feeds, run_again
from serving.opening.kinds.base import SealedModel
from serving.opening.ports import Ports
from serving.table.artificial import spread

RANKS = {"image": 3, "series": 2, "points": 1}


class _Golden(Entry):
    values: Annotated[list[list[float]], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)]
    mean: Annotated[list[float], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)]
    z: Annotated[list[list[float]], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)] | None = None
    attributes: Annotated[list[list[float]], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)] | None = None
    condition: Annotated[list[str], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)] | None = None
    rows: Annotated[list[Count], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)] | None = None


class Arrays(SealedModel):
    """A generator or an encoder of images, series or points."""

    kind: Literal["augmenter", "encoder"]
    modality: Literal["image", "series", "points"]
    shape: Annotated[list[Positive], Field(min_length=1)]
    latent_dim: Positive
    conditions: Names
    attributes: Count | None = None
    examples: bool | None = None
    golden: _Golden

    @model_validator(mode="after")
    def _agrees(self) -> Arrays:
        if len(self.shape) != RANKS[self.modality]:
            raise ValueError(f"the shape is not that of {self.modality}")
        if self.kind == "encoder" and (self.attributes or self.examples):
            raise ValueError("an encoder takes no attributes and no examples")
        return self

    @property
    def most_rows(self) -> int:
        """The largest batch of a session."""
        return max(1, min(GENERATED_CHUNK, CHUNK_VALUES // math.prod(self.shape)))

    def ports(self) -> tuple[Ports, Ports]:
        """Noise or examples, and conditions; examples or codes."""
        shape, inputs = tuple(self.shape), Ports()
        if self.kind == "augmenter":
            inputs["z"] = ("float", (self.latent_dim,))
        if self.conditions:
            inputs["condition"] = ("string", ())
        if self.kind == "encoder":
            return inputs | {"x": ("float", shape)}, {"z": ("float", (self.latent_dim,))}
        if self.attributes:
            inputs["attributes"] = ("float", (self.attributes,))
        if self.examples:
            inputs["example"] = ("float", shape)
        return inputs, {"x": ("float", shape)}

    def outputs(self) -> list[Ports]:
        """Images may be bytes, channels last."""
        allowed = super().outputs()
        if self.kind == "augmenter" and self.modality == "image":
            channels, height, width = self.shape
            allowed.append({"image": ("uint8", (height, width, channels))})
        return allowed

    def self_test(self, session: Any) -> None:
        """Run the golden arrays again.

        Floats and their means must agree within 1e-4 · max(1, |value|), bytes within one level, their means within 0.1.
        """
        (output,) = [o.name for o in session.get_outputs()]
        golden, inputs = self.golden, self.ports()[0]
        feeds = latent_feeds(golden, inputs)
        for name in inputs.keys() & {"x", "example"}:
            if golden.rows is None:
                raise IntegrityError("golden rows lack 'rows'")
            feeds[name] = spread(golden.rows, tuple(self.shape))
        (made,) = run_again(session, [output], feeds)
        few_agree(made, golden, ((0.0, 1.0), (0.0, 0.1)) if output == "image" else ((1e-4, 1e-4), (1e-4, 1e-4)))
