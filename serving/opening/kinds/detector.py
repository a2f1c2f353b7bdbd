"""A detector of table rows."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from serving.errors import IntegrityError
from serving.opening.cost import CHUNK
from serving.opening.entries import TABLE_ROWS, Entry, Number, Share
from serving.opening.golden import Feeds, read_columns, run_again
from serving.opening.kinds.scores import SCORES, Scored, Scores
from serving.opening.kinds.table import OfTable
from serving.opening.ports import Ports, column_port
from serving.opening.profile import BINS, CATEGORIES

_EXPLAINED = 4


class _Golden(Scores):
    columns: dict[str, list[Any]]
    anomaly_score: Annotated[list[Number], Field(min_length=TABLE_ROWS, max_length=TABLE_ROWS)]
    p_value: Annotated[list[Share], Field(min_length=TABLE_ROWS, max_length=TABLE_ROWS)]


class _Contributions(Entry):
    property: str
    base: float


class _Bins(Entry):
    edges: list[float] | None = Field(None, min_length=1, max_length=BINS)
    values: list[str] | None = Field(None, min_length=1, max_length=CATEGORIES)
    shares: list[Share]

    @model_validator(mode="after")
    def _match(self) -> _Bins:
        held = [bins for bins in (self.edges, self.values) if bins is not None]
        if len(held) != 1 or len(self.shares) != len(held[0]) + 1 or held[0] != list(dict.fromkeys(held[0])):
            raise ValueError("a profile holds edges or values, each once, and a share more than these")
        if self.edges is not None and self.edges != sorted(self.edges):
            raise ValueError("the edges of a profile are not in order")
        return self


class _Profile(Entry):
    rows: int = Field(ge=1)
    columns: dict[str, _Bins]


class Detector(OfTable, Scored):
    """A detector of table rows."""

    golden: _Golden
    contributions: _Contributions | None = None
    shares: dict[str, dict[Literal["missing", "unseen", "clipped"], Share]] = {}
    profile: _Profile | None = None

    @model_validator(mode="after")
    def _group(self) -> Detector:
        groups = [c.name for c in self.schema_.columns if c.role == "group"]
        if groups != ([] if self.calibration.group_column is None else [self.calibration.group_column]):
            raise ValueError("the group column is not that of the schema")
        return self

    @property
    def explanation(self) -> str:
        """Shares of the columns."""
        return "contributions"

    @property
    def most_rows(self) -> int:
        """The largest batch of a session."""
        return CHUNK

    def ports(self) -> tuple[Ports, Ports]:
        """Raw columns and options; scores and contributions."""
        fed = {c.input: column_port(c) for c in self.schema_.columns if c.role in ("feature", "group")}
        options: Ports = {"alpha": ("float", None), "explain": ("bool", None)}
        return fed | options, SCORES | {"contributions": ("float", (len(self.features),))}

    def golden_feeds(self) -> Feeds:
        """The golden rows as feeds; raises IntegrityError if they do not match the inputs."""
        columns = {name: port for name, port in self.ports()[0].items() if port[1] is not None}
        return read_columns(self.golden.columns, columns)

    def self_test(self, session: Any) -> None:
        """Score the golden rows again, with contributions of a few."""
        self._check_profile()
        feeds = self.golden_feeds()
        scores = self.compared(session, feeds, self.golden)
        self._shares(session, {name: value[:_EXPLAINED] for name, value in feeds.items()}, scores[:_EXPLAINED])

    def _check_profile(self) -> None:
        """Raise IntegrityError if a column has a profile of another kind, or there is no such column."""
        kinds = {c.name: c.kind for c in self.schema_.columns}
        for name, bins in (self.profile.columns if self.profile else {}).items():
            kind = kinds.get(name, "none")
            if (kind == "category") != (bins.values is not None) or kind in ("none", "date", "text"):
                raise IntegrityError(f"the profile of {name!r} is not one of a column of kind {kind}; seal it again")

    def _shares(self, session: Any, feeds: Feeds, scores: np.ndarray) -> None:
        """Check the contributions of a few rows: non-negative, summing to the score above its base if sealed so."""
        (shares,) = run_again(session, ["contributions"], {**feeds, "explain": np.array(True)})
        (none,) = run_again(session, ["contributions"], feeds)
        if shares.shape != (len(scores), len(self.features)) or len(none):
            raise IntegrityError(f"contributions of {len(scores)} golden rows have the shape {shares.shape}")
        if self.contributions is None:
            return
        height = np.clip(scores.astype(np.float64) - self.contributions.base, 0.0, 1e38)
        if not (shares >= 0).all() or not np.allclose(shares.sum(1, dtype=np.float64), height, rtol=1e-3, atol=1e-6):
            raise IntegrityError("contributions of golden rows are not shares of their scores")
