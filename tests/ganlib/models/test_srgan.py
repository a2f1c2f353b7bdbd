"""SRGAN and its sub-pixel convolutions."""

import numpy as np
import pytest
import torch

from ganlib import as_translator
from ganlib.data.spec import DataSpec, Image, Series
from ganlib.errors import ConfigError, DataError
from ganlib.export import save_sealed, seal_translator
from ganlib.nn.architecture import NetOptions
from ganlib.nn.subpixel import Shuffle, SubpixelResNet, factors
from ganlib.registry import create
from ganlib.training import Batch
from serving.artifact import load_artifact
from serving.translator import Translator

torch.set_num_threads(1)
SMALL = {"width": 4, "blocks": 1, "critic_width": 4, "feature_width": 2}
SPEC = DataSpec({"x": Image(1, 4, 4), "x_b": Image(1, 8, 8)})


@pytest.mark.parametrize("factor", [2, 3])
def test_channels_become_positions_in_torchs_order(factor):
    x = torch.randn(2, 5 * factor**2, 3, 4)
    assert torch.equal(Shuffle(factor, 2)(x), torch.nn.PixelShuffle(factor)(x))
    line = torch.arange(2.0 * 2 * 3 * factor).view(2, 2 * factor, 3)
    made = Shuffle(factor, 1)(line)
    assert made.shape == (2, 2, 3 * factor)
    assert torch.equal(made[:, :, ::factor], line[:, ::factor])  # the first of each position's channels comes first


@pytest.mark.parametrize(
    ("source", "target", "steps"),
    [((1, 7, 7), (1, 28, 28), [2, 2]), ((3, 4, 5), (3, 24, 30), [2, 3]), ((2, 10), (2, 30), [3])],
)
def test_sides_grow_by_products_of_two_and_three(source, target, steps):
    assert factors(source, target) == steps
    net = SubpixelResNet(source, target, NetOptions(width=4, norm="batch"), 1)
    assert net(torch.randn(2, *source)).shape == (2, *target)


@pytest.mark.parametrize("target", [(1, 10, 10), (1, 8, 12), (1, 6, 6), (1, 4, 4), (1, 2, 2), (1, 20, 20)])
def test_other_sizes_are_rejected(target):
    with pytest.raises(ConfigError, match="same whole factor"):
        factors((1, 4, 4), target)


def test_the_budget_is_split_into_features_squared_error_and_game():
    model = create("srgan", SPEC, **SMALL, squared_error=0.25)
    stages = model.stages(100)
    assert [(stage.name, stage.steps) for stage in stages] == [
        ("features", 10),
        ("squared_error", 22),
        ("adversarial", 68),
    ]
    alone = create("srgan", SPEC, **SMALL, content=0.0, adversarial=0.0).stages(100)
    assert [(stage.name, stage.steps) for stage in alone] == [("squared_error", 100)]


def test_the_content_loss_is_the_squared_error_of_features_over_their_mean_square():
    torch.manual_seed(0)
    model = create("srgan", SPEC, **SMALL).eval()
    batch = Batch({"x": torch.rand(6, 1, 4, 4), "x_b": torch.rand(6, 1, 8, 8)}, torch.Generator())
    losses = model.generator_loss(batch)
    wanted, made = (model.perception.encoder(v) for v in (batch["x_b"], model.translate(batch.x)))
    torch.testing.assert_close(losses["content"], (wanted - made).square().mean() / wanted.square().mean())
    assert losses.weights == {"content": 6e-3, "generator": 1e-3}
    losses.total.backward(inputs=list(model.generator.parameters()))
    assert all(p.grad is None for p in model.perception.parameters())


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"x": Image(1, 4, 4), "x_b": Image(3, 8, 8)}, "1 and 3 channels.*pix2pix"),
        ({"x": Image(1, 4, 4), "x_b": Image(1, 10, 10)}, "same whole factor"),
        ({"x": Image(1, 2, 2), "x_b": Image(1, 4, 4)}, "too small for srgan's critic"),
        ({"x": Image(1, 8, 8)}, "x_b"),
    ],
)
def test_examples_that_cannot_be_enlarged_are_rejected(spec, words):
    with pytest.raises(ConfigError, match=words):
        create("srgan", DataSpec(spec))


def test_pairs_are_as_many_on_both_sides():
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8)
    with pytest.raises(DataError, match="20 examples of domain a and 15 of domain b"):
        as_translator("srgan").fit(images, images[:15].repeat(2, 1).repeat(2, 2))


def test_a_sealed_one_enlarges_as_torch_does(tmp_path):
    large = np.random.default_rng(0).integers(0, 256, (20, 16, 16), dtype=np.uint8)
    small = large.reshape(20, 8, 2, 8, 2).mean((2, 4)).astype(np.uint8)
    fitted = as_translator("srgan", **SMALL, steps=4, batch_size=8).fit(small, large)
    report = save_sealed(seal_translator(fitted), tmp_path / "large.onnx")
    made = Translator(load_artifact(report.path)).translate(small)
    assert made.shape == (20, 16, 16) and made.dtype == np.uint8
    assert (np.abs(made.astype(int) - fitted.translate(small)) <= 1).all()


def test_series_are_enlarged():
    model = create("srgan", DataSpec({"x": Series(2, 12), "x_b": Series(2, 36)}), **SMALL).eval()
    assert model.translate(torch.randn(3, 2, 12)).shape == (3, 2, 36)
