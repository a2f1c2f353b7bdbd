"""Detectors by name, ours and peers. Each is imported when it is used: an environment needs only those that it runs.

A method is made with a seed, has ``fit(X)``, and scores rows by a function of its own (higher = more anomalous). PyOD's
keep the scores of their training rows, ``decision_scores_``, in which a row is no neighbour of its own.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

Scores = Callable[[Any, np.ndarray], np.ndarray]


def _ours(name: str, model: str | None = None) -> Callable[[int], tuple[Any, Scores]]:
    def made(seed: int) -> tuple[Any, Scores]:
        detect = importlib.import_module("ganlib.detect")
        detector = detect.as_detector(model, random_state=seed) if model else getattr(detect, name)(random_state=seed)
        return detector, lambda fitted, x: fitted.anomaly_score(x)

    return made


def _forest(seed: int) -> tuple[Any, Scores]:
    ensemble = importlib.import_module("sklearn.ensemble")
    return ensemble.IsolationForest(random_state=seed), lambda fitted, x: -fitted.score_samples(x)


def _mixture(seed: int) -> tuple[Any, Scores]:
    mixture = importlib.import_module("sklearn.mixture")
    made = mixture.GaussianMixture(8, reg_covar=1e-3, random_state=seed)
    return made, lambda fitted, x: -fitted.score_samples(x)


def _pyod(module: str, name: str, seeded: bool = False, **options: Any) -> Callable[[int], tuple[Any, Scores]]:
    def made(seed: int) -> tuple[Any, Scores]:
        given = {**options, **({"random_state": seed} if seeded else {})}
        detector = getattr(importlib.import_module(f"pyod.models.{module}"), name)(**given)
        return detector, lambda fitted, x: fitted.decision_function(x)

    return made


METHODS: dict[str, Callable[[int], tuple[Any, Scores]]] = {
    "AutoDetector": _ours("AutoDetector"),
    "GANomalyDetector": _ours("GANomalyDetector"),
    "VAEDetector": _ours("VAEDetector"),
    "ReconstructionVAEDetector": _ours("ReconstructionVAEDetector"),
    "histogram": _ours("", "histogram"),
    "sk-IForest": _forest,
    "sk-GMM8": _mixture,
    "PyOD-KNN": _pyod("knn", "KNN"),
    "PyOD-LOF": _pyod("lof", "LOF"),
    "PyOD-HBOS": _pyod("hbos", "HBOS"),
    "PyOD-ECOD": _pyod("ecod", "ECOD"),
    "PyOD-GMM": _pyod("gmm", "GMM", True),
    "PyOD-GMM8": _pyod("gmm", "GMM", True, n_components=8, reg_covar=1e-3),
    "PyOD-KDE": _pyod("kde", "KDE"),
    "PyOD-AutoEncoder": _pyod("auto_encoder", "AutoEncoder", True, verbose=0),
    "PyOD-VAE": _pyod("vae", "VAE", True, verbose=0),
}
FUSED = {"AutoDetector"}


def version_of(method: str) -> str:
    """The library of a method and its version, for example ``pyod 3.6.7``."""
    library = "pyod" if method.startswith("PyOD-") else "scikit-learn" if method.startswith("sk-") else "ganlib"
    return f"{library} {version(library)}"
