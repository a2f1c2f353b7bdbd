"""Normal distributions as networks use them: samples that gradients pass through, and the distribution function."""

from __future__ import annotations

import torch
from torch import Tensor

_SQRT_HALF = 0.7071067811865476


def reparameterise(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Samples of N(mean, exp(log_variance)) from standard normal ``noise``, all broadcast to one shape.

    Gradients pass to mean and log-variance. Source: Kingma & Welling, arXiv 1312.6114, section 2.4.
    """
    return mean + torch.exp(0.5 * log_variance) * noise


def normal_cdf(x: Tensor) -> Tensor:
    """Standard normal distribution function, elementwise in [0, 1]; exportable, since it is built on erf."""
    return 0.5 * (1.0 + torch.erf(x * _SQRT_HALF))
