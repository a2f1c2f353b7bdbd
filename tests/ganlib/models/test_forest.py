"""Adversarial forests: leaves of enough real rows, densities that integrate to one, and samples that follow them."""

import numpy as np
import pytest
import torch

from ganlib.data.fields import Block
from ganlib.data.spec import DataSpec
from ganlib.models.baselines.forest import _branches, _grown
from ganlib.registry import create
from ganlib.training import Trainer, TrainerConfig

BLOCKS = (Block("size", "number", 0), Block("flag", "binary", 1), Block("kind", "category", 2, 3))
ONCE = TrainerConfig(epochs=1, batch_size=1 << 20, ema=0.0)


def rows(n, seed, classes=2):
    """Encoded rows of which size and kind depend on each other and on the class."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    kind = np.where(rng.random(n) < 0.8, y % 3, rng.integers(0, 3, n))
    size = kind - 1 + 0.3 * rng.standard_normal(n)
    x = np.column_stack([size, rng.random(n) < 0.3, np.eye(3)[kind]]).astype(np.float32)
    return {"x": torch.from_numpy(x), "y": torch.from_numpy(y)}


def fitted(data, classes=2, **options):
    model = create("adversarial_forest", DataSpec.table(BLOCKS, classes), **options)
    Trainer(ONCE).fit(model, data)
    return model


@pytest.mark.parametrize("scope", ["table", "class"])
def test_densities_by_class_integrate_to_one(scope):
    model = fitted(rows(400, 0), scope=scope)
    grid = torch.linspace(-6, 6, 1201)
    for label in (0, 1):
        total = 0.0
        for flag in (0.0, 1.0):
            for kind in torch.eye(3):
                x = torch.cat([grid[:, None], torch.full((1201, 1), flag), kind.expand(1201, 3)], 1)
                total += float(model.log_likelihood(x, torch.full((1201,), label)).detach().exp().sum()) * 0.01
        assert total == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("scope", ["table", "class"])
def test_samples_follow_the_classes_and_the_dependence_of_columns(scope):
    data = rows(3000, 1)
    model = fitted(data, scope=scope)
    sampler, g = model.sampler(), torch.Generator().manual_seed(0)
    classes = torch.arange(6000) % 2
    made = sampler(torch.randn(6000, sampler.latent_dim, generator=g), classes)
    kind = made[:, 2:].argmax(1)
    for label in (0, 1):
        mine, real = classes == label, data["y"] == label
        shares = torch.bincount(kind[mine], minlength=3) / mine.sum()
        assert (shares - data["x"][real, 2:].mean(0)).abs().max() < 0.04
    # Within a kind, sizes lie around its own mean; with columns permuted all means are near 0.
    means = torch.stack([made[kind == k, 0].mean() for k in range(3)])
    assert (means - torch.tensor([-1.0, 0.0, 1.0])).abs().max() < 0.5
    assert set(made[:, 1].unique().tolist()) == {0.0, 1.0} and abs(float(made[:, 1].mean()) - 0.3) < 0.04


def test_no_leaf_holds_fewer_real_rows_than_the_least():
    x = rows(200, 2)["x"].numpy()
    model = create("adversarial_forest", DataSpec.table(BLOCKS, 2), least=7)
    for tree in _grown(x, BLOCKS, 5, 64, model.config, 0):
        assert min(len(leaf) for leaf in tree) >= 7
        assert len(np.unique(np.concatenate(tree))) == len(x)  # every row is in a leaf


def test_a_small_leaf_gives_way_to_the_smallest_branch_around_it():
    from sklearn.tree import DecisionTreeClassifier

    x = np.arange(8, dtype=float)[:, None]
    tree = DecisionTreeClassifier(random_state=0).fit(x, [0, 0, 0, 1, 0, 0, 0, 0]).tree_
    leaves = [leaf.tolist() for leaf in _branches(tree, x, 2)]
    assert all(len(leaf) >= 2 for leaf in leaves) and sorted({i for leaf in leaves for i in leaf}) == list(range(8))
    assert [3] in [leaf.tolist() for leaf in _branches(tree, x, 1)]


def test_many_classes_cost_no_more_leaves():
    model = create("adversarial_forest", DataSpec.table(BLOCKS, 1000), scope="class")
    assert model.means.numel() <= 8192 * DataSpec.table(BLOCKS).dim and model.shares.numel() <= 1000 * 8


def test_a_class_has_the_rows_of_its_own_trees_only():
    data = rows(600, 3)
    data["x"][data["y"] == 1, 0] += 100
    model = fitted(data, scope="class")
    sampler = model.sampler()
    z = torch.randn(500, sampler.latent_dim, generator=torch.Generator().manual_seed(1))
    assert sampler(z, torch.zeros(500, dtype=torch.int64))[:, 0].max() < 50
    assert sampler(z, torch.ones(500, dtype=torch.int64))[:, 0].min() > 50
    # With shared leaves, a class is found in the leaves that hold its rows, here its own ones.
    shared = fitted(data).sampler()
    assert (shared(z[:, : shared.latent_dim], torch.zeros(500, dtype=torch.int64))[:, 0] < 50).float().mean() > 0.95
