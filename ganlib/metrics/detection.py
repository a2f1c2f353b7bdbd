"""Detection metrics, computed by scikit-learn, and the baselines reported with them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ganlib.errors import DataError
from ganlib.metrics.two_sample import as_array


def auroc(scores: np.ndarray | Tensor, anomalous: np.ndarray | Tensor) -> float:
    """Area under the ROC curve of scores (higher = more anomalous) against 0/1 truths; 0.5 is chance.

    Raises DataError for unequal lengths, scores that are not finite, and truths other than 0 and 1 or of only one kind.
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(*_judged(anomalous, scores)))


def auprc(scores: np.ndarray | Tensor, anomalous: np.ndarray | Tensor) -> float:
    """Average precision; the anomalies' share is chance. Raises DataError as ``auroc``."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(*_judged(anomalous, scores)))


def _judged(anomalous: np.ndarray | Tensor, scores: np.ndarray | Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Truths and scores, each ``(n,)``, in scikit-learn's order."""
    truths, values = _column("anomalous", anomalous), _column("scores", scores)
    if len(truths) != len(values):
        raise DataError(f"scores holds {len(values)} values, anomalous {len(truths)}: give one truth for each score")
    if not np.isin(truths, (0, 1)).all():
        raise DataError("anomalous holds values other than 0 and 1: give the scores first, then 1 for each anomaly")
    if truths.min() == truths.max():
        raise DataError("anomalous holds one kind only: give rows of both, 0 for normal and 1 for anomalous")
    return truths, values


def _column(name: str, values: np.ndarray | Tensor) -> np.ndarray:
    raw = values if isinstance(values, Tensor) else np.asarray(values)
    return as_array(name, raw.reshape(-1, 1))[:, 0]


def pca_scores(train: Tensor, test: Tensor, share: float = 0.9) -> Tensor:
    """Squared reconstruction error under the leading components that hold ``share`` of the variance: ``(n,)``."""
    mean = train.mean(0)
    _, singular, v = torch.linalg.svd(train - mean, full_matrices=False)
    held = (singular.square().cumsum(0) / singular.square().sum() < share).sum() + 1
    basis = v[: min(int(held), len(v) - 1)] if len(v) > 1 else v
    centred = test - mean
    return (centred - centred @ basis.T @ basis).square().sum(1)
