"""A detector of images or series."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from serving.errors import IntegrityError
from serving.opening.cost import CHUNK
from serving.opening.entries import ARRAY_ROWS, Entry, Number, Positive, Share
from serving.opening.golden import Feeds, numbers, run_again
from serving.opening.kinds.example import Bounds, OfExamples
from serving.opening.kinds.scores import SCORES, Scored, Scores
from serving.opening.ports import Ports
from serving.windows import Windows

MAPS = 4  # the format version since which these detectors have maps
LEVELS = 5  # the version of those that read windows relative to levels: releases before it would ignore these
_NEAR, _ROUNDING = 1e-3, 4e-5


class _Golden(Bounds, Scores):
    anomaly_score: Annotated[list[Number], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)]
    p_value: Annotated[list[Share], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)]
    highest_place: Annotated[list[float], Field(min_length=ARRAY_ROWS, max_length=ARRAY_ROWS)] | None = None


class _Map(Entry):
    """Rows and columns of the places that are scored, and the score that counts as 1."""

    places: Annotated[list[Positive], Field(min_length=2, max_length=2)]
    limit: Annotated[float, Field(gt=0)]


class ArrayDetector(OfExamples, Scored):
    """A detector of images or series."""

    contributions: None = None
    map: _Map | None = None
    windows: Windows | None = None
    golden: _Golden

    @model_validator(mode="after")
    def _agrees(self) -> ArrayDetector:
        if self.calibration.groups or self.calibration.group_column is not None:
            raise ValueError("a detector of arrays has no groups")
        if len({self.format_version >= MAPS, self.map is not None, self.golden.highest_place is not None}) > 1:
            raise ValueError(f"a detector of arrays has a map since version {MAPS} of the format")
        return self

    @model_validator(mode="after")
    def _of_windows(self) -> ArrayDetector:
        found = self.windows
        if found is not None and (self.modality != "series" or self.shape != [len(found.channels), found.length]):
            raise ValueError(f"windows of {len(found.channels)} x {found.length} are not what the model reads")
        if found is not None and self.example.dtype != "float64":
            raise ValueError("windows are read as float64, and the model reads bytes")
        if found is not None and found.levels is not None and self.format_version < LEVELS:
            raise ValueError(f"levels of keys are of version {LEVELS} of the format")
        return self

    @property
    def explanation(self) -> str:
        """Scores of places."""
        return "map" if self.map else ""

    @property
    def most_rows(self) -> int:
        """The largest batch of a session."""
        return self.up_to(CHUNK)

    def ports(self) -> tuple[Ports, Ports]:
        """An example, the alarm budget and whether to explain; scores, and those of places."""
        inputs: Ports = {"x": self.example.port, "alpha": ("float", None)}
        if self.map is None:
            return inputs, SCORES
        return inputs | {"explain": ("bool", None)}, SCORES | {"map": ("float", tuple(self.map.places))}

    def self_test(self, session: Any) -> None:
        """Score the golden examples and their places again."""
        feeds = self.golden_feeds()
        scores = self.compared(session, feeds, self.golden)
        if self.map is None or self.golden.highest_place is None:
            return
        (none,) = run_again(session, ["map"], feeds)
        if len(none) or not self._agree(session, feeds, self.map, numbers(self.golden.highest_place), scores):
            raise IntegrityError("the places of golden rows disagree with what was sealed")

    def _agree(self, session: Any, feeds: Feeds, map: _Map, expected: np.ndarray, scores: np.ndarray) -> bool:
        """Whether the highest places are as sealed, up to the rounding of two scores: a place may be a difference."""
        found = []
        for row in range(len(expected)):  # of large examples, all at once would take too much memory
            (places,) = run_again(session, ["map"], {"x": feeds["x"][row : row + 1], "explain": np.array(True)})
            found.append(places.max())
        size = np.maximum(np.abs(scores.astype(np.float64)), self.calibration.median_score) / map.limit
        return bool((np.abs(found - expected) <= _NEAR * (1 + np.abs(expected)) + _ROUNDING * size).all())
