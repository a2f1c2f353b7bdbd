"""Measures the lift of augmentation on held-out real rows, compared with what helps without generated rows.

A classifier is trained on the rows of each arm and evaluated by macro AUPRC on the same held-out real rows. The arms
are the real rows alone, with class weights, in balanced bags, with copies, with SMOTE rows and with generated rows.
``measure_lift`` repeats this over splits. The differences are not independent across splits, so their interval uses the
corrected variance of Nadeau & Bengio, "Inference for the Generalization Error", Machine Learning 52 (2003), section 4.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ganlib.data.encoder import TableEncoder
from ganlib.data.values import as_strings
from ganlib.errors import DataError
from ganlib.estimator import seed_of

if TYPE_CHECKING:
    from ganlib.augment.base import BaseAugmenter

NONE, WEIGHTS, BAGGING, COPIES, SMOTE, MODEL = "none", "weights", "bagging", "copies", "smote", "model"
TITLES = {
    NONE: "real rows alone", WEIGHTS: "class weights", BAGGING: "balanced bagging", COPIES: "copies added",
    SMOTE: "SMOTE rows added", MODEL: "generated rows added",
}  # fmt: skip
MEASURE = "macro AUPRC of a random forest on held-out real rows"
TREES = 200
BAGS = 10
LEAST_SPLITS = 3
Table = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Difference:
    """Mean difference of two arms over repeats, with a 95 % interval and its standard error."""

    mean: float
    low: float
    high: float
    error: float


@dataclass(frozen=True)
class Lift:
    """Figures of each arm by repeat (0 to 1, higher is better), and the verdict on the model."""

    arms: Mapping[str, Sequence[float]]
    held_out: float
    measure: str = MEASURE

    def mean(self, arm: str) -> float:
        """Mean figure of an arm."""
        return float(np.mean(self.arms[arm]))

    def over(self, arm: str, of: str = MODEL) -> Difference:
        """The difference between an arm, the model's if not said, and another; unbounded with one repeat."""
        from scipy.stats import t

        gaps = np.subtract(self.arms[of], self.arms[arm])
        repeats, mean = len(gaps), float(gaps.mean())
        if repeats < 2:
            return Difference(mean, -math.inf, math.inf, math.inf)
        spread = math.sqrt((1 / repeats + self.held_out / (1 - self.held_out)) * gaps.var(ddof=1))
        reach = float(t.ppf(0.975, repeats - 1)) * spread
        return Difference(mean, mean - reach, mean + reach, spread)

    @property
    def verdict(self) -> str:
        """``helps``, ``hurts`` or ``no measurable difference``, compared with no augmentation."""
        found = self.over(NONE)
        if found.low > 0:
            return "helps"
        return "hurts" if found.high < 0 else "no measurable difference"


def measure_lift(
    augmenter: BaseAugmenter,
    frame: pd.DataFrame,
    label: str,
    rows: int | None = None,
    *,
    condition: Any = None,
    repeats: int = 5,
    held_out: float = 0.3,
    seed: int = 0,
    learner: Any = None,
    seconds: float | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Lift:
    """Refit a copy of ``augmenter`` on ``repeats`` stratified splits and measure the lift of its rows.

    Each split has its own random seed of the augmenter, beginning with that of ``augmenter``. ``rows`` and
    ``condition`` are as in ``BaseAugmenter.augment`` for the whole frame; ``rows`` is scaled by the training share.
    Rows without a label and classes of fewer than four rows are left out. ``learner`` is the classifier, a random
    forest if None; it reads encoded rows. After ``LEAST_SPLITS`` splits, none begins that would not end within
    ``seconds``. ``report(done, total)`` is called after each split. Raises DataError if fewer than two classes remain.
    """
    from sklearn.base import clone
    from sklearn.model_selection import StratifiedShuffleSplit

    known = _judgeable(frame, label)
    texts = as_strings(known[label]).astype(str)
    # A split keeps each class on both sides.
    size = max(held_out, len(np.unique(texts)) / len(known))
    splits = StratifiedShuffleSplit(repeats, test_size=size, random_state=seed).split(texts, texts)
    arms: dict[str, list[float]] = {}
    start, first = time.monotonic(), seed_of(augmenter.random_state)
    for done, (train, test) in enumerate(splits):
        took = time.monotonic() - start
        if seconds is not None and done >= LEAST_SPLITS and took * (done + 1) / done > seconds:
            break
        real = known.iloc[train].reset_index(drop=True)
        wanted = None if rows is None else max(1, round(rows * (1 - size)))
        one = clone(augmenter).set_params(random_state=(first + done) % 2**32)
        if "compare" in one.get_params():
            one.set_params(compare=False)  # measured are the rows that an automatic augmenter would generate
        made = one.augment(real, label, wanted, condition=condition, only_synthetic=True)
        for arm, figure in judge_split(real, made, known.iloc[test], label, seed + done, learner).items():
            arms.setdefault(arm, []).append(figure)
        report(done + 1, repeats)
    return Lift(arms, size, MEASURE if learner is None else measure_of(learner))


def judge_split(
    real: pd.DataFrame, made: pd.DataFrame, judged: pd.DataFrame, label: str, seed: int = 0, learner: Any = None
) -> dict[str, float]:
    """Macro AUPRC on the rows ``judged`` of classifiers trained on ``real`` rows as each arm does.

    Every arm that adds rows adds the same number per class as ``made`` holds. A ``learner`` without sample weights has
    no arm of class weights. Raises DataError if ``made`` is empty.
    """
    from sklearn.base import clone
    from sklearn.ensemble import RandomForestClassifier

    if len(made) == 0:
        raise DataError("no rows to generate: the classes are already balanced; give the number with rows")
    encoder = TableEncoder(_schema(real, label)).fit(real.drop(columns=[label]))

    def coded(frame: pd.DataFrame) -> Table:
        return encoder.transform(frame.drop(columns=[label])), as_strings(frame[label]).astype(str)

    base, more, test = coded(real), coded(made), coded(judged)
    arms = {NONE: base, COPIES: _copies(base, more[1], seed), SMOTE: _smote(base, more[1], seed)}
    arms[MODEL] = (np.vstack([base[0], more[0]]), np.concatenate([base[1], more[1]]))
    chosen = RandomForestClassifier(TREES, random_state=0) if learner is None else learner
    found = {arm: _macro_auprc(clone(chosen).fit(*table), test) for arm, table in arms.items()}
    return {WEIGHTS: _weighted(chosen, base, test), BAGGING: _bagged(learner, base, test, seed)} | found


def measure_of(learner: Any) -> str:
    """The measure in words."""
    return f"macro AUPRC of {type(learner).__name__} on held-out real rows"


def _judgeable(frame: pd.DataFrame, label: str) -> pd.DataFrame:
    known = frame.loc[frame[label].notna()]
    counts = known[label].map(known[label].value_counts())
    known = known.loc[(counts >= 4).to_numpy()].reset_index(drop=True)
    if known[label].nunique() < 2:
        raise DataError(
            f"the lift needs two classes of four rows or more in {label!r}; add rows, or leave the gate off"
        )
    return known


def _schema(real: pd.DataFrame, label: str) -> Any:
    from ganlib.data.inference import infer_schema

    return infer_schema(real.drop(columns=[label]), for_generation=True)


def _copies(base: Table, labels: np.ndarray, seed: int) -> Table:
    rng = np.random.default_rng(seed)
    chosen = [rng.choice(np.flatnonzero(base[1] == c), n) for c, n in zip(*_counts(labels), strict=True)]
    rows = np.concatenate([np.arange(len(base[1])), *chosen])
    return base[0][rows], base[1][rows]


def _smote(base: Table, labels: np.ndarray, seed: int) -> Table:
    """SMOTE on the encoded rows; classes too small for five neighbours use fewer."""
    from imblearn.over_sampling import SMOTE as OverSampler

    x, y = base
    for name, count in zip(*_counts(labels), strict=True):
        held = int((base[1] == name).sum())
        if held < 2:
            x, y = _copies((x, y), np.repeat(name, count), seed)
            continue
        sampler = OverSampler(sampling_strategy={name: held + count}, k_neighbors=min(5, held - 1), random_state=seed)
        grown, names = sampler.fit_resample(*base)
        x, y = np.vstack([x, grown[len(base[0]) :]]), np.concatenate([y, names[len(base[0]) :]])
    return x, y


def _counts(labels: np.ndarray) -> tuple[list[str], list[int]]:
    names, counts = np.unique(labels, return_counts=True)
    return names.tolist(), counts.tolist()


def _weighted(learner: Any, base: Table, test: Table) -> float:
    """Of a learner whose classes weigh alike; without sample weights as unweighted."""
    from sklearn.base import clone
    from sklearn.utils.class_weight import compute_sample_weight
    from sklearn.utils.validation import has_fit_parameter

    one = clone(learner)
    if not has_fit_parameter(one, "sample_weight"):
        return _macro_auprc(one.fit(*base), test)
    return _macro_auprc(one.fit(*base, sample_weight=compute_sample_weight("balanced", base[1])), test)


def _bagged(learner: Any, base: Table, test: Table, seed: int) -> float:
    """Of the mean of learners trained on balanced bags: of every class as many rows as the smallest has, drawn anew."""
    from sklearn.base import clone
    from sklearn.tree import DecisionTreeClassifier

    rng, (x, y) = np.random.default_rng(seed), base
    each, count = (
        (DecisionTreeClassifier(max_features="sqrt", random_state=0), TREES) if learner is None else (learner, BAGS)
    )
    rows = [np.flatnonzero(y == name) for name in np.unique(y)]
    least = min(map(len, rows))
    votes: Any = 0.0
    for _ in range(count):
        bag = np.concatenate([rng.choice(mine, least) for mine in rows])
        model = clone(each).fit(x[bag], y[bag])
        votes = votes + model.predict_proba(test[0])
    return _macro(votes / count, model.classes_, test[1])


def _macro_auprc(model: Any, test: Table) -> float:
    return _macro(model.predict_proba(test[0]), model.classes_, test[1])


def _macro(votes: np.ndarray, classes: np.ndarray, truth: np.ndarray) -> float:
    from ganlib.metrics.detection import auprc

    present = [(place, name) for place, name in enumerate(classes) if (truth == name).any()]
    return float(np.mean([auprc(votes[:, place], truth == name) for place, name in present]))
