"""Which places of an image, or stretches of a series, an anomaly score comes from.

A model that ``Locates`` scores places itself. For any other, a place counts by how much the score drops when it takes
its usual values, the mean of the training examples (``Occlusion``). Both are given in units of a limit (``Places``).

Source: Zeiler & Fergus, Visualizing and Understanding Convolutional Networks, arXiv 1311.2901, section 4.1. Deviations:
blocks that do not overlap; the mean example instead of grey, which would itself be anomalous; drops of the score.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

SIDE, STRETCHES = 8, 16  # places on each side of an image, and along a series
_LEAST, _MOST, _VALUES = 50, 500, 1 << 26  # examples that the limit is found on, and values scored for it
_AT_ONCE = 1 << 22  # values scored at once
LARGEST, _SMALLEST = 1e30, 1e-12  # of a drop, and of a limit


class Occlusion(nn.Module):
    """``(n, *shape) -> (n, rows, columns)``: the drop of a score, at least 0, when a place takes its usual values.

    Images ``(n, c, h, w)`` have a place for each block of pixels, series ``(n, c, steps)`` one for each channel and
    stretch of steps. ``usual`` is the mean example.
    """

    masks: Tensor
    usual: Tensor

    def __init__(self, scorer: nn.Module, usual: Tensor) -> None:
        super().__init__()
        self.scorer = scorer
        masks = _blocks(*usual.shape[1:]) if usual.ndim == 3 else _stretches(*usual.shape)
        self.grid = masks.shape[:2]
        self.register_buffer("masks", masks.flatten(0, 1))
        self.register_buffer("usual", usual.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Score places."""
        replaced = torch.where(self.masks[None], self.usual[None, None], x[:, None])
        scores = self.scorer(replaced.flatten(0, 1)).reshape(-1, len(self.masks))
        drops = self.scorer(x)[:, None] - scores
        # Scores that overflow with and without the place: inf - inf.
        return drops.where(drops == drops, torch.zeros_like(drops)).clamp(0, LARGEST).reshape(-1, *self.grid)


class Places(nn.Module):
    """``(n, *shape) -> (n, rows, columns)``: scores of places over ``limit``, so that 1 is the limit."""

    limit: Tensor

    def __init__(self, locator: nn.Module, limit: float) -> None:
        super().__init__()
        self.locator = locator
        self.register_buffer("limit", torch.tensor(max(limit, _SMALLEST)))

    def forward(self, x: Tensor) -> Tensor:
        """Score places."""
        return self.locator(x) / self.limit


class MeanPlaces(nn.Module):
    """``(n, *shape) -> (n, rows, columns)``: the mean of several locators, on the grid of the first."""

    def __init__(self, locators: Sequence[nn.Module]) -> None:
        super().__init__()
        self.locators = nn.ModuleList(locators)

    def forward(self, x: Tensor) -> Tensor:
        """Score places."""
        first, *others = [locator(x) for locator in self.locators]
        sides = first.shape[1:]
        sized = [o if o.shape[1:] == sides else adaptive_avg_pool2d(o[:, None], sides)[:, 0] for o in others]
        return torch.stack([first, *sized]).sum(0) / len(self.locators)


def limited(locator: nn.Module, held_out: Tensor, alpha: float) -> Places:
    """A locator in units of the highest place that a share ``alpha`` of normal examples exceeds.

    It is found on some of the ``held_out`` examples, and is their highest place if they are too few for ``alpha``.
    """
    peaks = _normal(locator, held_out).flatten(1).amax(1)
    exceeding = max(1, int(alpha * (len(peaks) + 1)))
    return Places(locator, float(peaks.sort(descending=True).values[exceeding - 1]))


def mean_of(locators: Sequence[nn.Module], held_out: Tensor) -> MeanPlaces:
    """The mean of several locators, each in units of the score that a tenth of the places of normal examples exceed.

    In units of their highest places, one that is low nearly everywhere would not count.
    """
    units = [np.quantile(_normal(locator, held_out).numpy(), 0.9) for locator in locators]
    return MeanPlaces([Places(locator, float(unit)) for locator, unit in zip(locators, units, strict=True)])


@torch.no_grad()
def _normal(locator: nn.Module, held_out: Tensor) -> Tensor:
    """The places of some normal examples, fewer where a place is dear."""
    cost = held_out[0].numel() * (len(locator.masks) if isinstance(locator, Occlusion) else 1)
    chosen = held_out[: int(np.clip(_VALUES // cost, _LEAST, _MOST))]
    return torch.cat(list(in_parts(locator, chosen)))


def in_parts(locator: nn.Module, x: Tensor) -> Iterator[Tensor]:
    """The scores of places, a few examples at a time."""
    inner = locator.locator if isinstance(locator, Places) else locator
    copies = len(inner.masks) if isinstance(inner, Occlusion) else 1
    for part in x.split(max(1, _AT_ONCE // (copies * x.shape[1:].numel()))):
        yield locator(part)


def _blocks(height: int, width: int) -> Tensor:
    """Which pixels each block covers: bool ``(rows, columns, 1, height, width)``."""
    down, across = (_parts(size, SIDE) for size in (height, width))
    return (down[:, None, :, None] & across[None, :, None, :])[:, :, None]


def _stretches(channels: int, steps: int) -> Tensor:
    """Which values each channel and stretch covers: bool ``(channels, stretches, channels, steps)``."""
    return torch.eye(channels, dtype=torch.bool)[:, None, :, None] & _parts(steps, STRETCHES)[None, :, None, :]


def _parts(size: int, most: int) -> Tensor:
    """Which positions each of ``most`` parts covers, bool ``(parts, size)``; of fewer positions, each is a part."""
    parts = min(most, size)
    return torch.arange(parts)[:, None] == torch.arange(size)[None] * parts // size
