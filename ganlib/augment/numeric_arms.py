"""The arms on one split with a numeric target: regressors trained on the rows of each arm, judged on all ranges alike.

The figure is a skill, higher is better: one minus the mean absolute error over that of the median of the training rows,
each a mean over the ranges of the target, so that rare ranges count as much as common ones. 1 is without error, 0 is as
bad as the median.

SMOTER rows lie between a row and one of its five nearest neighbours in the same range, and so do their targets (Torgo,
Ribeiro, Pfahringer & Branco, EPIA 2013). Unlike there, no row is removed, and encoded rows are interpolated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ganlib.augment.arms import (
    BAGGING,
    BAGS,
    COPIES,
    FOREST,
    MODEL,
    NONE,
    RIDGE,
    SMOTE,
    TREES,
    WEIGHTS,
    Judged,
    counts_of,
    features_of,
    in_bags,
    share_of,
    sources,
    weighed,
    with_copies,
)
from ganlib.augment.filters import near_copies, near_twins
from ganlib.augment.ranges import Ranges
from ganlib.data.encoder import TableEncoder
from ganlib.errors import DataError

NEIGHBOURS = 5


@dataclass(frozen=True)
class Part:
    """Encoded rows ``x (n, d)``, their targets ``y (n,)`` and ranges ``codes (n,)``."""

    x: np.ndarray
    y: np.ndarray
    codes: np.ndarray

    def plus(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows followed by others, as a regressor takes them."""
        return np.vstack([self.x, x]), np.concatenate([self.y, y])


def regressors_of(learner: Any = None) -> dict[str, Any]:
    """The regressors that judge rows, by name: the given one, or a random forest and a ridge regression."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.linear_model import Ridge

    if learner is not None:
        return {type(learner).__name__: learner}
    return {FOREST: RandomForestRegressor(TREES, random_state=0), RIDGE: Ridge()}


def skill_of(learner: Any = None) -> str:
    """What is measured, in words."""
    return f"macro skill (mean of {' and '.join(regressors_of(learner))}) on held-out real rows of each range"


def judge_numbers(
    real: pd.DataFrame,
    made: pd.DataFrame,
    judged: pd.DataFrame,
    target: str,
    seed: int = 0,
    learner: Any = None,
    like: np.ndarray | None = None,
) -> Judged:
    """The figures on the rows ``judged`` of regressors trained on ``real`` rows as each arm does.

    The arguments are as in ``judge_split``, with ranges of the ``real`` rows in place of classes.
    """
    if len(made) == 0:
        raise DataError("no rows to generate: no range is rare; give the number with rows")
    ranges = Ranges.read(real[target])
    encoder = TableEncoder(features_of(real, target)).fit(real.drop(columns=[target]))

    def coded(frame: pd.DataFrame) -> Part:
        numbers = ranges.numbers(frame[target])
        return Part(encoder.transform(frame.drop(columns=[target])), numbers, ranges.codes(numbers))

    base, more, test = coded(real), coded(made), coded(judged)
    of = np.ones(len(real), dtype=bool) if like is None else like
    rows = with_copies(base.codes, more.codes, of, seed)
    added = {
        NONE: (base.x, base.y), COPIES: (base.x[rows], base.y[rows]),
        SMOTE: base.plus(*between(base, more.codes, of, seed)), MODEL: base.plus(more.x, more.y),
    }  # fmt: skip
    found = {name: _figures(one, name, added, base, test, seed) for name, one in regressors_of(learner).items()}
    grown = np.unique(more.codes)
    tables = [(part.x, part.codes) for part in (base, more, test)]
    return Judged(
        found, 0.0, share_of(near_copies, tables[0], tables[1], grown),
        share_of(near_copies, tables[0], tables[2], grown), share_of(near_twins, tables[0], tables[1], grown),
    )  # fmt: skip


def between(base: Part, codes: np.ndarray, like: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """SMOTER rows and their targets, as many of each range as ``codes`` hold; a single row is copied."""
    from sklearn.neighbors import NearestNeighbors

    rng, rows, targets = np.random.default_rng(seed), [], []
    for code, count in zip(*counts_of(codes), strict=True):
        places = sources(base.codes, code, like)
        x, y = base.x[places], base.y[places]
        first = rng.integers(len(places), size=count)
        other = first
        if len(places) > 1:
            near = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(places) - 1)).fit(x)
            found = near.kneighbors(return_distance=False)
            other = found[first, rng.integers(found.shape[1], size=count)]
        step = rng.random(count)
        rows.append(x[first] + step[:, None] * (x[other] - x[first]))
        targets.append(y[first] + step * (y[other] - y[first]))
    return np.concatenate(rows), np.concatenate(targets)


def _figures(
    learner: Any, name: str, added: Mapping[str, tuple[np.ndarray, np.ndarray]], base: Part, test: Part, seed: int
) -> dict[str, float]:
    from sklearn.base import clone

    usual = np.full(len(test.y), np.median(base.y))

    def skill(predicted: np.ndarray) -> float:
        return 1.0 - _error(predicted, test) / _error(usual, test)

    found = {arm: skill(clone(learner).fit(*rows).predict(test.x)) for arm, rows in added.items()}
    return found | {
        WEIGHTS: skill(weighed(learner, base.x, base.y, base.codes).predict(test.x)),
        BAGGING: skill(_bagged(learner, name, base, test, seed)),
    }


def _error(predicted: np.ndarray, test: Part) -> float:
    """The mean absolute error, as a mean over ranges."""
    gaps = np.abs(predicted - test.y)
    return float(np.mean([gaps[test.codes == code].mean() for code in np.unique(test.codes)]))


def _bagged(learner: Any, name: str, base: Part, test: Part, seed: int) -> np.ndarray:
    """By the mean of regressors trained on balanced bags; of a forest each bag trains one tree."""
    from sklearn.tree import DecisionTreeRegressor

    tree = DecisionTreeRegressor(max_features=1.0, random_state=0)
    each, count = (tree, TREES) if name == FOREST else (learner, BAGS)
    return np.mean([one.predict(test.x) for one in in_bags(each, base.x, base.y, base.codes, count, seed)], 0)
