"""Learned warps: displacements that are planted are found, by class; the exported form reads as the quick one does."""

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from ganlib.augment import as_augmenter
from ganlib.data.spec import DataSpec
from ganlib.models.baselines.learned_warps import Warp
from ganlib.registry import create
from ganlib.training.algorithm import Batch


def blobs(n, seed, *, across=0.0, down=0.0, side=16):
    """Images ``(n, 1, side, side)`` of one blob, moved at random by these deviations in sixteenths of the side."""
    rng = np.random.default_rng(seed)
    place = np.arange(side)
    x, y = (side / 2 + scale * side / 16 * rng.standard_normal((n, 1)) for scale in (across, down))
    width = 3 * side / 16
    bump = np.exp(-(((place - y) / width) ** 2))[:, :, None] * np.exp(-(((place - x) / width) ** 2))[:, None]
    return torch.tensor(2 * bump - 1, dtype=torch.float32).unsqueeze(1)


def fitted(x, y=None, **options):
    spec = DataSpec.image(*x.shape[1:], 0 if y is None else int(y.max()) + 1)
    model = create("learned_warps", spec, **options)
    tensors = {"x": x} if y is None else {"x": x, "y": y}
    model.settle(Batch(tensors, torch.Generator().manual_seed(0)))
    return model


def moved(model):
    """Standard deviation of the centre's displacement across and down, in pixels of a side of 16."""
    z = torch.randn(2000, model.warp.size, generator=torch.Generator().manual_seed(1))
    field = (z @ model.factor.detach().T).unflatten(1, (2, 5, 5))[:, :, 2, 2]
    return (8 * field.std(0)).tolist()


@pytest.mark.parametrize(("shape", "grid"), [((2, 9, 12), 4), ((3, 30), 5)])
def test_both_ways_to_read_agree_and_stillness_changes_nothing(shape, grid):
    warp, x = Warp(shape, grid), torch.randn(4, *shape)
    displaced = 0.3 * torch.randn(4, warp.size)
    torch.testing.assert_close(warp(x, displaced), warp.quick(x, displaced), atol=1e-4, rtol=0)
    torch.testing.assert_close(warp(x, 0 * displaced), x, atol=1e-4, rtol=0)
    assert (warp.roughness(torch.ones(1, warp.size)) == 0).all()


@pytest.mark.parametrize("side", [16, 160])
def test_the_displacement_between_two_images_is_found(side):
    first = blobs(1, 0, side=side)
    second = torch.roll(first, side // 8, 3)
    model = create("learned_warps", DataSpec.image(1, side, side))
    found = model.between(model.reduced(first), model.reduced(second))
    before = (first - second).square().mean()
    assert (model.warp(first, found) - second).square().mean() < 0.05 * before
    # The blob is read an eighth of the side to the left of where it is.
    field = found.unflatten(1, (2, 5, 5))[0, :, 2, 2]
    assert field[0] == pytest.approx(-2 / 8, abs=0.08) and abs(field[1]) < 0.05


@pytest.mark.trained
def test_samples_move_as_the_examples_do():
    across, down = moved(fitted(blobs(200, 0, across=1.5)))
    assert across > 4 * down
    across, down = moved(fitted(blobs(200, 0, down=1.5)))
    assert down > 4 * across


def test_pairs_are_of_one_class_and_a_class_of_one_has_none():
    y = torch.tensor([0, 1, 1, 2, 1, 0])
    model = create("learned_warps", DataSpec.image(1, 8, 8, 3))
    batch = Batch({"x": torch.rand(6, 1, 8, 8), "y": y}, torch.Generator().manual_seed(0))
    first, second = model.pairs(batch, 500)
    assert (y[first] == y[second]).all() and (first != second).all()
    assert set(first.tolist()) == set(second.tolist()) == {0, 1, 2, 4, 5}
    alone = Batch({"x": torch.rand(3, 1, 8, 8), "y": torch.arange(3)}, torch.Generator().manual_seed(0))
    assert not len(model.pairs(alone, 5)[0])
    model.settle(alone)
    assert not model.factor.any() and model.loss(alone).total == 0  # samples are the examples themselves


@pytest.mark.trained
def test_batches_count_by_their_pairs():
    x = blobs(300, 0, across=1.5)
    model = create("learned_warps", DataSpec.image(1, 16, 16))
    for seed, part in enumerate(x.split(100)):
        model.settle(Batch({"x": part}, torch.Generator().manual_seed(seed)))
    assert model.seen == 3 * 800
    assert moved(model)[0] == pytest.approx(moved(fitted(x))[0], rel=0.15)


def test_few_examples_are_warped_within_their_class_and_colours_and_bytes_are_kept():
    x = (127.5 * (blobs(12, 0, across=1.0) + 1)).to(torch.uint8).repeat(1, 3, 1, 1)
    x[6:, 1:] = 0  # the second class is red
    y = np.repeat(["grey", "red"], 6)
    made, labels = as_augmenter("learned_warps", modality="image").fit(x.numpy(), y).sample(conditions={"red": 20})
    assert made.shape == (20, 3, 16, 16) and made.dtype == np.uint8 and set(labels) == {"red"}
    assert not made[:, 1:].any() and made[:, 0].max() > 200
    distinct = np.unique(made.reshape(20, -1), axis=0)
    assert len(distinct) == 20


def test_large_images_are_sampled_in_parts():
    x = avg_pool2d(torch.rand(6, 1, 128, 128, generator=torch.Generator().manual_seed(0)), 9, 1, 4)
    model = fitted(x, rounds=2, pairs=4)
    assert model.sampler().most_rows < 64
    made = as_augmenter("learned_warps", modality="image", options={"rounds": 2, "pairs": 4}).fit(x.numpy()).sample(40)
    assert made.shape == (40, 1, 128, 128) and np.isfinite(made).all()
