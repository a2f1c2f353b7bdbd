"""Kernels at centroids: a kernel density whose kernels each stand for a group of training examples.

Idea: k-means divides the examples into groups of alike ones, and each group is a Gaussian with one variance:

    p(x) = sum_j n_j/n · N(x; c_j, s_j I);   score: -log p(x) in nats
    s_j = (n_j v_j + a v) / (n_j - 1 + a) · (1 + 1/n_j) + floor

n_j, c_j and v_j are size, mean and variance per value of group j, v the variance within all groups, and ``a`` as many
examples as v counts for. n_j - 1 and 1 + 1/n_j correct for a mean that is itself estimated from the group; the sizes in
s_j are those of the first batch, so that rows that come again do not count as new ones.
Shapes: x ``(n, *shape)``, flattened to d values of deviation about 1; centroids ``(k, d)``.
The density is the mean of that of several ``partitions``, since one depends on where k-means started. The groups of a
partition are found in the first batch, one for each ``rows`` examples, ``centroids`` at most in all partitions; other
batches join the nearest. A group has ``least`` examples or more: those of smaller groups are divided again into fewer
ones, so that the model holds no single example. Fitted in one pass.

Sources: Parzen, On Estimation of a Probability Density Function and Mode, 1962; groups in place of examples: Zhang,
Ramakrishnan & Livny, Fast Density Estimation Using CF-Kernel for Very Large Databases, KDD 1999. Deviations: k-means
instead of a tree of clusters; a variance by group, moved towards the common one.

Use it for: anomalies that are far from all groups of usual rows, as nearest neighbours find them, in a file that does
not grow with the rows and holds no row.

Not for: many columns of which few matter: distances become alike; use `vae` or `ganomaly`. Densities of smooth shapes:
`gaussian_mixture` or `realnvp`.

Symbols:
    c_j     CentroidKernels.centres
    n_j     CentroidKernels.counts, CentroidKernels.sizes
    v_j     CentroidKernels.squares
    s_j     CentroidKernels.variances
    a       _COMMON
    p(x)    CentroidKernels.log_prob
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganlib.config import Config, Count, Rate
from ganlib.data.spec import DataSpec
from ganlib.losses.divergence import log_sum_exp, wide
from ganlib.models.baselines.density import Density
from ganlib.registry import register
from ganlib.training.algorithm import Batch, Optimiser, Phase

_COMMON = 5.0
_ROUNDS = 15
_UNUSED = -1e30
_LEAST = 1e-9  # of a count, so that its logarithm is finite


@dataclass(frozen=True, kw_only=True)
class CentroidConfig(Config):
    """``centroids``: the most groups, of all partitions together; ``partitions``: the number of divisions by k-means;
    ``rows``: mean rows of a group in the first batch; ``least``: rows of the smallest group; ``floor`` of variances."""

    centroids: Count = 1024
    partitions: Count = 4
    rows: Count = 8
    least: Count = 5
    floor: Rate = 0.02


@register(
    "centroid_kernels",
    config=CentroidConfig,
    modalities=("points", "table", "image", "series"),
    paper="Zhang, Ramakrishnan & Livny, Fast Density Estimation Using CF-Kernel, KDD 1999",
    trainer={"epochs": 1, "batch_size": 8192, "ema": 0.0},
)
class CentroidKernels(Density):
    """One player: the log-weights of the kernels, set by counting; the groups are buffers."""

    config: CentroidConfig
    batches: Tensor
    sizes: Tensor
    counts: Tensor
    sums: Tensor
    squares: Tensor

    def __init__(self, spec: DataSpec, config: CentroidConfig) -> None:
        super().__init__(spec, config)
        self._size = max(1, config.centroids // config.partitions)
        total = self._size * config.partitions
        self.log_weights = nn.Parameter(torch.zeros(total))
        self.register_buffer("batches", torch.zeros(()))
        self.register_buffer("sizes", torch.zeros(total))
        self.register_buffer("counts", torch.zeros(total))
        self.register_buffer("sums", torch.zeros(total, spec.dim))
        self.register_buffer("squares", torch.zeros(total))

    def optimisers(self) -> dict[str, Optimiser]:
        """A rate without effect: the groups are fitted in closed form."""
        return {"density": Optimiser("adam", 1e-3, (0.9, 0.999))}

    def phases(self) -> tuple[Phase, ...]:
        """Maximum likelihood, by grouping."""
        return (Phase("density", self.loss, after=(self.settle,)),)

    def prepare(self, batch: Batch) -> None:
        """The groups of the first batch."""
        x = wide(batch.x).flatten(1)
        for start in range(0, len(self.counts), self._size):
            seed = int(torch.randint(2**31, (), generator=batch.generator, device=batch.x.device))
            self._absorb(x, start + _groups(x, self._size, self.config, seed).to(x.device))
        self.sizes.copy_(self.counts)

    @torch.no_grad()
    def settle(self, batch: Batch) -> None:
        """Add a batch to the nearest groups; the first is in them already."""
        self.batches += 1
        with torch.autocast(batch.x.device.type, enabled=False):
            if self.batches > 1:
                x = wide(batch.x).flatten(1)
                distances = torch.where(self.counts > 0, squared_distances(x, self.centres()), math.inf)
                for start in range(0, len(self.counts), self._size):
                    self._absorb(x, start + distances[:, start : start + self._size].argmin(1))
            self.log_weights.copy_(self.counts.clamp_min(_LEAST).log())

    @torch.no_grad()
    def _absorb(self, x: Tensor, groups: Tensor) -> None:
        """Add rows to their groups. Squares are about the new means, with those of earlier rows moved along."""
        before, old = self.centres(), self.counts.clone()
        self.counts.index_add_(0, groups, torch.ones_like(x[:, 0]))
        self.sums.index_add_(0, groups, x)
        centres = self.centres()
        self.squares += old * (centres - before).square().sum(1)
        self.squares.index_add_(0, groups, (x - centres[groups]).square().sum(1))

    def centres(self) -> Tensor:
        """Means of the groups, ``(centroids, d)``; zeros for unused ones."""
        return self.sums / self.counts.clamp_min(1)[:, None]

    def variances(self) -> Tensor:
        """Variance per value of each group, ``(centroids,)``."""
        sizes, groups = self.sizes.clamp_min(1), (self.counts > 0).sum()
        own = self.squares / self.counts.clamp_min(1) / self.sums.shape[1]
        common = (own * self.sizes).sum() / (self.sizes.sum() - groups).clamp_min(1)
        moved = (sizes * own + _COMMON * common) / (sizes - 1 + _COMMON)
        return moved * (1 + 1 / sizes) + self.config.floor

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats, ``(n,)``."""
        with torch.autocast(x.device.type, enabled=False):
            x, variances = wide(x).flatten(1), self.variances()
            logs = self._offsets(variances) - 0.5 * squared_distances(x, self.centres()) / variances
            return log_sum_exp(logs)

    def _offsets(self, variances: Tensor) -> Tensor:
        """Log-weight and log of the normalising factor of each kernel, ``(centroids,)``; very small for unused ones."""
        used = torch.where(self.counts > 0, self.log_weights, _UNUSED)
        return torch.log_softmax(used, 0) - 0.5 * self.sums.shape[1] * (2 * math.pi * variances).log()

    def couples_batch(self) -> str:
        """The groups are of the process's own batches."""
        return "the groups are of the process's own batches"

    def scorer(self) -> nn.Module:
        """-log p(x) by the groups that are used."""
        return CentroidScore(self).eval()


def squared_distances(x: Tensor, centres: Tensor) -> Tensor:
    """Squared distances ``(n, k)`` of rows ``(n, d)`` to centres ``(k, d)``, of operators that sealed graphs have."""
    return (x.square().sum(1, keepdim=True) - 2 * x @ centres.T + centres.square().sum(1)).clamp_min(0)


class CentroidScore(nn.Module):
    """``(n, *shape) -> (n,)``: -log p(x) in nats, of the used kernels alone."""

    centres: Tensor
    offsets: Tensor
    variances: Tensor

    @torch.no_grad()
    def __init__(self, model: CentroidKernels) -> None:
        super().__init__()
        used, variances = model.counts > 0, model.variances()
        used[0] |= ~used.any()  # a model that was not trained
        self.register_buffer("centres", model.centres()[used].clone())
        self.register_buffer("offsets", model._offsets(variances)[used].clone())
        self.register_buffer("variances", variances[used].clone())

    def forward(self, x: Tensor) -> Tensor:
        """Score examples."""
        x = wide(x).flatten(1)
        return -log_sum_exp(self.offsets - 0.5 * squared_distances(x, self.centres) / self.variances)


def _groups(x: Tensor, most: int, config: CentroidConfig, seed: int) -> Tensor:
    """The group of each row, int64 ``(n,)``: k-means, and again on the rows of groups that are too small."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    groups, left, count = torch.full((len(x),), -1), torch.arange(len(x)), 0
    rows = x.cpu()
    number = min(most, max(1, len(x) // config.rows))
    while len(left):
        if number <= 1 or len(left) < 2 * config.least:
            break
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer distinct rows than groups
            found = KMeans(number, n_init=1, max_iter=_ROUNDS, random_state=seed).fit(rows[left].numpy()).labels_
        found = torch.as_tensor(found, dtype=torch.int64)
        large = torch.bincount(found, minlength=number) >= config.least
        numbers = count + large.cumsum(0) - 1
        groups[left[large[found]]] = numbers[found[large[found]]]
        count, rest = count + int(large.sum()), left[~large[found]]
        number = number // 2 if len(rest) == len(left) else min(number, len(rest) // (2 * config.rows))
        left = rest
    if len(left) >= config.least or not count:
        groups[left] = count
    elif len(left):
        centres = torch.stack([rows[groups == group].mean(0) for group in range(count)])
        groups[left] = squared_distances(rows[left], centres).argmin(1)
    return groups
