"""Learned warps: examples moved as examples of one class differ from each other.

Paper: Hauberg et al., Dreaming More Data: Class-dependent Distributions over Diffeomorphisms for Learned Data
Augmentation, arXiv 1510.02795, AISTATS 2016.

Idea: what separates two images of a class is mostly a smooth displacement. Displacements are found between pairs, and
new ones follow the Gaussian of those found:

    w(a, b) = argmin over w of |a(p + Bw) - b|² + stiffness |grad w|²,   C = mean of w w' over pairs of one class
    sample: a(p + spread · B L z),   a a real example, L L' = (1 - shrink) C + shrink diag C,   z ~ N(0, I)

p are the places of pixels (of series, of steps) and B interpolates w, given at ``grid`` points a side, to all of them.
Shapes: x ``(n, channels, height, width)`` or ``(n, channels, length)``; w ``(axes · grid^axes)``; z the same.
Defaults: 5 points a side, 800 pairs, 60 rounds of Adam; the paper's were not at hand [unverified]. A spread of 0.7 was
chosen on draws of ten MNIST digits a class.
Deviations: displacements are found on means of 5 and then 3 pixels a side, so that parts that do not overlap yet
attract, and of large images on block means of 64 pixels a side (of series, of 4,096 steps); one Gaussian for all
classes instead of one for each, so that a class of few examples borrows the displacements of the others; plain
displacements instead of diffeomorphisms, so that folds are possible, though stiffness makes them rare; a squared error
of all pixels instead of a likelihood; the mean displacement is 0, since each pair counts in both directions.

Use it for: classes of ten or twenty images or windows whose shape varies, such as characters: forty warps of each of
three digits a class raise the accuracy of the nearest one.

Not for: data of which only some classes get generated examples, since a network learns how those look, and data that
must stay private, since generated examples show the real ones that they begin with: `cvae`. Detection: `ganomaly`.

Symbols:
    w(a, b)    LearnedWarps.between
    B          Warp.basis
    C, L       LearnedWarps.moments, LearnedWarps.factor
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn import functional as F

from ganlib.config import Config, Count, Rate, Share, Weight
from ganlib.data.spec import DataSpec
from ganlib.losses.divergence import wide
from ganlib.nn.sampler import Sampler
from ganlib.nn.warp import read_at
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase

_PACE = 0.03  # of Adam, in half sides of the image
_JITTER = 1e-6
_PLACES = 4096  # that are aligned; of larger examples, block means
MOST_NUMBERS = 1 << 27  # that sampling holds at once
Grid = Annotated[int, Ge(2), Le(16)]


@dataclass(frozen=True, kw_only=True)
class LearnedWarpsConfig(Config):
    """``grid``: points a side at which displacements are given; ``stiffness``: weight of the differences between them.

    ``pairs``: number of pairs of a batch that are aligned; ``rounds``: updates by Adam that align them; ``spread``:
    factor of the samples' displacements; ``shrink``: share of the covariances left out.
    """

    grid: Grid = 5
    stiffness: Weight = 0.05
    pairs: Count = 800
    rounds: Count = 60
    spread: Rate = 0.7
    shrink: Share = 0.1


class Warp(nn.Module):
    """Examples ``(n, c, *sides)`` and displacements ``(n, size)`` to the examples read at the displaced places.

    Displacements are in half sides; beyond the edge the edge's values are read.
    """

    still: Tensor
    basis: Tensor

    def __init__(self, shape: tuple[int, ...], grid: int) -> None:
        super().__init__()
        self.shape = sides = shape[1:]
        self.axes = len(sides)
        self.sides = (sides[0], sides[1]) if self.axes > 1 else (1, sides[0])
        self.points = [grid] * self.axes
        self.size = self.axes * grid**self.axes
        still = F.affine_grid(torch.eye(2, 3).unsqueeze(0), [1, 1, *self.sides], align_corners=False)
        self.register_buffer("still", still.flatten(1, 2).transpose(1, 2).contiguous(), persistent=False)
        self.register_buffer("basis", _interpolation(sides, grid), persistent=False)

    def forward(self, x: Tensor, displacement: Tensor) -> Tensor:
        """Warp, in float32 or wider, by operators that sealed graphs have."""
        with torch.autocast(x.device.type, enabled=False):
            across, down = (axis.clamp(1 / n - 1, 1 - 1 / n) for axis, n in self._places(displacement))
            return read_at(self._flat(wide(x)), across, down, self.sides).unflatten(2, self.shape)

    def quick(self, x: Tensor, displacement: Tensor) -> Tensor:
        """The same by one operator, for training."""
        with torch.autocast(x.device.type, enabled=False):
            grid = torch.stack([axis for axis, _ in self._places(displacement)], 2).unflatten(1, self.sides)
            made = F.grid_sample(self._flat(wide(x)), grid, padding_mode="border", align_corners=False)
            return made.flatten(2).unflatten(2, self.shape)

    def _places(self, displacement: Tensor) -> tuple[tuple[Tensor, int], tuple[Tensor, int]]:
        """Where to read, ``(n, places)``, across and down, and the number of pixels in that direction."""
        moved = wide(displacement).unflatten(1, (self.axes, -1)) @ self.basis
        across, down = self.still[:, 0] + moved[:, 0], self.still[:, 1]
        return (across, self.sides[1]), (down + (moved[:, 1] if self.axes > 1 else 0 * moved[:, 0]), self.sides[0])

    def _flat(self, x: Tensor) -> Tensor:
        """Series as images of one row."""
        return x.unflatten(2, self.sides) if self.axes == 1 else x

    def roughness(self, displacement: Tensor) -> Tensor:
        """Squared differences between neighbouring points, summed, ``(n,)``."""
        field = displacement.unflatten(1, (self.axes, *self.points))
        return torch.stack([field.diff(dim=axis).square().flatten(1).sum(1) for axis in range(2, field.ndim)]).sum(0)


class WarpSampler(Sampler):
    """A real example and noise to the example warped."""

    by_example = True
    root: Tensor

    def __init__(self, warp: Warp, root: Tensor, channels: int) -> None:
        super().__init__()
        self.warp, self.latent_dim = deepcopy(warp), warp.size
        height, width = warp.sides
        self.most_rows = max(1, min(512, MOST_NUMBERS // (height * width * (height + channels * width))))
        self.register_buffer("root", root.detach().clone())

    def forward(self, z: Tensor, example: Tensor) -> Tensor:
        """Warp the examples."""
        return self.warp(example, z @ self.root)


@register(
    "learned_warps",
    config=LearnedWarpsConfig,
    modalities=("image", "series"),
    paper="Hauberg et al., Dreaming More Data, arXiv 1510.02795, AISTATS 2016",
    # Moments need one pass, and averages of earlier ones would only lag behind.
    trainer={"epochs": 1, "batch_size": 1024, "ema": 0.0},
)
class LearnedWarps(Algorithm):
    """One player: the factor of the displacements' covariance, set by pairs of examples."""

    takes = ("classes",)
    counts_rows = by_example = True
    seen: Tensor
    moments: Tensor

    def __init__(self, spec: DataSpec, config: LearnedWarpsConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        self.warp = Warp(spec.shape, config.grid)
        most = round(_PLACES ** (1 / self.warp.axes))
        self.small = Warp((spec.shape[0], *(min(side, most) for side in spec.shape[1:])), config.grid)
        size = self.warp.size
        self.factor = nn.Parameter(torch.zeros(size, size))
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("moments", torch.zeros(size, size))

    def players(self) -> dict[str, nn.Module]:
        """One player."""
        return {"warps": self}

    def optimisers(self) -> dict[str, Optimiser]:
        """A rate without effect: the moments of displacements replace the update."""
        return {"warps": Optimiser("adam", 1e-3, (0.9, 0.999))}

    def phases(self) -> tuple[Phase, ...]:
        """The distance to another example of the class, and the moments."""
        return (Phase("warps", self.loss, after=(self.settle,)),)

    @torch.no_grad()
    def settle(self, batch: Batch) -> None:
        """Set the factor by the displacements between all pairs so far."""
        first, second = self.pairs(batch, self.config.pairs)
        if not len(first):
            return
        x = self.reduced(batch.x)
        found = self.between(x[first], x[second]).double()
        rate = len(first) / (self.seen + len(first))
        self.moments += (rate * (found.T @ found / len(found) - self.moments)).to(self.moments)
        self.seen += len(first)
        moments, shrink = self.moments.double(), self.config.shrink
        diagonal = shrink * moments.diagonal() + _JITTER
        self.factor.copy_(torch.linalg.cholesky((1 - shrink) * moments + diagonal.diag()))

    def reduced(self, x: Tensor) -> Tensor:
        """Block means of large examples; small ones unchanged."""
        if self.small.shape == self.warp.shape:
            return wide(x)
        if self.warp.axes == 1:
            return F.adaptive_avg_pool1d(wide(x), self.small.sides[1])
        return F.adaptive_avg_pool2d(wide(x), self.small.sides)

    def between(self, first: Tensor, second: Tensor) -> Tensor:
        """The displacements that take reduced examples to others, ``(n, size)``, from coarse to fine."""
        with torch.enable_grad(), torch.autocast(first.device.type, enabled=False):
            moved = first.new_zeros(len(first), self.warp.size, requires_grad=True)
            adam = torch.optim.Adam([moved], _PACE)
            for turn in range(self.config.rounds):
                width = 2 if 2 * turn < self.config.rounds else 1
                a, b = (_blurred(x, width, self.warp.axes) for x in (first, second))
                error = (self.small.quick(a, moved) - b).square().flatten(1).mean(1)
                (error + self.config.stiffness * self.warp.roughness(moved)).sum().backward(inputs=[moved])
                adam.step()
                adam.zero_grad()
        return moved.detach()

    def pairs(self, batch: Batch, count: int) -> tuple[Tensor, Tensor]:
        """Places in the batch of ``count`` pairs of one class, both ``(count,)``; none if no class has two examples."""
        x = batch.x
        labels = batch.tensors["y"] if self.spec.classes else torch.zeros(len(x), dtype=torch.int64, device=x.device)
        order = labels.argsort(stable=True)
        held = torch.bincount(labels)
        start = (held.cumsum(0) - held)[labels[order]]
        able = (held[labels[order]] > 1).nonzero().flatten()
        if not len(able):
            return able, able
        u = torch.rand(2, count, generator=batch.generator, device=x.device)
        first = able[(u[0] * len(able)).long()]
        size = held[labels[order[first]]]
        step = 1 + (u[1] * (size - 1)).long()
        second = start[first] + (first - start[first] + step) % size
        return order[first], order[second]

    def loss(self, batch: Batch) -> Losses:
        """Mean squared distance of warped examples to others of their class."""
        first, second = self.pairs(batch, len(batch.x))
        x = self.reduced(batch.x)
        z = torch.randn(len(first), self.warp.size, generator=batch.generator, device=x.device)
        made = self.small.quick(x[first], self.config.spread * z @ self.factor.T)
        gap = (made - x[second]).square()
        return Losses(distance=gap.mean() if len(first) else 0.0 * self.factor.sum())

    def validation_loss(self, batch: Batch) -> Tensor:
        """The same on held-out examples."""
        return self.loss(batch).total

    def couples_batch(self) -> str:
        """Pairs are of one process's batch."""
        return "displacements are between the process's own examples"

    def sampler(self) -> Sampler:
        """Warps of given examples."""
        return WarpSampler(self.warp, self.config.spread * self.factor.T, self.spec.shape[0]).eval()


def _interpolation(sides: tuple[int, ...], grid: int) -> Tensor:
    """Weights of the points at each place, linear in every axis: ``(grid^axes, places)``."""
    each = []
    for side in sides:
        at = torch.linspace(0, grid - 1, side)
        each.append((1 - (at - torch.arange(grid).unsqueeze(1)).abs()).clamp_min(0))
    weights = each[0]
    for more in each[1:]:
        weights = torch.kron(weights, more)
    return weights


def _blurred(x: Tensor, width: int, axes: int) -> Tensor:
    """Means over ``2 · width + 1`` pixels or steps a side."""
    pool = F.avg_pool2d if axes > 1 else F.avg_pool1d
    return pool(x, 2 * width + 1, 1, width, count_include_pad=False)
