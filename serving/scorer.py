"""Scoring with a sealed detector."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from serving.artifact import Artifact
from serving.discovery import least_p_value
from serving.errors import UsageError
from serving.opening.profile import Profile
from serving.opening.session import check_feeds, check_strings
from serving.readers import Feeds, reader_of

# onnxruntime computes vectors of 4 values, and rounds differently what is left before and after them. A row's score has
# the same bits beside any other rows if it stands at the same place of four, in whole steps of four rows.
STEP = 4
LEAST_ALPHA = 1e-12  # as in pipelines/settings.py; no calibration supports less


@dataclass(frozen=True)
class ScoreBatch:
    """Scores of n rows: float32, float32, bool, and what ``explain`` adds.

    Of tables these are ``contributions``, float32 ``(n, features)``, of images and series ``map``, the scores of
    places, float32 ``(n, rows, columns)`` in units of a limit. ``top_reasons`` holds text for anomalies, null for other
    rows.
    """

    anomaly_score: np.ndarray
    p_value: np.ndarray
    is_anomaly: np.ndarray
    contributions: np.ndarray | None = None
    top_reasons: pa.Array | None = None
    map: np.ndarray | None = None


class Scorer:
    """A detector at one alarm budget.

    ``alpha=None`` uses the artifact's default. Raises UsageError if the artifact is not a detector, or if alpha lies
    outside (0, 1) or below what the calibration supports.
    """

    def __init__(self, artifact: Artifact, alpha: float | None = None) -> None:
        if artifact.kind != "detector":
            raise UsageError(f"this artifact is a sealed {artifact.kind}, not a detector; choose another model")
        self.artifact, self.reader = artifact, reader_of(artifact)
        least = float(artifact.calibration["alpha_min"])
        self.alpha = max(float(artifact.calibration.get("alpha", 0.01)), least) if alpha is None else float(alpha)
        if not LEAST_ALPHA <= self.alpha < 1:
            raise UsageError(f"alpha must be at least {LEAST_ALPHA:g} and less than 1, not {alpha}")
        if self.alpha < least * (1 - 1e-6):
            needed = math.ceil(1 / self.alpha) - 1
            raise UsageError(
                f"alpha={self.alpha:g} is below alpha_min={least:.4g}, which {artifact.calibration['n']} calibration "
                f"rows support; use a larger alpha, or train with at least {needed} calibration rows"
            )

    @property
    def profiles(self) -> Mapping[str, Profile]:
        """How the training values of each column were distributed; empty for arrays and files of earlier releases."""
        return (self.artifact.metadata.get("profile") or {}).get("columns", {})

    @property
    def least_p_value(self) -> float:
        """The smallest p-value that rules of a false discovery rate may use; smaller ones come from the fitted tail."""
        return least_p_value(self.artifact.calibration)

    def score(self, data: Any, explain: bool = False) -> ScoreBatch:
        """Score an Arrow table or batch, a pandas frame, a list of records, or feeds by input name.

        A detector of images or series also takes an array ``(n, ...)``. Raises DataError if the data does not fit the
        model, UsageError if it cannot ``explain``, and the errors of ``Artifact.run``.
        """
        self.check_explain(explain)
        if isinstance(data, dict):
            check_strings(data)
        scores = self.score_feeds(data if isinstance(data, dict) else self.reader.feeds(data), explain)
        return self.with_reasons(scores, data) if explain else scores

    def score_feeds(self, feeds: Feeds, explain: bool = False) -> ScoreBatch:
        """Score feeds without reasons in words; raises as ``score``."""
        self.check_explain(explain)
        check_feeds(self.artifact.session, feeds)
        rows = len(next(iter(feeds.values())))
        size = self.batch(explain)
        parts = [self._chunk({n: v[i : i + size] for n, v in feeds.items()}, explain) for i in range(0, rows, size)]
        if not parts:
            parts = [self._empty(explain)]
        columns = [np.concatenate(values) for values in zip(*parts, strict=True)]
        scores = ScoreBatch(*columns[:3])
        return replace(scores, **{self.artifact.explanation: columns[3]}) if explain else scores

    def with_reasons(self, scores: ScoreBatch, data: Any) -> ScoreBatch:
        """Explained scores with reasons in words; ``data`` holds their rows."""
        explained = getattr(scores, self.artifact.explanation)
        return replace(scores, top_reasons=self.reader.reasons(explained, scores.is_anomaly, data))

    def batch(self, explain: bool = False) -> int:
        """The rows of the largest call of the session: whole steps, unless the model's limit is less than one."""
        rows = self.artifact.explained_rows if explain else self.artifact.rows
        return rows if rows < STEP else rows - rows % STEP

    def check_explain(self, explain: bool) -> None:
        """Raise UsageError if explanations are requested that the model does not have."""
        if explain and not self.artifact.explanation:
            raise UsageError(
                "this detector was sealed by a release whose detectors of images and series have no scores of places; "
                "train it again, or leave out --explain"
            )

    def _chunk(self, feeds: Feeds, explain: bool) -> list[np.ndarray]:
        names = ["anomaly_score", "p_value", "is_anomaly"] + [self.artifact.explanation] * explain
        options = {"alpha": np.array(self.alpha, np.float32)}
        if self.artifact.explanation:
            options["explain"] = np.array(explain)
        rows = len(next(iter(feeds.values())))
        whole = self.whole_steps(feeds, explain)
        return [values[:rows] for values in self.artifact.run(names, {**whole, **options})]

    def whole_steps(self, feeds: Feeds, explain: bool = False) -> Feeds:
        """Feeds of whole steps: the last row is repeated where rows are missing."""
        more = -len(next(iter(feeds.values()))) % STEP
        if not more or self.batch(explain) < STEP:
            return feeds
        return {name: np.concatenate([values, np.repeat(values[-1:], more, 0)]) for name, values in feeds.items()}

    def _empty(self, explain: bool) -> list[np.ndarray]:
        out = [np.zeros(0, np.float32), np.zeros(0, np.float32), np.zeros(0, bool)]
        return [*out, np.zeros((0, *self.artifact.explained_shape), np.float32)] if explain else out
