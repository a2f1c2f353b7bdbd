"""Counts the modes of synthetic mixtures that a generator found, and how evenly; their centres must be known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ganlib.errors import ConfigError
from ganlib.metrics.two_sample import as_pair


@dataclass(frozen=True)
class ModeReport:
    """The result of ``mode_report``.

    ``found`` of ``total`` modes; ``high_quality``, the share of points within reach of a centre, in [0, 1]; ``kl``,
    KL(frequencies of the modes among those points || uniform) in nats, in [0, log total]; ``counts`` per mode.
    """

    found: int
    total: int
    high_quality: float
    kl: float
    counts: tuple[int, ...]


def mode_report(
    points: np.ndarray | Tensor,
    centres: np.ndarray | Tensor,
    deviation: float,
    within: float = 3.0,
    least_share: float | None = None,
) -> ModeReport:
    """Count the modes of a mixture that generated ``points`` ``(n, d)`` reach; ``centres`` is ``(m, d)``.

    A point counts for its nearest centre if it lies at most ``within`` standard deviations away. A mode is found if at
    least ``least_share`` of all points count for it, by default 0.2 / m, a fifth of its fair share, so that a single
    stray point is not enough. A perfect sampler in two dimensions has a high-quality share of 1 - exp(-within² / 2),
    .989 at three deviations. Without points in reach, ``kl`` is log m, its worst value.

    Source: the protocol of Srivastava et al., VEEGAN, 1705.07761 (ring and grid, three deviations), with
    the KL of Lin et al., PacGAN, 1712.04086. Raises DataError for empty, non-finite or mismatched arrays, ConfigError
    on a deviation, reach or share that is not positive.
    """
    rows, middles = as_pair(("points", "centres"), points, centres)
    if not (deviation > 0 and within > 0 and (least_share is None or least_share > 0)):
        raise ConfigError("deviation, within and least_share must be above 0")
    gaps = np.linalg.norm(rows[:, None] - middles[None], axis=2)
    good = gaps.min(1) <= within * deviation
    total = len(middles)
    counts = np.bincount(gaps.argmin(1)[good], minlength=total)
    needed = (0.2 / total if least_share is None else least_share) * len(rows)
    return ModeReport(
        found=int((counts >= needed).sum()),
        total=total,
        high_quality=float(good.mean()),
        kl=_kl_to_uniform(counts),
        counts=tuple(int(c) for c in counts),
    )


def _kl_to_uniform(counts: np.ndarray) -> float:
    """KL(counts / their sum || uniform) in nats."""
    if not counts.any():
        return math.log(len(counts))
    share = counts[counts > 0] / counts.sum()
    return max(0.0, float((share * np.log(share * len(counts))).sum()))


def grid_centres(side: int = 5, spacing: float = 2.0) -> Tensor:
    """Centres of a square grid around the origin: ``(side², 2)``."""
    line = (torch.arange(side, dtype=torch.float32) - (side - 1) / 2) * spacing
    return torch.cartesian_prod(line, line)


def ring_centres(modes: int = 8, radius: float = 2.0) -> Tensor:
    """Centres evenly spaced on a circle around the origin, the first at angle 0: ``(modes, 2)``."""
    angle = torch.arange(modes, dtype=torch.float64) * (2 * math.pi / modes)
    return (radius * torch.stack([angle.cos(), angle.sin()], 1)).float()
