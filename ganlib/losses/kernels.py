"""Kernel distances between samples, as differentiable losses; ``ganlib.metrics.two_sample`` has the tests."""

from __future__ import annotations

import torch
from torch import Tensor

SCALES = (0.01, 0.05, 0.25, 1.0, 4.0)


def rbf_mmd(x: Tensor, y: Tensor, scales: tuple[float, ...] = SCALES) -> Tensor:
    """Squared maximum mean discrepancy of ``(n, d)`` and ``(m, d)`` under a mix of Gaussian kernels, a scalar.

    Bandwidths are ``scales`` times the median squared distance within x. Means over all pairs but the diagonals.
    Source: Gretton et al., A Kernel Two-Sample Test, JMLR 2012, equation 3; Li et al., arXiv 1502.02761, equation 3.
    """
    n, m = len(x), len(y)
    squared = torch.cdist(x, x).square()
    # All but the diagonal: rows that start behind each diagonal entry, because a CPU would wait for a mask's size.
    off_diagonal = squared.flatten()[1:].view(n - 1, n + 1)[:, :-1]
    median = off_diagonal.median().detach().clamp(min=1e-12)

    def kernel(distance: Tensor) -> Tensor:
        return torch.stack([torch.exp(-distance / (scale * median)) for scale in scales]).mean(0)

    # Squared distances by the binomial formula, because cdist's gradient is infinite at 0.
    xx, yy, xy = kernel(squared), kernel(_squared(y, y)), kernel(_squared(x, y))
    off_x = (xx.sum() - xx.diagonal().sum()) / (n * (n - 1))
    off_y = (yy.sum() - yy.diagonal().sum()) / (m * (m - 1))
    return off_x + off_y - 2 * xy.mean()


def energy_distance(x: Tensor, y: Tensor) -> Tensor:
    """2 E|x - y| - E|x - x'| - E|y - y'| between samples ``(n, d)`` and ``(m, d)``, a scalar.

    Source: Székely & Rizzo, Energy statistics, 2013; Bellemare et al., arXiv 1705.10743, equation 5.
    """
    n, m = len(x), len(y)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return (_squared(a, b) + 1e-12).sqrt()

    within_x = distance(x, x).sum() / (n * (n - 1))
    within_y = distance(y, y).sum() / (m * (m - 1))
    return 2 * distance(x, y).mean() - within_x - within_y


def _squared(a: Tensor, b: Tensor) -> Tensor:
    # Differences of large numbers would be lost in half precision.
    with torch.autocast(a.device.type, enabled=False):
        a, b = (v if v.dtype == torch.float64 else v.float() for v in (a, b))
        product = a.square().sum(1, keepdim=True) + b.square().sum(1) - 2 * a @ b.T
    return product.clamp(min=0)
