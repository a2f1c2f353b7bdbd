"""A detector of images or series."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from serving.opening.cost import CHUNK
from serving.opening.entries import ARRAY_ROWS, Number, Share
from serving.opening.kinds.example import Bounds, OfExamples
from serving.opening.kinds.scores import SCORES, Scored, Scores
from serving.opening.ports import Ports
from serving.windows import Windows


class _Golden(Bounds, Scores):
    anomaly_score: Annotated[list[Number], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)]
    p_value: Annotated[list[Share], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)]


class ArrayDetector(OfExamples, Scored):
    """A detector of images or series."""

    contributions: None = None
    windows: Windows | None = None
    golden: _Golden

    @model_validator(mode="after")
    def _ungrouped(self) -> ArrayDetector:
        if self.calibration.groups or self.calibration.group_column is not None:
            raise ValueError("a detector of arrays has no groups")
        return self

    @model_validator(mode="after")
    def _of_windows(self) -> ArrayDetector:
        found = self.windows
        if found is not None and (self.modality != "series" or self.shape != [len(found.channels), found.length]):
            raise ValueError(f"windows of {len(found.channels)} x {found.length} are not what the model reads")
        if found is not None and self.example.dtype != "float64":
            raise ValueError("windows are read as float64, and the model reads bytes")
        return self

    @property
    def most_rows(self) -> int:
        """The largest batch of a session."""
        return self.up_to(CHUNK)

    def ports(self) -> tuple[Ports, Ports]:
        """An example and the alarm budget; scores."""
        return {"x": self.example.port, "alpha": ("float", None)}, SCORES

    def self_test(self, session: Any) -> None:
        """Score the golden examples again."""
        self.compared(session, self.golden_feeds(), self.golden)
