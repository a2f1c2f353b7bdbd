"""Remedies for scarce classes, and generators of whole tables, by name. Each library is imported when it is used.

A method says how classifiers are trained, and may generate rows: ``fit(frame, seed)`` returns a sampler of rows.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.augmentation.coding import Coding
from benchmarks.augmentation.tables import TARGET

Sampler = Callable[[int, int | None], pd.DataFrame]
"""``sampler(n, 1)``: n rows of the scarce class; ``sampler(n, None)``: n rows with ``y``, in the shares of training."""
Fit = Callable[[pd.DataFrame, int], Sampler]

PLAIN, WEIGHTED, BAGGED = "plain", "weighted", "bagged"
OWN = "AutoAugmenter"
_NEIGHBOURS = 5


@dataclass(frozen=True)
class Method:
    """How rows are generated, if any are, and how classifiers are trained.

    ``tuned``: with a tuned threshold, too. ``gate`` names the method that a gated one chooses for these rows.
    """

    about: str
    library: str = ""
    fit: Fit | None = None
    training: str = PLAIN
    tuned: bool = False
    gate: Callable[[pd.DataFrame, int], str] | None = None


def _ours(name: str, model: str = "", **options: Any) -> Fit:
    def fit(frame: pd.DataFrame, seed: int) -> Sampler:
        augment = importlib.import_module("ganlib.augment")
        made = augment.as_augmenter(model, **options) if model else getattr(augment, name)(**options)
        made.set_params(random_state=seed).fit(frame.drop(columns=[TARGET]), frame[TARGET])
        return lambda count, label: made.sample(count, label)

    return fit


def _gate(frame: pd.DataFrame, seed: int) -> str:
    """The method whose figures ``AutoAugmenter().fit_resample`` has: the ungated one, or the real rows alone.

    The comparison does without the members that are trained by steps, so that it is the same with a step of them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gated = importlib.import_module("ganlib.augment").AutoAugmenter(random_state=seed, steps=1)
        gated.fit_resample(frame.drop(columns=[TARGET]), frame[TARGET])
    return "AutoAugmenter" if gated.choice_ == "model" else "none"


def _copies(frame: pd.DataFrame, seed: int) -> Sampler:
    def sample(count: int, label: int | None) -> pd.DataFrame:
        pool = frame if label is None else frame[frame[TARGET] == label]
        return pool.sample(count, replace=True, random_state=seed).reset_index(drop=True)

    return sample


def _columns_apart(frame: pd.DataFrame, seed: int) -> Sampler:
    """Each column by itself, so that nothing depends on anything: the least that a generator has to beat."""

    def sample(count: int, label: int | None) -> pd.DataFrame:
        pool, random = frame if label is None else frame[frame[TARGET] == label], np.random.default_rng(seed)
        drawn = {name: pool[name].to_numpy()[random.integers(0, len(pool), count)] for name in pool.columns}
        return pd.DataFrame(drawn)

    return sample


def _smote(kind: str) -> Fit:
    """Of imbalanced-learn for a scarce class; for all rows the same interpolation within each class."""

    def fit(frame: pd.DataFrame, seed: int) -> Sampler:
        coding = Coding(frame)
        if kind == "SMOTENC" and coding.categories:
            return lambda count, label: _with_categories(frame, coding, count, seed)
        scaled, y = coding.scaled(frame), frame[TARGET].to_numpy()

        def sample(count: int, label: int | None) -> pd.DataFrame:
            if label is None:
                return _within(coding, scaled, y, count, seed)
            rows = _over_sampler("SMOTE" if kind == "SMOTENC" else kind, y, count, seed).fit_resample(scaled, y)[0]
            rows = rows[len(y) :]
            return coding.frame(rows[np.random.default_rng(seed).permutation(len(rows))[:count]])

        return sample

    return fit


def _over_sampler(kind: str, y: np.ndarray, count: int, seed: int, **options: Any) -> Any:
    held = int(y.sum())
    neighbours = "n_neighbors" if kind == "ADASYN" else "k_neighbors"
    given = {neighbours: max(1, min(_NEIGHBOURS, held - 1)), "sampling_strategy": {1: held + count}, **options}
    return getattr(importlib.import_module("imblearn.over_sampling"), kind)(random_state=seed, **given)


def _with_categories(frame: pd.DataFrame, coding: Coding, count: int, seed: int) -> pd.DataFrame:
    y, numbers = frame[TARGET].to_numpy(), coding.numbers
    rows = frame[[*numbers, *coding.categories]].copy()
    rows[numbers] = (rows[numbers] - coding.mean) / coding.deviation
    places = list(range(len(numbers), rows.shape[1]))
    made = _over_sampler("SMOTENC", y, count, seed, categorical_features=places).fit_resample(rows, y)[0]
    made = made.iloc[len(y) :].reset_index(drop=True)
    made[numbers] = made[numbers] * coding.deviation + coding.mean
    whole = [name for name, is_whole in zip(numbers, coding.is_whole, strict=True) if is_whole]
    made[whole] = made[whole].round()
    return made[coding.columns]


def _within(coding: Coding, scaled: np.ndarray, y: np.ndarray, count: int, seed: int) -> pd.DataFrame:
    """Points between a row and one of its nearest rows of the same class."""
    neighbors = importlib.import_module("sklearn.neighbors")
    parts = []
    for label, held in pd.Series(y).value_counts().items():
        own, random = scaled[y == label], np.random.default_rng(seed)
        near = neighbors.NearestNeighbors(n_neighbors=min(_NEIGHBOURS, len(own) - 1) + 1).fit(own)
        places = near.kneighbors(own, return_distance=False)[:, 1:]
        number = round(count * held / len(y))
        first = random.integers(0, len(own), number)
        second = places[first, random.integers(0, places.shape[1], number)]
        between = own[first] + random.random((number, 1)) * (own[second] - own[first])
        parts.append(coding.frame(between).assign(**{TARGET: label}))
    return pd.concat(parts, ignore_index=True)


METHODS: dict[str, Method] = {
    "none": Method("the real rows alone", "scikit-learn"),
    "class_weight": Method("weights in inverse proportion to the classes' rows", "scikit-learn", training=WEIGHTED),
    "bagging": Method(
        "classifiers of as many rows of each class as the scarce one has, drawn anew for each: 200 trees, or 10 of "
        "another classifier",
        "scikit-learn",
        training=BAGGED,
    ),
    "threshold": Method("the real rows alone; threshold tuned on inner folds", "scikit-learn", tuned=True),
    "copies": Method("rows of the class, repeated", "scikit-learn", _copies),
    "SMOTE": Method("points between neighbours, categories one-hot", "imbalanced-learn", _smote("SMOTE")),
    "SMOTENC": Method(
        "SMOTE with the neighbours' commonest category; SMOTE on tables without categories",
        "imbalanced-learn",
        _smote("SMOTENC"),
    ),
    "BorderSMOTE": Method("SMOTE from rows near the other class", "imbalanced-learn", _smote("BorderlineSMOTE")),
    "ADASYN": Method("SMOTE, more from rows with neighbours of the other class", "imbalanced-learn", _smote("ADASYN")),
    "columns_apart": Method("each column drawn by itself: nothing depends on anything", "NumPy", _columns_apart),
    "real": Method("the training rows themselves", "NumPy"),
    "AutoAugmenter": Method(
        "the default of `ganlib augment`, ungated: `fit`, then `sample`", "ganlib", _ours("AutoAugmenter")
    ),
    "AutoAugmenter gated": Method(
        "`fit_resample`: the real rows alone where generated ones are expected to hurt", "ganlib", gate=_gate
    ),
    "AutoAugmenter + threshold": Method(
        "ungated; threshold tuned on inner folds, with rows generated from each fold's training rows",
        "ganlib",
        _ours("AutoAugmenter"),
        tuned=True,
    ),
    "CVAEGANAugmenter": Method("CVAE-GAN that learns all classes", "ganlib", _ours("CVAEGANAugmenter")),
    "CVAEAugmenter": Method("conditional VAE that learns all classes", "ganlib", _ours("CVAEAugmenter")),
    "adversarial_forest": Method(
        "leaves of an adversarial random forest, shared by the classes", "ganlib", _ours("", "adversarial_forest")
    ),
    "adversarial_forest by class": Method(
        "an adversarial random forest of each class",
        "ganlib",
        _ours("", "adversarial_forest", options={"scope": "class"}),
    ),
    "CGANAugmenter": Method("conditional GAN that learns all classes", "ganlib", _ours("CGANAugmenter")),
    "VAEAugmenter": Method("a VAE of each class", "ganlib", _ours("VAEAugmenter")),
    "cvae_gan, no curation": Method(
        "CVAEGANAugmenter, rows not selected", "ganlib", _ours("", "cvae_gan", curation=0.0)
    ),
    "cvae_gan, prior N(0, I)": Method(
        "CVAEGANAugmenter without a prior of each class", "ganlib", _ours("", "cvae_gan", class_prior=False)
    ),
    "gaussian": Method("a Gaussian of each class", "ganlib", _ours("", "gaussian")),
}
ONLY_WHOLE = {"real", "columns_apart"}
ONLY_SCARCE = {
    "none", "class_weight", "bagging", "threshold", "SMOTENC", "BorderSMOTE", "ADASYN", "AutoAugmenter gated",
    "AutoAugmenter + threshold",
}  # fmt: skip

SAME = {"ROS": "copies", "Indep": "columns_apart"}
"""Names in files of peers for methods that are measured here, too."""
QUOTED = {
    "ARF_min_curated": "ARF_min, and of four times as many rows those that a forest finds most typical",
    "ARF_min": "adversarial random forest of the scarce class (arfpy)",
    "MGS": "a Gaussian around each scarce row and its neighbours",
    "LWGauss": "one Gaussian of the scarce class with a shrunk covariance",
    "ROSE_h0.2": "copies with Gaussian noise",
    "TVAE_min": "TVAE of the scarce class (ctgan)",
    "TVAE_min_curated": "TVAE_min, curated as ARF_min_curated",
    "TVAE_all": "TVAE of all rows (ctgan), rows of the class selected",
    "CTGAN_min": "CTGAN of the scarce class (ctgan)",
    "CTGAN_cond": "CTGAN of all rows (ctgan), sampled by class",
    "GaussCopula_min": "Gaussian copula of the scarce class (sdv)",
    "CTGAN": "CTGAN of all rows (ctgan)",
    "TVAE": "TVAE of all rows (ctgan)",
    "ARF": "adversarial random forest of all rows (arfpy)",
    "GaussCopula": "Gaussian copula of all rows (sdv)",
}
"""Methods that are quoted from files of peers."""


def is_ours(method: str) -> bool:
    """Whether a method is of this library."""
    return method in METHODS and METHODS[method].library == "ganlib"


def shown(method: str) -> str:
    """The name in a report, bold if it is ours."""
    return f"**{method}**" if is_ours(method) else method


def version_of(method: str) -> str:
    """The library of a method and its version, for example ``ganlib 0.1.0``."""
    library = METHODS[method].library
    return f"{library} {version(library)}"


def warm_up(methods: Iterable[str]) -> None:
    """Import what the methods need, so that no figure of time includes it."""
    for name, module in (("ganlib", "ganlib.augment.auto"), ("imbalanced-learn", "imblearn.over_sampling")):
        if any(METHODS[method].library == name for method in methods):
            importlib.import_module(module)
