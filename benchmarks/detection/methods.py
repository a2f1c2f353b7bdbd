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


def _kernels(seed: int) -> tuple[Any, Scores]:
    return importlib.import_module("sklearn.neighbors").KernelDensity(), lambda fitted, x: -fitted.score_samples(x)


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
    "sk-KDE": _kernels,
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
_PEERS = {"sk-": "scikit-learn", "PyOD-": "pyod"}
ABOUT = {
    "AutoDetector": "the default of `ganlib train`: the mean of the six members below",
    "AutoDetector sealed": "the same fitted detector as one ONNX file, scored without torch",
    "GANomalyDetector": "encoder, decoder, encoder, trained against a critic; score: distance of the two codes",
    "VAEDetector": "variational auto-encoder; score: negative evidence bound",
    "ReconstructionVAEDetector": "variational auto-encoder; score: reconstruction error",
    "histogram": "a histogram of each column",
    "gaussian_mixture": "at most 16 Gaussians with full covariances",
    "centroid_kernels": "kernel density on centroids of groups of rows",
    "denoising_score": "a network that removes noise of three levels; twice the weight of each other member",
    "vae": "as VAEDetector",
    "ganomaly": "as GANomalyDetector",
    "sk-IForest": "isolation forest",
    "sk-GMM8": "8 Gaussians with full covariances",
    "sk-KDE": "kernel density on all training rows, bandwidth 1",
    "PyOD-IForest": "isolation forest",
    "PyOD-KNN": "distance to the fifth nearest training row",
    "PyOD-LOF": "local outlier factor",
    "PyOD-HBOS": "a histogram of each column",
    "PyOD-ECOD": "empirical tails of each column",
    "PyOD-COPOD": "empirical copula",
    "PyOD-INNE": "isolation by nearest neighbours",
    "PyOD-OCSVM": "one-class support vector machine",
    "PyOD-PCA.999": "principal components with 99.9 % of the variance",
    "PyOD-GMM": "one Gaussian with full covariance",
    "PyOD-GMM8": "8 Gaussians with full covariances",
    "PyOD-KDE": "kernel density on all training rows, bandwidth 1",
    "PyOD-AutoEncoder": "auto-encoder; score: reconstruction error",
    "PyOD-VAE": "variational auto-encoder; score: reconstruction error",
    "GANomaly(own)": "GANomaly for tables with its published settings",
    "DTE-NP(own)": "diffusion time estimated from five neighbours, as published: far rows have equal scores",
    "DTE-NP-untied(own)": "the same order of rows without ties: mean squared distance to five neighbours",
}
"""What a method of a report is. ``(own)`` marks a short implementation of a published method for a bench."""


def library_of(method: str) -> str | None:
    """The package that a method is imported from; None for one that was measured elsewhere."""
    if method not in METHODS:
        return None
    return next((library for prefix, library in _PEERS.items() if method.startswith(prefix)), "ganlib")


def is_ours(method: str) -> bool:
    """Whether a line of a report is of this library: a detector, its sealed file, or a member of it."""
    return library_of(method.split(": ")[0].removesuffix(" sealed")) == "ganlib"


def version_of(method: str) -> str:
    """The library of a method and its version, for example ``pyod 3.6.7``."""
    library = library_of(method)
    return f"{library} {version(library)}" if library else ""
