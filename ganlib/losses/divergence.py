"""Divergences between distributions, computed in float32 or wider, also under autocast."""

from __future__ import annotations

import torch
from torch import Tensor


def wide(values: Tensor) -> Tensor:
    """The values in float32 if they are in half precision, else unchanged.

    Losses need it: a mean of bfloat16 values has three correct digits, and a sum of many terms fewer.
    """
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def log_sum_exp(logs: Tensor) -> Tensor:
    """log sum exp over the second axis, of operators that sealed graphs have: ``(n,)`` from ``(n, k)``."""
    most = -(-logs).amin(1, keepdim=True).detach()
    return (logs - most).exp().sum(1).log() + most.squeeze(1)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, I)) per row in nats, shape ``(n,)`` from two ``(n, k)``.

    Source: Kingma & Welling, arXiv 1312.6114, appendix B.
    """
    mean, log_variance = wide(mean), wide(log_variance)
    return 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(1)


def gaussian_nll(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """-log N(x; mean, exp(log_variance)) per position in nats, elementwise."""
    mean, log_variance = wide(mean), wide(log_variance)
    return 0.5 * (log_variance + (x - mean).square() * torch.exp(-log_variance) + 1.8378770664093453)
