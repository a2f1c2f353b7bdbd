"""One trial of a study: a detector trained with other options, and measured while it trains."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ganlib.detect import as_detector
from ganlib.errors import DivergenceError
from ganlib.metrics.detection import auprc
from ganlib.registry import Entry
from pipelines.figures import Parts
from pipelines.tuning import TENTHS, Judged, Report

_CHUNK = 512


def judged(model: Entry, parameters: Mapping[str, Any], parts: Parts, report: Report) -> Judged:
    """Train the model on the training rows, and judge it by AUPRC on the rows ``tuning``.

    Raises DivergenceError if a row has no finite score, and what ``fit`` or the report raises.
    """
    rows, truth = parts.part("tuning"), parts.anomalous["tuning"]
    watcher = Watcher(rows, truth, report)
    trainer = {**(parameters.get("trainer") or {}), "callbacks": (watcher,)}
    detector = watcher.detector = as_detector(model, **{**parameters, "trainer": trainer})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of alarm budgets, which no trial uses
        detector.fit(parts.part("fit"))
    scores = detector.anomaly_score(rows)
    if not np.isfinite(scores).all():
        raise DivergenceError("rows have no finite score")
    return Judged(auprc(scores, truth), detector.algorithm_.config.to_dict(), watcher.budget)


class Watcher:
    """Measures a detector in training at each tenth of its budget, and reports the figure; a callback."""

    def __init__(self, rows: Any, truth: np.ndarray, report: Report) -> None:
        self.rows, self.truth, self.report = rows, truth, report
        self.detector: Any = None
        self.budget = 0
        self._algorithm: Any = None
        self._x: torch.Tensor | None = None
        self._reported = 0

    def on_start(self, algorithm: Any) -> None:
        """Keep the model, which has its data's encoder by now."""
        self._algorithm = algorithm
        reader = self.detector.reader_
        self._x = torch.from_numpy(reader.encode(reader.feeds(reader.again(self.rows))))

    def on_step(self, step: int, budget: int, losses: dict[str, float] | None) -> None:
        """Report at the first step of a tenth; the end is judged by the detector as it will be used."""
        self.budget = budget
        part = TENTHS * step // budget
        if self._reported < part < TENTHS:
            self._reported = part
            scores = self._scores()
            if np.isfinite(scores).all():
                self.report(part, auprc(scores, self.truth))

    def on_end(self) -> None:
        """Forget the model."""
        self._algorithm = self._x = None

    @torch.no_grad()
    def _scores(self) -> np.ndarray:
        """Scores by the weights of the moment, without a trace in the training."""
        assert self._x is not None
        device = next((p.device for p in self._algorithm.parameters()), torch.device("cpu"))
        self._algorithm.eval()
        with torch.random.fork_rng():
            scorer = self._algorithm.scorer()
            scores = torch.cat([scorer(chunk.to(device)).float().cpu() for chunk in self._x.split(_CHUNK)])
        self._algorithm.train()
        return scores.numpy()
