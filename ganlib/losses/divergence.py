"""Divergences between distributions."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, I)) per row in nats, shape ``(n,)`` from two ``(n, k)``.

    Source: Kingma & Welling, arXiv 1312.6114, appendix B.
    """
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(1)


def gaussian_nll(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """-log N(x; mean, exp(log_variance)) per position in nats, elementwise."""
    return 0.5 * (log_variance + (x - mean).square() * torch.exp(-log_variance) + 1.8378770664093453)
