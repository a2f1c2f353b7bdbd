"""Small problems with known answers, for the conformance suite and for documentation."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ganlib.data.spec import Block, DataSpec


def ring(n: int, seed: int, modes: int = 8, radius: float = 2.0, deviation: float = 0.02) -> tuple[Tensor, Tensor]:
    """A mixture of Gaussians on a circle: points float32 ``(n, 2)`` and their mode int64 ``(n,)``."""
    rng = np.random.default_rng(seed)
    mode = rng.integers(modes, size=n)
    angle = 2 * math.pi * mode / modes
    centre = radius * np.stack([np.cos(angle), np.sin(angle)], 1)
    points = centre + deviation * rng.standard_normal((n, 2))
    return torch.tensor(points, dtype=torch.float32), torch.tensor(mode)


def modes_found(points: Tensor, modes: int = 8, radius: float = 2.0, deviation: float = 0.02) -> tuple[int, float]:
    """Modes that hold at least 1 % of the points within three deviations, and the share of points within three."""
    angle = 2 * math.pi * torch.arange(modes) / modes
    centres = radius * torch.stack([angle.cos(), angle.sin()], 1)
    distance, nearest = torch.cdist(points, centres).min(1)
    near = distance <= 3 * deviation
    counts = torch.bincount(nearest[near], minlength=modes)
    return int((counts >= 0.01 * len(points)).sum()), float(near.float().mean())


def factor_table(n: int, seed: int, dim: int = 8, factors: int = 2, shift: float = 0.0) -> Tensor:
    """Rows ``(n, dim)`` near a curved surface of few factors: ``W f + V f² + 0.1 noise``, standardised.

    ``shift`` breaks the dependence between columns by that much independent noise: the anomalies of the toy.
    """
    fixed = np.random.default_rng(12345)
    linear, curved = fixed.standard_normal((2, factors, dim))
    rng = np.random.default_rng(seed)
    f = rng.standard_normal((n, factors))
    rows = f @ linear + f**2 @ curved + 0.1 * rng.standard_normal((n, dim))
    scale = np.sqrt((linear**2).sum(0) + 2 * (curved**2).sum(0))
    rows = rows / scale + shift * rng.standard_normal((n, dim))
    return torch.tensor(rows, dtype=torch.float32)


def labelled_table(n: int, seed: int) -> tuple[Tensor, Tensor, DataSpec]:
    """Three classes in four numbers and a three-way category that depends on the class: rows, labels, spec."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n)
    means = np.array([[2.0, 0.0, 1.0, 0.0], [-2.0, 1.0, 0.0, 0.0], [0.0, -2.0, 0.0, 1.5]])
    numbers = means[y] + 0.5 * rng.standard_normal((n, 4))
    numbers[:, 3] += 0.8 * numbers[:, 0]
    table = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    category = (rng.random((n, 1)) > table[y].cumsum(1)).sum(1).clip(max=2)
    x = np.concatenate([numbers, np.eye(3)[category]], 1)
    blocks = (*(Block(f"x{i}", "number", i) for i in range(4)), Block("c", "category", 4, 3))
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y), DataSpec((7,), blocks, 3)
