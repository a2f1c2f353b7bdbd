"""Detection metrics and the baselines printed beside them (scikit-learn does the counting)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def auroc(scores: np.ndarray | Tensor, anomalous: np.ndarray | Tensor) -> float:
    """Area under the ROC curve of scores (higher = more anomalous) against 0/1 truths; 0.5 is chance."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(np.asarray(anomalous), np.asarray(scores)))


def auprc(scores: np.ndarray | Tensor, anomalous: np.ndarray | Tensor) -> float:
    """Average precision; the anomalies' share is chance."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(np.asarray(anomalous), np.asarray(scores)))


def pca_scores(train: Tensor, test: Tensor, share: float = 0.9) -> Tensor:
    """Squared reconstruction error under the leading components that hold ``share`` of the variance: ``(n,)``."""
    mean = train.mean(0)
    _, singular, v = torch.linalg.svd(train - mean, full_matrices=False)
    held = (singular.square().cumsum(0) / singular.square().sum() < share).sum() + 1
    basis = v[: min(int(held), len(v) - 1)] if len(v) > 1 else v
    centred = test - mean
    return (centred - centred @ basis.T @ basis).square().sum(1)
