"""Gaussians of local features: closed form, batches, where a defect is, and sizes."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from ganlib import AutoDetector, as_detector
from ganlib.data.fields import Image
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.registry import create
from ganlib.training import Batch

torch.set_num_threads(1)


def images(n, seed, size=32):
    """Stripes of one phase with noise."""
    g = torch.Generator().manual_seed(seed)
    stripes = torch.sin(torch.arange(size) / 2.0).expand(size, size)
    return (0.5 * stripes + 0.1 * torch.randn(n, 1, size, size, generator=g)).clamp(-1, 1)


def fitted(*batches, **options):
    torch.manual_seed(0)
    model = create("patch_gaussian", DataSpec.of(Image(*batches[0].shape[1:])), **options)
    model.prepare(Batch({"x": batches[0]}))
    for batch in batches:
        model.count(Batch({"x": batch}))
    return model


@torch.no_grad()
def test_distances_by_hand_and_batches_add_up():
    x = images(120, 0)
    model, parts = fitted(x, channels=8), fitted(x, x[:40], x[40:], channels=8)
    f = model.features(x).double()
    own = torch.stack([torch.cov(f[:, p].T, correction=0) for p in range(f.shape[1])])
    shrunk = (120 * own + 16 * own.mean(0)) / 136 + 0.01 * torch.eye(8)
    gap = f - f.mean(0)
    exact = torch.einsum("npi,pij,npj->np", gap, torch.linalg.inv(shrunk), gap) / 8
    scorer = model.scorer()
    assert torch.allclose(scorer.map(x).flatten(1).double(), exact, rtol=1e-3, atol=1e-3)
    assert torch.allclose(scorer(x).double(), exact.pow(4).mean(1).pow(0.25), rtol=1e-3)
    assert torch.allclose(parts.means, model.means, atol=1e-5) and torch.allclose(parts.second, model.second, atol=1e-4)


@torch.no_grad()
def test_the_map_is_highest_where_a_patch_was_changed():
    model, x = fitted(images(200, 0)), images(20, 1)
    scorer, locator = model.scorer(), model.locator()
    odd = x.clone()
    odd[:, :, 8:14, 20:26] = odd[:, :, 8:14, 20:26].flip(3).transpose(2, 3)
    assert scorer(odd).min() > scorer(x).max()
    highest = locator(odd).flatten(1).argmax(1)
    rows, columns = highest // 8, highest % 8
    assert ((rows - 2.25).abs() <= 2).all() and ((columns - 5.25).abs() <= 2).all()


def test_sizes_that_cannot_be_are_rejected():
    with pytest.raises(ConfigError, match="8 are needed"):
        create("patch_gaussian", DataSpec.of(Image(1, 6, 32)))
    with pytest.raises(ConfigError, match="too much for a file"):
        create("patch_gaussian", DataSpec.of(Image(3, 1024, 1024)))


@pytest.mark.trained
def test_estimators_map_the_pixels_of_images_in_any_layout():
    x = images(300, 0)
    pixels = ((x[:, 0] + 1) * 127.5).round().to(torch.uint8).numpy()
    detector = AutoDetector(alpha=0.05).fit(pixels)
    assert list(detector.members_) == ["principal_mixture", "ldcof", "patch_gaussian", "blended_patches"]
    odd = pixels[:4].copy()
    odd[:, 12:18, 12:18] = np.swapaxes(odd[:, 12:18, 12:18], 1, 2)
    found = detector.anomaly_map(odd)
    assert found.shape == (4, 32, 32) and found.dtype == np.float32
    rows, columns = np.unravel_index(found.reshape(4, -1).argmax(1), (32, 32))
    assert (abs(rows - 15) <= 6).all() and (abs(columns - 15) <= 6).all()
    alone = as_detector("patch_gaussian", alpha=0.05).fit(pixels)
    assert alone.anomaly_map(odd).shape == (4, 32, 32)
    # 1 is what a share alpha of normal images exceeds somewhere.
    assert (found.max((1, 2)) > 1).all() and (detector.anomaly_map(pixels[:100]).max((1, 2)) > 1).mean() < 0.15
    with pytest.raises(NotFittedError):
        AutoDetector().anomaly_map(odd)


def test_places_that_differ_from_each_other_keep_their_variance():
    """Moments about a common mean would lose it in float32, and no factor of the covariances would be found."""
    noise = torch.randn(200, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    x = torch.linspace(-0.5, 0.5, 32) + 0.06 * noise
    model = fitted(x)
    assert 0.5 < model.locator()(x).median() < 2
