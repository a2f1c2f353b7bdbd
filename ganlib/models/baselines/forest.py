"""Adversarial random forests: rows from the leaves of trees that separate real rows from rows of independent columns.

Idea: where a forest can no longer distinguish real rows from such of independent columns, columns are independent. So
each leaf has a density that is a product over columns, and rows are drawn leaf by leaf:

    round 1: real rows against rows whose columns are permuted; round r: against rows drawn from the leaves of round r-1
    leaf l of tree t for class c, with probability n_tlc / n_c;   then x_j from column j of the rows in the leaf
    p(x | c) = sum over t of w_t · sum_l (n_tlc / n_c) · prod_j p_tlj(x_j)

n_tlc is the number of real rows of class c in the leaf. Numbers are normal with the moments of the leaf's rows, flags
and categories have their shares. A leaf is used by any class that has rows in it, and its columns are those of *all*
its rows: a class of ten rows borrows the shape of its surroundings (``scope="table"``). With ``scope="class"`` each
class has trees of its own.
Shapes: encoded rows x ``(n, d)``; leaves ``(groups, trees, leaves, d)``, one group or one for each class.

Source: Watson, Blesch, Kapar & Wright, Adversarial Random Forests for Density Estimation and Generative Modeling,
AISTATS 2023 (algorithms 1 and 2). Deviations: numbers are not truncated at the leaf's bounds, and their variances are
moved towards those common to all leaves; a leaf of fewer than ``least`` real rows stands for the smallest branch around
it that holds so many, so that the model holds no single row; a fixed number of rounds instead of a test of accuracy;
classes share leaves.

Use it for: small tables with a scarce class, whole synthetic tables, mixed columns; fitted in seconds.

Not for: images and series, whose neighbouring values depend on each other within any leaf: use `cvae`. Tables of a few
smoothly related numbers: `gaussian_mixture` or `realnvp`.

Symbols:
    n_tlc / n_c   AdversarialForest.shares
    w_t           AdversarialForest.log_weights
    x_j           AdversarialForest.means, deviations
    p(x | c)      AdversarialForest.log_likelihood
    rounds        ForestConfig.rounds
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ganlib.config import Config, Count
from ganlib.data.fields import Block
from ganlib.data.spec import DataSpec
from ganlib.losses.divergence import log_sum_exp, wide
from ganlib.nn.gaussian import normal_cdf
from ganlib.nn.sampler import Sampler, TableSampler
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase

_COMMON = 2.0  # rows that the variances common to all leaves count for
_FLOOR = 1e-3  # of variances
_RARE = 1e-4  # least share of a category
_MOST_LEAVES = 8192  # of all trees
_MOST_ROWS = 20_000  # of which trees are grown
_JUDGED = 256  # rows of a batch whose likelihood is reported


@dataclass(frozen=True, kw_only=True)
class ForestConfig(Config):
    """``trees`` (of each class if their ``scope`` is the class, but not more than this in all, one at least),
    ``leaves`` of a tree at most (fewer with many classes), ``least`` real rows of a leaf, and ``rounds`` of growing."""

    trees: Count = 24
    leaves: Count = 256
    least: Count = 5
    rounds: Count = 2
    scope: Literal["table", "class"] = "table"


@register(
    "adversarial_forest",
    config=ForestConfig,
    modalities=("points", "table"),
    paper="Watson et al., Adversarial Random Forests for Density Estimation and Generative Modeling, AISTATS 2023",
    # One pass over all rows; averages of earlier trees have no meaning.
    trainer={"epochs": 1, "batch_size": 1 << 20, "ema": 0.0},
)
class AdversarialForest(Algorithm):
    """One player, the weights of the trees; the leaves are buffers, grown before the first update."""

    takes = ("classes",)
    counts_rows = True
    config: ForestConfig
    shares: Tensor
    means: Tensor
    deviations: Tensor

    def __init__(self, spec: DataSpec, config: ForestConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        self.classes = spec.classes or 1
        self.groups = self.classes if config.scope == "class" else 1
        self.trees = max(1, config.trees // self.groups)
        self.leaves = max(2, min(config.leaves, _MOST_LEAVES // (self.groups * self.trees)))
        self.blocks = spec.blocks or DataSpec.vector(spec.dim).blocks
        self.log_weights = nn.Parameter(torch.zeros(self.groups, self.trees))
        self.register_buffer("shares", torch.zeros(self.classes, self.trees, self.leaves))
        self.register_buffer("means", torch.zeros(self.groups, self.trees, self.leaves, spec.dim))
        self.register_buffer("deviations", torch.ones(self.groups, self.trees, self.leaves, spec.dim))
        self.shares[:, :, 0] = 1.0

    def players(self) -> dict[str, nn.Module]:
        """One player."""
        return {"density": self}

    def optimisers(self) -> dict[str, Optimiser]:
        """A rate so low that one pass leaves the trees about equal."""
        return {"density": Optimiser("adam", 1e-3, (0.9, 0.999))}

    def phases(self) -> tuple[Phase, ...]:
        """Maximum likelihood of the trees' weights; no leaf changes."""
        return (Phase("density", self.loss),)

    # ---------------------------------------------------------------- growing
    @torch.no_grad()
    def prepare(self, batch: Batch) -> None:
        """Grow the trees on the first batch."""
        x = wide(batch.x).cpu().numpy()
        y = batch.y.cpu().numpy() if self.spec.classes else np.zeros(len(x), np.int64)
        seed = int(torch.randint(2**31 - 1, (), generator=batch.generator, device=batch.x.device))
        kept = _sample(y, np.random.default_rng(seed))
        x, y = x[kept], y[kept]
        for group in range(self.groups):
            rows = np.arange(len(x)) if self.groups == 1 else np.flatnonzero(y == group)
            if len(rows):
                self._fill(group, x[rows], y[rows], seed)

    def _fill(self, group: int, x: np.ndarray, y: np.ndarray, seed: int) -> None:
        """Grow the trees of a group on its rows and store their leaves."""
        of = slice(None) if self.groups == 1 else slice(group, group + 1)
        for tree, branches in enumerate(_grown(x, self.blocks, self.trees, self.leaves, self.config, seed)):
            sizes = np.array([len(rows) for rows in branches])[:, None]
            own = np.stack([x[rows].var(0) for rows in branches])
            common = (sizes * own).sum(0) / sizes.sum()
            variances = (sizes * own + _COMMON * common) / (sizes - 1 + _COMMON) + _FLOOR
            counts = np.stack([np.bincount(y[rows], minlength=self.classes) for rows in branches], 1)[of]
            held = slice(0, len(branches))
            self.means[group, tree, held] = torch.from_numpy(np.stack([x[rows].mean(0) for rows in branches]))
            self.deviations[group, tree, held] = torch.from_numpy(np.sqrt(variances).astype(np.float32))
            self.shares[of, tree] = 0.0
            shares = counts / counts.sum(1, keepdims=True).clip(1)
            self.shares[of, tree, held] = torch.from_numpy(shares.astype(np.float32))

    def couples_batch(self) -> str:
        """The trees are grown on the process's own rows."""
        return "the trees are grown on the process's own rows"

    # ---------------------------------------------------------------- use
    def log_likelihood(self, x: Tensor, y: Tensor) -> Tensor:
        """log p(x | class y) in nats, ``(n,)``; of flags and categories the probabilities."""
        with torch.autocast(x.device.type, enabled=False):
            x, group = wide(x), y if self.groups > 1 else torch.zeros_like(y)
            logs = torch.log_softmax(self.log_weights, 1)[group, :, None] + self.shares[y].clamp_min(1e-30).log()
            for block in self.blocks:
                logs = logs + self._log_column(block, x[:, block.slice], group)
            return log_sum_exp(logs.flatten(1))

    def _log_column(self, block: Block, x: Tensor, group: Tensor) -> Tensor:
        """Log-density of one column in every leaf of each row's group, ``(n, trees, leaves)``."""
        means = self.means[..., block.slice][group]
        if block.kind == "number":
            deviations = self.deviations[..., block.start][group]
            standard = (x[:, None] - means[..., 0]) / deviations
            return -0.5 * standard.square() - deviations.log() - 0.5 * math.log(2 * math.pi)
        if block.kind == "binary":
            p = means[..., 0].clamp(_RARE, 1 - _RARE)
            return torch.where(x[:, None] > 0.5, p.log(), (1 - p).log())
        return (x[:, None, None] * means.clamp_min(_RARE).log()).sum(3)

    def loss(self, batch: Batch) -> Losses:
        """Negative log-likelihood per row."""
        x = batch.x[:_JUDGED]
        y = batch.y[:_JUDGED] if self.spec.classes else torch.zeros_like(x[:, 0], dtype=torch.int64)
        return Losses(nll=-self.log_likelihood(x, y).mean())

    def validation_loss(self, batch: Batch) -> Tensor:
        """The same on held-out rows."""
        return self.loss(batch).total

    def sampler(self) -> Sampler:
        """Rows leaf by leaf."""
        leaves = Leaves(self)
        return TableSampler(leaves, leaves.latent_dim, self.spec).eval()


class Leaves(nn.Module):
    """``z (n, 2 + d)`` and class ``(n,)`` to the columns of a leaf, ``(n, d)``.

    The first two values choose tree and leaf, the others are the noise of numbers. Flags are logits, and categories
    logarithms of shares.
    """

    edges: Tensor
    tree_edges: Tensor
    means: Tensor
    deviations: Tensor

    @torch.no_grad()
    def __init__(self, model: AdversarialForest) -> None:
        super().__init__()
        self.groups, self.trees, self.latent_dim = model.groups, model.trees, 2 + model.spec.dim
        self.leaves = max(1, int((model.shares.sum(0) > 0).sum(1).max()))
        used = slice(0, self.leaves)
        self.register_buffer("tree_edges", torch.softmax(model.log_weights, 1).cumsum(1)[:, :-1])
        self.register_buffer("edges", model.shares[:, :, used].cumsum(2)[:, :, :-1].flatten(0, 1))
        means, deviations = (part[:, :, used].clone() for part in (model.means, model.deviations))
        for block in model.blocks:
            if block.kind == "binary":
                means[..., block.slice] = torch.logit(means[..., block.slice].clamp(_RARE, 1 - _RARE))
            if block.kind == "category":
                means[..., block.slice] = means[..., block.slice].clamp_min(_RARE).log()
            if block.kind != "number":
                deviations[..., block.slice] = 0.0
        self.register_buffer("means", means.flatten(0, 2))
        self.register_buffer("deviations", deviations.flatten(0, 2))

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """The columns of one leaf for each row."""
        index = torch.zeros_like(z[:, 0], dtype=torch.int64) if condition is None else condition
        u = normal_cdf(z[:, :2])
        group = index if self.groups > 1 else torch.zeros_like(index)
        tree = (u[:, :1] > self.tree_edges[group]).sum(1)
        leaf = (u[:, 1:2] > self.edges[index * self.trees + tree]).sum(1)
        place = (group * self.trees + tree) * self.leaves + leaf
        return self.means[place] + self.deviations[place] * z[:, 2:]


def _sample(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Positions of at most ``_MOST_ROWS`` rows, in equal shares of the classes; small classes are kept whole."""
    classes = np.unique(y)
    share = max(1, _MOST_ROWS // len(classes))
    return np.sort(np.concatenate([rng.permutation(np.flatnonzero(y == c))[:share] for c in classes]))


def _grown(
    x: np.ndarray, blocks: Sequence[Block], trees: int, leaves: int, config: ForestConfig, seed: int
) -> list[list[np.ndarray]]:
    """The real rows of each leaf of each tree, as positions, after the last round."""
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(seed)
    fake = np.empty_like(x)
    for block in blocks:
        fake[:, block.slice] = x[rng.permutation(len(x)), block.slice]
    for last in range(config.rounds):
        forest = RandomForestClassifier(
            trees, min_samples_leaf=config.least, max_leaf_nodes=leaves, random_state=seed + last
        ).fit(np.concatenate([x, fake]), np.repeat([1, 0], len(x)))
        branches = [_branches(tree.tree_, x, config.least) for tree in forest.estimators_]
        if last + 1 < config.rounds:
            fake = _drawn(x, blocks, branches, rng)
    return branches


def _branches(tree: Any, x: np.ndarray, least: int) -> list[np.ndarray]:
    """Rows of each leaf of a fitted tree; leaves with fewer than ``least`` give way to the smallest branch around."""
    paths = tree.decision_path(x.astype(np.float32)).tocsc()
    sizes = np.diff(paths.indptr)
    parent = np.zeros(len(sizes), np.int64)
    for child in (tree.children_left, tree.children_right):
        inner = np.flatnonzero(child >= 0)
        parent[child[inner]] = inner
    found = set()
    for leaf in np.flatnonzero((tree.children_left < 0) & (sizes > 0)):
        while sizes[leaf] < least and leaf:
            leaf = parent[leaf]
        found.add(int(leaf))
    return [paths.indices[paths.indptr[node] : paths.indptr[node + 1]] for node in sorted(found)]


def _drawn(
    x: np.ndarray, blocks: Sequence[Block], trees: list[list[np.ndarray]], rng: np.random.Generator
) -> np.ndarray:
    """As many rows as ``x``, each with the columns of a leaf's rows drawn one by one."""
    made = np.empty_like(x)
    for rows in np.array_split(rng.permutation(len(x)), len(trees)):
        leaves = trees[int(rng.integers(len(trees)))]
        sizes = np.array([len(leaf) for leaf in leaves])
        chosen = rng.choice(len(leaves), len(rows), p=sizes / sizes.sum())
        for leaf in np.unique(chosen):
            mine = rows[chosen == leaf]
            for block in blocks:
                made[mine, block.slice] = x[rng.choice(leaves[leaf], len(mine)), block.slice]
    return made
