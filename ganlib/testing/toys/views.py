"""Digits turned and sheared, and the same upright."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate, pad

from ganlib.testing.problems import digits

SIDE, _MARGIN = 16, 2
TURN, SHEAR = 1.05, 0.5  # at most: 60 degrees; columns a row


def views(seed: int, part: str = "train", each: int = 4) -> dict[str, Tensor]:
    """``x (n, 1, 16, 16)``: digits turned by up to 60 degrees and sheared; ``x_b``: upright; ``y``: the digit.

    ``each`` views of every digit of scikit-learn's, in [-1, 1].
    """
    small, y = digits(seed, part)
    inner = SIDE - 2 * _MARGIN
    upright = pad(interpolate(small, (inner, inner), mode="bilinear"), [_MARGIN] * 4, value=-1.0).repeat(each, 1, 1, 1)
    g = torch.Generator().manual_seed(seed + (0 if part == "train" else 10_000))
    angle, shear = (bound * (2 * torch.rand(len(upright), generator=g) - 1) for bound in (TURN, SHEAR))
    cosine, sine = angle.cos(), angle.sin()
    zero = torch.zeros_like(angle)
    first = torch.stack([cosine, -sine + shear * cosine, zero], 1)
    second = torch.stack([sine, cosine + shear * sine, zero], 1)
    grid = affine_grid(torch.stack([first, second], 1), list(upright.shape), align_corners=False)
    turned = grid_sample(upright + 1, grid, align_corners=False) - 1
    return {"x": turned, "x_b": upright, "y": y.repeat(each)}


@torch.no_grad()
def recognised(shown: Callable[[Tensor], Tensor], seed: int) -> float:
    """Share of held-out digits whose image, as ``shown``, has a nearest upright training digit of the same class."""
    gallery, held = views(seed, each=1), views(seed, "test", 1)
    nearest = torch.cdist(shown(held["x"]).flatten(1), gallery["x_b"].flatten(1)).argmin(1)
    return float((gallery["y"][nearest] == held["y"]).float().mean())
