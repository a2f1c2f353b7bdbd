"""Histograms that can be differentiated, and the distance between them."""

from __future__ import annotations

import torch
from torch import Tensor

from ganlib.losses.divergence import wide


def soft_histogram(values: Tensor, low: float, high: float, bins: int) -> Tensor:
    """Shares of the values ``(n, k)`` of each example at ``bins`` >= 2 equally spaced centres, ``(n, bins)``.

    The first centre is ``low``, the last ``high``. A value between two centres counts for both, in proportion to its
    closeness, so that shares add up to 1 and keep the values' mean; one beyond the range counts for its end.
    """
    position = (wide(values) - low) * ((bins - 1) / (high - low))
    centres = torch.arange(bins, device=values.device, dtype=position.dtype)
    return (1 - (position.clamp(0, bins - 1).unsqueeze(2) - centres).abs()).relu().mean(1)


def histogram_distance(first: Tensor, second: Tensor, width: float) -> Tensor:
    """Earth mover's distance of histograms ``(n, bins)`` whose centres are ``width`` apart, ``(n,)``.

    It is the mass that moves times the way it moves, in the unit of the values: for one dimension, the area between the
    cumulative histograms. Empty bins between two histograms do not stop its gradient.
    """
    return width * (first - second).cumsum(1).abs().sum(1)
