"""Distance to the nearest centroid, relative to the spread of its group: a local outlier factor without neighbours.

Idea: where usual examples lie close together, a small distance is unusual already. k-means divides the examples into
groups of alike ones, and the distance to the nearest centroid is compared with those within its group:

    z = V' (x - m) / u;   score: mean over partitions of |z - c_j|² / (L · s_j), c_j the nearest centroid

V, m and u are the L ``leading`` directions of the examples, their mean and scale. Groups, c_j and s_j, which is moved
towards the variance common to all, are those of `centroid_kernels`; a group has ``least`` examples or more, so that the
model holds no single one.
Shapes: x ``(n, *shape)``, flattened to d values; z ``(n, L)``; centroids ``(k, L)``.

Sources: Amer & Goldstein, Nearest-Neighbor and Clustering based Anomaly Detection Algorithms for RapidMiner, RCOMM 2012
(LDCOF: distance over the mean distance within the cluster); Breunig et al., LOF: Identifying Density-Based Local
Outliers, SIGMOD 2000. Deviations: squared distances; leading directions; several partitions by k-means; small clusters
are divided again instead of left out.

Use it for: small images and other wide examples whose usual kinds differ in density: on digits near the local outlier
factor, from a file that does not grow with the rows.

Not for: anomalies between groups, and tables of few columns; use `centroid_kernels`.

Symbols:
    V, m, u    Leading.directions, centre, scale
    c_j, s_j   CentroidKernels.centres, CentroidKernels.variances
    score      RelativeDistance
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganlib.config import Config, Count
from ganlib.data.spec import DataSpec
from ganlib.losses.divergence import wide
from ganlib.models.baselines.centroids import CentroidConfig, CentroidKernels, squared_distances
from ganlib.models.baselines.leading import Leading
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase

_FAR = 1e30  # squared distance to a group that is not used
_FLOOR = 1e-3  # of a variance within a group, where the mean variance is 1


@dataclass(frozen=True, kw_only=True)
class LDCOFConfig(Config):
    """``leading`` directions; ``centroids``: the most groups, of all ``partitions`` by k-means together; ``rows``: mean
    rows of a group in the first batch; ``least``: rows of the smallest group."""

    leading: Count = 50
    centroids: Count = 1024
    partitions: Count = 4
    rows: Count = 32
    least: Count = 5


@register(
    "ldcof",
    config=LDCOFConfig,
    modalities=("points", "table", "image", "series"),
    paper="Amer & Goldstein, RCOMM 2012",
    trainer={"epochs": 1, "batch_size": 8192, "ema": 0.0},
)
class LDCOF(Algorithm):
    """One player, the groups, which are fitted in closed form; the directions are buffers."""

    config: LDCOFConfig

    def __init__(self, spec: DataSpec, config: LDCOFConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        self.leading = Leading(spec.dim, min(config.leading, spec.dim))
        groups = CentroidConfig(
            centroids=config.centroids, partitions=config.partitions, rows=config.rows, least=config.least, floor=_FLOOR
        )
        self.groups = CentroidKernels(DataSpec.vector(len(self.leading)), groups)

    def players(self) -> dict[str, nn.Module]:
        """One player."""
        return {"density": self.groups}

    def optimisers(self) -> dict[str, Optimiser]:
        """Those of the groups, which set themselves in closed form."""
        return self.groups.optimisers()

    def prepare(self, batch: Batch) -> None:
        """Directions and groups of the first batch."""
        self.leading.learn(wide(batch.x).flatten(1), batch.generator)
        self.groups.prepare(self.leading.inside(batch))

    def phases(self) -> tuple[Phase, ...]:
        """Grouping."""
        return (Phase("density", self.loss, after=(self.settle,)),)

    def loss(self, batch: Batch) -> Losses:
        """-log density of the leading components by the groups as kernels, per example."""
        return self.groups.loss(self.leading.inside(batch))

    def settle(self, batch: Batch) -> None:
        """Add a batch to the nearest groups."""
        self.groups.settle(self.leading.inside(batch))

    def validation_loss(self, batch: Batch) -> Tensor:
        """The same on held-out examples."""
        return self.loss(batch).total

    def couples_batch(self) -> str:
        """The groups."""
        return self.groups.couples_batch()

    def scorer(self) -> nn.Module:
        """Distances to the nearest centroids, relative to their groups."""
        return RelativeDistance(self).eval()


class RelativeDistance(nn.Module):
    """``(n, *shape) -> (n,)``: mean over partitions of the squared distance over that within the group."""

    centres: Tensor
    variances: Tensor
    unused: Tensor

    @torch.no_grad()
    def __init__(self, model: LDCOF) -> None:
        super().__init__()
        self.leading, groups = model.leading, model.groups
        self.partitions = model.config.partitions
        self.register_buffer("centres", groups.centres().clone())
        self.register_buffer("variances", len(model.leading) * groups.variances())
        self.register_buffer("unused", torch.where(groups.counts > 0, 0.0, _FAR))

    def forward(self, x: Tensor) -> Tensor:
        """Score examples."""
        z = self.leading(wide(x).flatten(1))
        distances = squared_distances(z, self.centres) + self.unused.to(z)
        size, found = len(self.centres) // self.partitions, []
        for start in range(0, size * self.partitions, size):
            part = distances[:, start : start + size]
            nearest, group = part.amin(1), (-part).argmax(1)  # sealed graphs have no argmin
            found.append(nearest / self.variances.to(z)[start + group])
        return torch.stack(found).sum(0) / len(found)
