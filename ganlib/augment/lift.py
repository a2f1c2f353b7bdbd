"""Measures the lift of augmentation on held-out real rows, compared with no augmentation, copies and SMOTE.

A random forest is trained on the rows of each arm and evaluated by macro AUPRC on the same held-out real rows.
``measure_lift`` repeats this over splits. The differences are not independent across splits, so their interval uses the
corrected variance of Nadeau & Bengio, "Inference for the Generalization Error", Machine Learning 52 (2003), section 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ganlib.data.encoder import TableEncoder
from ganlib.data.values import as_strings
from ganlib.errors import DataError

if TYPE_CHECKING:
    from ganlib.augment.base import BaseAugmenter

NONE, COPIES, SMOTE, MODEL = "none", "copies", "smote", "model"
TITLES = {NONE: "real rows alone", COPIES: "copies added", SMOTE: "SMOTE rows added", MODEL: "generated rows added"}
MEASURE = "macro AUPRC of a random forest on held-out real rows"
TREES = 200
Table = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Difference:
    """Mean of model minus another arm over repeats, with a 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Lift:
    """Figures of each arm by repeat (0 to 1, higher is better), and the verdict on the model."""

    arms: Mapping[str, Sequence[float]]
    held_out: float
    measure: str = MEASURE

    def mean(self, arm: str) -> float:
        """Mean figure of an arm."""
        return float(np.mean(self.arms[arm]))

    def over(self, arm: str) -> Difference:
        """The difference between the model and an arm; with one repeat the interval is unbounded."""
        from scipy.stats import t

        gaps = np.subtract(self.arms[MODEL], self.arms[arm])
        repeats = len(gaps)
        if repeats < 2:
            return Difference(float(gaps.mean()), -math.inf, math.inf)
        spread = math.sqrt((1 / repeats + self.held_out / (1 - self.held_out)) * gaps.var(ddof=1))
        reach = float(t.ppf(0.975, repeats - 1)) * spread
        return Difference(float(gaps.mean()), float(gaps.mean() - reach), float(gaps.mean() + reach))

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
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Lift:
    """Refit a copy of ``augmenter`` on ``repeats`` stratified splits and measure the lift of its rows.

    ``rows`` and ``condition`` are as in ``BaseAugmenter.augment`` for the whole frame; ``rows`` is scaled by the
    training share. Rows without a label and classes of fewer than four rows are left out. ``report(done, total)`` is
    called after each split. Raises DataError if fewer than two classes remain.
    """
    from sklearn.base import clone
    from sklearn.model_selection import StratifiedShuffleSplit

    known = _judgeable(frame, label)
    texts = as_strings(known[label]).astype(str)
    # A split keeps each class on both sides.
    size = max(held_out, len(np.unique(texts)) / len(known))
    splits = StratifiedShuffleSplit(repeats, test_size=size, random_state=seed).split(texts, texts)
    arms: dict[str, list[float]] = {}
    for done, (train, test) in enumerate(splits):
        real = known.iloc[train].reset_index(drop=True)
        wanted = None if rows is None else max(1, round(rows * (1 - size)))
        made = clone(augmenter).augment(real, label, wanted, condition=condition, only_synthetic=True)
        for arm, figure in judge_split(real, made, known.iloc[test], label, seed + done).items():
            arms.setdefault(arm, []).append(figure)
        report(done + 1, repeats)
    return Lift(arms, size)


def judge_split(
    real: pd.DataFrame, made: pd.DataFrame, judged: pd.DataFrame, label: str, seed: int = 0
) -> dict[str, float]:
    """Macro AUPRC on the rows ``judged`` of forests trained on ``real`` rows, alone and with each arm's rows added.

    Every arm adds the same number of rows per class as ``made`` holds. Raises DataError if ``made`` is empty.
    """
    if len(made) == 0:
        raise DataError("no rows to generate: the classes are already balanced; give the number with rows")
    encoder = TableEncoder(_schema(real, label)).fit(real.drop(columns=[label]))

    def coded(frame: pd.DataFrame) -> Table:
        return encoder.transform(frame.drop(columns=[label])), as_strings(frame[label]).astype(str)

    base, more, test = coded(real), coded(made), coded(judged)
    arms = {NONE: base, COPIES: _copies(base, more[1], seed), SMOTE: _smote(base, more[1], seed)}
    arms[MODEL] = (np.vstack([base[0], more[0]]), np.concatenate([base[1], more[1]]))
    return {arm: _macro_auprc(table, test) for arm, table in arms.items()}


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


def _macro_auprc(train: Table, test: Table) -> float:
    from sklearn.ensemble import RandomForestClassifier

    from ganlib.metrics.detection import auprc

    forest = RandomForestClassifier(TREES, random_state=0).fit(*train)
    votes = forest.predict_proba(test[0])
    present = [(i, c) for i, c in enumerate(forest.classes_) if (test[1] == c).any()]
    return float(np.mean([auprc(votes[:, i], test[1] == c) for i, c in present]))
