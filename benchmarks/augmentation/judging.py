"""Figures of classifiers and of generated rows, on held-out real rows."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score, roc_curve
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neural_network import MLPClassifier
from sklearn.tree import DecisionTreeClassifier

from benchmarks.augmentation.coding import Coding
from benchmarks.augmentation.methods import BAGGED, WEIGHTED, Method
from benchmarks.augmentation.tables import TARGET, Parts
from ganlib.metrics.rows import nearest_distances

LEARNERS = ("LR", "RF", "HGB", "MLP")
TREES = 200
BAGS = 10
FOLDS = 3
_LARGEST = 20.0  # standardised numbers of the linear model and the network end here
_EXACT = 1e-4  # distance of standardised rows below which they are copies
_NEAR = 0.05
Votes = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Judged:
    """Figures of one classifier; balanced accuracy at 0.5, at the real share of the class, and at a tuned threshold."""

    learner: str
    auprc: float
    auroc: float
    bacc: float
    bacc_prior: float
    bacc_tuned: float | None = None


@dataclass(frozen=True)
class Made:
    """Generated rows, and CPU seconds of fitting and sampling."""

    rows: pd.DataFrame
    fit_cpu_s: float = 0.0
    sample_cpu_s: float = 0.0


@dataclass(frozen=True)
class Fidelity:
    """Figures of generated tables; ``dcr_share``: rows nearer to a training row than 5 % of the held-out rows are."""

    tstr_auprc_ratio: float
    tstr_auroc_ratio: float
    c2st_auroc: float
    dcr_share: float
    exact: float
    exact_holdout: float
    fit_cpu_s: float
    sample_rows_s: float


def scarce_rows(method: Method, train: pd.DataFrame, seed: int) -> Made:
    """Rows of the scarce class that balance it; none if the method generates none."""
    missing = int((train[TARGET] == 0).sum() - (train[TARGET] == 1).sum())
    return _made(method, train, seed, missing, 1) if method.fit else Made(train.iloc[:0])


def judged(method: Method, parts: Parts, made: Made) -> Iterator[Judged]:
    """Figures of each classifier, trained on real and generated rows as the method does."""
    thresholds = _thresholds(method, parts) if method.tuned else {}
    truth, prior = parts.test[TARGET].to_numpy(), float(parts.train[TARGET].mean())
    table = pd.concat([parts.train, made.rows], ignore_index=True) if len(made.rows) else parts.train
    for learner, votes in scores(method, parts.train, table, parts.test, parts.seed):
        cuts = (0.5, prior, *([thresholds[learner]] if learner in thresholds else []))
        balanced = [float(balanced_accuracy_score(truth, votes > cut)) for cut in cuts]
        yield Judged(learner, _auprc(truth, votes), float(roc_auc_score(truth, votes)), *balanced)


def fidelity(method: Method, parts: Parts, real: dict[str, tuple[float, float]]) -> Fidelity:
    """Figures of as many generated rows as real ones; ``real``: AUPRC and AUROC of classifiers of the real rows."""
    train, test, seed = parts.train, parts.test, parts.seed
    made = _made(method, train, seed, len(train), None) if method.fit else Made(train)
    own = quality(parts, made.rows)
    ratios = np.mean([np.divide(own[learner], real[learner]) for learner in LEARNERS], axis=0)
    coding = Coding(train)
    real_rows = coding.scaled(train)
    held_out, distances = (nearest_distances(coding.scaled(rows), real_rows)[:, 0] for rows in (test, made.rows))
    return Fidelity(
        float(ratios[0]), float(ratios[1]), _two_sample(coding, test, made.rows, seed),
        float((distances < np.quantile(held_out, _NEAR)).mean()), float((distances < _EXACT).mean()),
        float((held_out < _EXACT).mean()), round(made.fit_cpu_s, 3),
        round(len(train) / max(made.sample_cpu_s, 1e-4), 1),
    )  # fmt: skip


def quality(parts: Parts, rows: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """AUPRC and AUROC of each classifier trained on ``rows``; those of chance if they have one class."""
    truth = parts.test[TARGET].to_numpy()
    if rows[TARGET].nunique() < 2:
        return dict.fromkeys(LEARNERS, (float(truth.mean()), 0.5))
    found = scores(Method(""), parts.train, rows, parts.test, parts.seed)
    return {learner: (_auprc(truth, votes), float(roc_auc_score(truth, votes))) for learner, votes in found}


def scores(
    method: Method, real: pd.DataFrame, table: pd.DataFrame, test: pd.DataFrame, seed: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Probabilities of the scarce class by each classifier trained on ``table``; ``real`` rows fix the coding."""
    coding, y = Coding(real), table[TARGET].to_numpy()
    limited = [np.clip(coding.scaled(rows), -_LARGEST, _LARGEST) for rows in (table, test)]
    ranked = [coding.ranked(rows) for rows in (table, test)]
    for name, model in learners(seed).items():
        x, rows = limited if name in ("LR", "MLP") else ranked
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield name, _trained(name, model, method.training, x, y, seed)(rows)


def learners(seed: int) -> dict[str, Any]:
    return {
        "LR": LogisticRegression(max_iter=300),
        "RF": RandomForestClassifier(TREES, random_state=seed),
        "HGB": HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=seed),
        "MLP": MLPClassifier((64,), max_iter=60, random_state=seed),
    }


def _trained(name: str, model: Any, training: str, x: np.ndarray, y: np.ndarray, seed: int) -> Votes:
    if training == BAGGED:
        return _bagged(name, model, x, y, seed)
    if training == WEIGHTED and name == "MLP":
        model.fit(x, y, sample_weight=(len(y) / (2 * np.bincount(y)))[y])
    elif training == WEIGHTED:
        model.set_params(class_weight="balanced").fit(x, y)
    else:
        model.fit(x, y)
    return lambda rows: _votes(model, rows)


def _bagged(name: str, model: Any, x: np.ndarray, y: np.ndarray, seed: int) -> Votes:
    """The mean of classifiers of balanced bags; a forest is one of as many trees, each of a bag."""
    random, own = np.random.default_rng(seed), [np.flatnonzero(y == label) for label in (0, 1)]
    least = min(map(len, own))
    each, bags = (DecisionTreeClassifier(max_features="sqrt"), TREES) if name == "RF" else (model, BAGS)
    if name == "HGB":  # its usual leaves of 20 rows leave it without a split in a bag of 20
        each.set_params(min_samples_leaf=max(1, min(20, least // 5)))
    models = []
    for bag in range(bags):
        rows = np.concatenate([random.choice(place, least) for place in own])
        models.append(clone(each).set_params(random_state=seed + bag).fit(x[rows], y[rows]))
    return lambda test: np.mean([_votes(one, test) for one in models], axis=0)


def _votes(model: Any, rows: np.ndarray) -> np.ndarray:
    votes: np.ndarray = model.predict_proba(rows)[:, list(model.classes_).index(1)]
    return votes


def _thresholds(method: Method, parts: Parts) -> dict[str, float]:
    """For each classifier the threshold with the best balanced accuracy on inner folds of the real training rows.

    Rows are generated from the training rows of each fold, so that no row that judges is among them.
    """
    train, seed = parts.train, parts.seed
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed % 2**32)
    votes = {learner: np.zeros(len(train)) for learner in LEARNERS}
    for learned, judging in folds.split(train, train[TARGET]):
        real = train.iloc[learned].reset_index(drop=True)
        rows = scarce_rows(method, real, seed).rows
        table = pd.concat([real, rows], ignore_index=True) if len(rows) else real
        for learner, found in scores(method, real, table, train.iloc[judging], seed):
            votes[learner][judging] = found
    return {learner: _best_cut(train[TARGET].to_numpy(), found) for learner, found in votes.items()}


def _best_cut(truth: np.ndarray, votes: np.ndarray) -> float:
    """Half way between the scores on both sides of the best cut."""
    false, true, cuts = roc_curve(truth, votes, drop_intermediate=False)
    cut = cuts[np.argmax(true - false)]
    below = votes[votes < cut]
    return float((cut + below.max()) / 2) if len(below) else float("-inf")


def _made(method: Method, train: pd.DataFrame, seed: int, count: int, label: int | None) -> Made:
    assert method.fit is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.process_time()
        sampler = method.fit(train, seed)
        fitted = time.process_time()
        rows = sampler(count, label)
        done = time.process_time()
    if label is not None:
        rows = rows.assign(**{TARGET: label})
    return Made(_like(rows, train), fitted - start, done - fitted)


def _like(rows: pd.DataFrame, real: pd.DataFrame) -> pd.DataFrame:
    """Generated rows in the columns and types of the real ones; ends the program if numbers are missing."""
    numbers = real.select_dtypes("number").columns
    found = pd.DataFrame(
        {n: rows[n].astype(float) if n in numbers else rows[n].astype(str).astype(object) for n in real}
    )
    if lost := [name for name in numbers if not np.isfinite(found[name]).all()]:
        raise SystemExit(f"generated rows have no finite numbers in {', '.join(lost)}")
    return found.astype({TARGET: int}).reset_index(drop=True)


def _two_sample(coding: Coding, real: pd.DataFrame, made: pd.DataFrame, seed: int) -> float:
    """AUROC of a classifier that separates held-out real rows from generated ones, by folds; 0.5 if it cannot."""
    count = min(len(real), len(made))
    sides = [rows.sample(count, random_state=seed) for rows in (real, made)]
    x = np.vstack([np.column_stack([coding.ranked(side), side[TARGET]]) for side in sides])
    origin = np.repeat([0, 1], count)
    model, folds = HistGradientBoostingClassifier(random_state=0), StratifiedKFold(3, shuffle=True, random_state=0)
    votes = cross_val_predict(model, x, origin, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(origin, votes))


def _auprc(truth: np.ndarray, votes: np.ndarray) -> float:
    return float(average_precision_score(truth, votes))
