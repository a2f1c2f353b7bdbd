"""Synthetic defects: what they change, what they mark, and that a network trained on them finds others."""

import pytest
import torch

from ganlib.data.fields import Image
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.metrics.detection import auroc
from ganlib.registry import create
from ganlib.training import Batch, Trainer, TrainerConfig


def images(n, seed, size=32):
    """Stripes of one phase with noise."""
    g = torch.Generator().manual_seed(seed)
    stripes = torch.sin(torch.arange(size) / 2.0).expand(size, size)
    return (0.5 * stripes + 0.1 * torch.randn(n, 1, size, size, generator=g)).clamp(-1, 1)


def made(n=200, size=32, **options):
    torch.manual_seed(0)
    model = create("blended_patches", DataSpec.of(Image(1, size, size)), **options)
    x = images(n, 0, size)
    return model, x, Batch({"x": x}, generator=torch.Generator().manual_seed(1))


def test_marks_are_where_pixels_changed_and_some_images_are_whole():
    model, x, batch = made()
    y, t = model.defects(x, batch)
    assert y.shape == x.shape and t.shape == (200, 1, 32, 32) and set(t.unique().tolist()) == {0.0, 1.0}
    assert float(y.min()) >= -1 and float(y.max()) <= 1
    assert ((y - x).abs()[t > 0] > 0.05 * float(x.std())).all()
    whole = ((y - x).flatten(1).abs().amax(1) == 0).float().mean()
    assert 0.2 < float(whole) < 0.45
    marked = t[t.flatten(1).amax(1) > 0].flatten(1).mean(1)
    assert float(marked.min()) < 0.01 and float(marked.max()) > 0.1, "defects differ in size"


def test_masks_are_near_their_place_and_the_same_from_one_seed():
    model, _, batch = made()
    masks = model.masks(batch)
    assert masks.shape == (200, 1, 32, 32) and float(masks.min()) >= 0 and float(masks.max()) <= 1
    assert 0 < float((masks > 0.5).float().mean()) < 0.3
    assert torch.equal(masks, model.masks(made()[2]))


@pytest.mark.trained
def test_a_defect_of_another_kind_is_found_and_located():
    """Trained on blended patches, judged on a patch that is turned; the deviation of pixels is the baseline."""
    model, x, _ = made(300)
    Trainer(TrainerConfig(steps=150, batch_size=16, random_state=0, schedule="cosine")).fit(model, {"x": x})
    usual, odd = images(60, 5), images(60, 6)
    odd[:, :, 8:16, 20:28] = odd[:, :, 8:16, 20:28].transpose(2, 3)
    with torch.no_grad():
        scores = model.scorer()(torch.cat([usual, odd]))
        places = model.locator()(odd)
    truth = torch.arange(120) >= 60
    found = auroc(scores.numpy(), truth.numpy())
    baseline = auroc(torch.cat([usual, odd]).flatten(1).std(1).numpy(), truth.numpy())
    assert found > 0.9 and found > max(baseline, 1 - baseline), (found, baseline)
    rows, columns = places.flatten(1).argmax(1) // 8, places.flatten(1).argmax(1) % 8
    near = ((rows - 2.5).abs() <= 1.5) & ((columns - 5.5).abs() <= 1.5)
    assert places.shape == (60, 8, 8) and float(near.float().mean()) > 0.8


def test_images_that_are_too_small_are_rejected():
    with pytest.raises(ConfigError, match="8 are needed"):
        create("blended_patches", DataSpec.of(Image(1, 6, 32)))
