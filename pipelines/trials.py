"""One trial of a study: a detector trained with other options, and measured while it trains."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ganlib.data.spec import DataSpec
from ganlib.detect import as_detector
from ganlib.errors import ConfigError, DivergenceError
from ganlib.metrics.detection import auprc
from ganlib.registry import Entry
from pipelines.figures import Parts
from pipelines.search_space import Dimension, search_space, shorter
from pipelines.tuning import TENTHS, Report

_CHUNK = 512


@dataclass(frozen=True)
class DetectorTrials:
    """Trainings of one detector on the training rows, judged by AUPRC on the rows ``tuning``; implements ``Trials``.

    ``parameters`` are those of every trial: what they state is not searched.
    """

    model: Entry
    parameters: Mapping[str, Any]
    parts: Parts

    def begin(self, report: Report) -> tuple[float, tuple[Dimension, ...]]:
        """Train with the default options; ranges lie around the values that they have on this data."""
        value, detector, budget = self.trained({}, report)
        stated = {name: given for name, given in self.parameters.items() if given is not None}
        found = searched(self.model, detector.reader_.spec, detector.algorithm_.config.to_dict(), stated)
        if {"steps", "epochs"} & (stated.keys() | self.model.trainer.keys()) or budget < 2:
            return value, found
        return value, (*found, shorter(budget))

    def judge(self, options: Mapping[str, Any], report: Report) -> float:
        """Train with other options; raises ConfigError or DivergenceError if they do not fit the data."""
        return self.trained(options, report)[0]

    def trained(self, options: Mapping[str, Any], report: Report) -> tuple[float, Any, int]:
        """The figure, the detector, and its budget of steps; raises DivergenceError if a row has no finite score."""
        rows, truth = self.parts.part("tuning"), self.parts.anomalous["tuning"]
        watcher = Watcher(rows, truth, report)
        trainer = {**(self.parameters.get("trainer") or {}), "callbacks": (watcher,)}
        detector = watcher.detector = as_detector(self.model, **{**self.parameters, **options, "trainer": trainer})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of alarm budgets, which no trial uses
            detector.fit(self.parts.part("fit"))
        scores = detector.anomaly_score(rows)
        if not np.isfinite(scores).all():
            raise DivergenceError("rows have no finite score")
        return auprc(scores, truth), detector, watcher.budget


def searched(
    model: Entry, spec: DataSpec, usual: Mapping[str, Any], stated: Mapping[str, Any]
) -> tuple[Dimension, ...]:
    """The options to search, without those stated and those that the model rejects at an end of their range.

    It rejects options without a meaning beside the others, such as how often a penalty is computed where there is none.
    """
    own = {name: value for name, value in stated.items() if name in usual}
    return tuple(d for d in search_space(model.config, usual, own) if _accepted(model, spec, own, d))


def _accepted(model: Entry, spec: DataSpec, stated: Mapping[str, Any], dimension: Dimension) -> bool:
    try:
        for number in (dimension.low, dimension.high):
            model.create(spec, **stated, **{dimension.name: dimension.option(number)})
    except ConfigError:
        return False
    return True


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
