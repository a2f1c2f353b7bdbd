"""Constraints on how much of an image each class covers.

Source: Pathak, Krähenbühl & Darrell, Constrained Convolutional Neural Networks for Weakly Supervised Segmentation,
arXiv 1506.03648, 2015: the output is pulled towards the nearest distribution that fulfils linear constraints.
"""

from __future__ import annotations

import torch
from torch import Tensor

_ROUNDS, _STEP = 30, 4.0  # of the dual ascent; a share's slope in its multiplier is at most 1/4


def shares(labels: Tensor, count: int) -> Tensor:
    """The share of pixels with each of ``count`` labels, ``(n, count)`` from ``(n, height, width)``."""
    flat = labels.flatten(1)
    return torch.stack([(flat == label).float().mean(1) for label in range(count)], 1)


def constrained(logits: Tensor, present: Tensor, lower: Tensor, upper: Tensor, slack: float) -> Tensor:
    """The distribution nearest to softmax(logits) whose classes cover between ``lower`` and ``upper`` of each image.

    ``logits (n, labels, height, width)``; ``present (n, labels)``: the classes that an image may hold, one at least;
    ``lower`` and ``upper`` ``(labels,)``: shares of its pixels. Minimises KL(p || softmax(logits)) by 30 steps of dual
    ascent: p is softmax(logits + multipliers). The multiplier of a lower bound is at most ``slack``, so that an image
    that holds less of a class can stay below it; upper bounds have no slack. Returns p without gradient, ``logits``'
    shape.
    """
    with torch.no_grad(), torch.autocast(logits.device.type, enabled=False):
        allowed = logits.float().masked_fill(~present[:, :, None, None], -torch.inf)
        more, less = torch.zeros_like(present, dtype=torch.float32), torch.zeros_like(present, dtype=torch.float32)
        for _ in range(_ROUNDS):
            found = _tilted(allowed, more - less).mean((2, 3))
            more = (more + _STEP * (lower - found)).clamp(0, slack)
            less = (less + _STEP * (found - upper)).clamp(min=0)
        return _tilted(allowed, more - less)


def _tilted(logits: Tensor, multipliers: Tensor) -> Tensor:
    return (logits + multipliers[:, :, None, None]).softmax(1)
