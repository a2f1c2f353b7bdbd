"""A histogram of each column: independent densities, fitted by counting.

Source: Goldstein & Dengel, Histogram-Based Outlier Score (HBOS), KI 2012: the sum over columns of -log of the height of
the bin that the value falls in.

Idea: columns are independent, and each has a density that is linear between the points c_k of a grid:

    p(x) = prod_j [ (1 - tail) · sum_k w_jk · max(0, 1 - |x_j - c_k| / step) / step  +  tail · C(x_j) ]
    w_jk = mean of max(0, 1 - |x_j - c_k| / step) over training examples;   score: -log p(x) in nats

with C a Cauchy density of scale 3, so that a value far outside is less likely the farther it is.
Shapes: x ``(n, *shape)``, flattened to d values of deviation about 1.
Deviations: one grid for all columns (from -``reach`` to ``reach``) instead of one between their extremes, and triangles
instead of boxes: the density is continuous and integrates to one.

Use it for: a floor that no rare combination of usual values can lift, fitted in one pass; where training rows hold
anomalies, it learns them less than a model of combinations does.

Not for: anomalies of which each value is usual by itself; use `gaussian_mixture`, `vae` or `ganomaly`.

Symbols:
    c_k     Histogram.nodes
    w_jk    Histogram.weights
    step    HistogramConfig.step
    tail    HistogramConfig.tail
    p(x)    Histogram.log_prob
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Gt, Lt
from torch import Tensor, nn

from ganlib.config import Config, Rate
from ganlib.data.spec import DataSpec
from ganlib.losses.divergence import wide
from ganlib.models.baselines.density import Density
from ganlib.registry import register
from ganlib.training.algorithm import Batch, Optimiser, Phase

_SCALE = 3.0
_LEAST = 1e-9  # of a weight, so that its logarithm is finite


@dataclass(frozen=True, kw_only=True)
class HistogramConfig(Config):
    """``step`` of the grid; ``reach``: its last point; ``tail``: share of the Cauchy density."""

    step: Rate = 0.25
    reach: Rate = 10.0
    tail: Annotated[float, Gt(0), Lt(1)] = 0.01


@register(
    "histogram",
    config=HistogramConfig,
    modalities=("points", "table"),
    paper="Goldstein & Dengel, Histogram-Based Outlier Score (HBOS), KI 2012",
    # Counting needs one pass, and averages of earlier counts would only lag behind.
    trainer={"epochs": 1, "ema": 0.0},
)
class Histogram(Density):
    """One player: the log-weights of the points, set by counting."""

    config: HistogramConfig
    counts: Tensor
    nodes: Tensor
    start: Tensor

    def __init__(self, spec: DataSpec, config: HistogramConfig) -> None:
        super().__init__(spec, config)
        points = 1 + round(2 * config.reach / config.step)
        self.log_weights = nn.Parameter(torch.zeros(spec.dim, points))
        self.register_buffer("counts", torch.zeros(spec.dim, points))
        self.register_buffer("nodes", torch.linspace(-config.reach, config.reach, points), persistent=False)
        self.register_buffer("start", points * torch.arange(spec.dim), persistent=False)

    def optimisers(self) -> dict[str, Optimiser]:
        """A rate without effect: counting replaces the update."""
        return {"density": Optimiser("adam", 1e-3, (0.9, 0.999))}

    def phases(self) -> tuple[Phase, ...]:
        """Maximum likelihood, by counting."""
        return (Phase("density", self.loss, after=(self.count,)),)

    @torch.no_grad()
    def count(self, batch: Batch) -> None:
        """Add a batch to the counts, and set the weights to their shares."""
        with torch.autocast(batch.x.device.type, enabled=False):
            below, part, inside = self._place(wide(batch.x).flatten(1))
            counts = self.counts.view(-1)
            counts.index_add_(0, below.flatten(), ((1 - part) * inside).flatten().to(counts))
            counts.index_add_(0, (below + 1).flatten(), (part * inside).flatten().to(counts))
            shares = self.counts / self.counts.sum(1, keepdim=True).clamp_min(_LEAST)
            self.log_weights.copy_(shares.clamp_min(_LEAST).log())

    def weights(self) -> Tensor:
        """The weights of the points, ``(d, points)``."""
        return torch.softmax(self.log_weights, 1)

    def _place(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of each value the flat index of the point below it, its part of the way to the next, and whether it is inside
        the grid (0 or 1; falling within one step beyond it), each ``(n, d)``."""
        step, last = self.config.step, self.nodes.shape[0] - 1
        place = (x + self.config.reach) / step
        held = place.clamp(0, last)
        below = held.clamp(max=last - 1).to(torch.int64)
        return below + self.start, held - below, (1 - (place - held).abs()).clamp_min(0)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats, ``(n,)``."""
        return -self._terms(x).sum(1)

    def _terms(self, x: Tensor) -> Tensor:
        """-log of each value's density, ``(n, d)``."""
        with torch.autocast(x.device.type, enabled=False):
            x = wide(x).flatten(1)
            below, part, inside = self._place(x)
            weights = self.weights().flatten()
            height = ((1 - part) * weights[below] + part * weights[below + 1]) * inside / self.config.step
            cauchy = (-(1 + (x / _SCALE).square()).log()).exp() / (math.pi * _SCALE)  # no reciprocal: for sealing
            return -((1 - self.config.tail) * height + self.config.tail * cauchy).log()

    def couples_batch(self) -> str:
        """The counts are of the process's own batches."""
        return "the counts are of the process's own batches"
