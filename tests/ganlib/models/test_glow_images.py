"""The flow of images: its layers, its exactness after training, and its messages."""

import math

import pytest
import torch

from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.models.flow.image_layers import EveryPixel, Mix, squeeze, unsqueeze
from ganlib.registry import create
from ganlib.testing.problems import digits
from ganlib.training import Batch, Trainer, TrainerConfig

IMAGES = DataSpec.image(1, 8, 8)
SMALL = {"flow_steps": 2, "width": 8, "shades": 17}


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    model = create("glow_images", IMAGES, **SMALL, score="typicality")
    Trainer(TrainerConfig(steps=40, batch_size=64)).fit(model, {"x": digits(0)[0]})
    return model.eval()


def test_squeezing_makes_channels_of_blocks_and_is_undone():
    x = torch.arange(2 * 3 * 4 * 6.0).view(2, 3, 4, 6)
    assert squeeze(x).shape == (2, 12, 2, 3) and torch.equal(unsqueeze(squeeze(x)), x)
    assert squeeze(x)[0, :4, 0, 0].tolist() == x[0, 0, :2, :2].flatten().tolist()


def test_a_mix_is_a_rotation_at_first_and_knows_its_determinant_later():
    torch.manual_seed(0)
    mix = Mix(6, torch.Generator().manual_seed(0))
    weight = mix.weight()
    assert torch.allclose(weight @ weight.T, torch.eye(6), atol=1e-5)
    with torch.no_grad():
        for parameter in mix.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    x = torch.randn(5, 6)
    y, log_det = mix(x)
    assert torch.allclose(log_det, torch.linalg.slogdet(mix.weight()).logabsdet, atol=1e-5)
    assert torch.allclose(mix.inverse(y), x, atol=1e-4)


def test_channels_are_standardised_over_all_pixels_and_counted_at_each():
    x = 3 * torch.randn(16, 4, 5, 7, generator=torch.Generator().manual_seed(0)) + 2
    layer = EveryPixel(4, torch.Generator().manual_seed(0))
    layer.initialise(x)
    with torch.no_grad():
        y, log_det = layer(x)  # a rotation changes neither the mean nor the sum of variances
    assert torch.allclose(y.mean((0, 2, 3)), torch.zeros(4), atol=1e-5)
    assert abs(float(y.var((0, 2, 3)).sum()) - 4) < 1e-2
    assert torch.allclose(log_det, 35 * layer.norm.log_scale.sum(), atol=1e-3)
    fixed, still = layer.fixed()(x)
    assert torch.allclose(fixed, y, atol=1e-4) and torch.allclose(still, log_det, atol=1e-3)
    assert torch.allclose(layer.inverse(y), x, atol=1e-4) and torch.allclose(layer.fixed().inverse(y), x, atol=1e-4)


def test_a_trained_flow_of_images_inverts_and_knows_its_jacobian(trained):
    x = digits(0, "test")[0][:64]
    with torch.no_grad():
        z, log_det = trained.flow(x)
        assert z.shape == (64, 64) and float((trained.inverse(z) - x).abs().max()) < 1e-5
        frozen = trained.frozen()
        assert float((frozen.inverse(z) - x).abs().max()) < 1e-5
        assert torch.allclose(frozen.log_prob(x), trained.log_prob(x), rtol=1e-4, atol=1e-3)
    jacobian = torch.autograd.functional.jacobian(lambda v: trained.flow(v[None])[0][0], x[0]).flatten(1)
    assert abs(float(torch.linalg.slogdet(jacobian).logabsdet - log_det[0])) < 1e-3


def test_bits_are_those_of_the_density_over_a_shade(trained):
    x = digits(0, "test")[0][:8]
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(3)) - 0.5
    with torch.no_grad():
        bits = trained.bits(x, torch.Generator().manual_seed(3))
        wanted = -(trained.log_prob(x + noise / 8) + 64 * math.log(1 / 8)) / (64 * math.log(2))
    assert torch.allclose(bits, wanted, atol=1e-5)


def test_the_noise_is_as_wide_as_a_shade():
    model = create("glow_images", IMAGES, **SMALL)
    x = digits(0)[0][:200]
    gap = model.noisy(Batch({"x": x}, torch.Generator().manual_seed(0))) - x
    assert float(gap.abs().max()) <= 1 / 16 and abs(float(gap.std()) - 1 / 8 / math.sqrt(12)) < 1e-3


def test_typicality_is_measured_on_images_without_noise(trained):
    x = digits(0, "test")[0][:64]
    with torch.no_grad():
        score = trained.scorer()(x)
        assert torch.allclose(score, (-trained.log_prob(x) - trained.usual).abs(), rtol=1e-4, atol=1e-2)
        assert trained.sampler()(torch.randn(5, 64)).abs().max() <= 1


@pytest.mark.parametrize(("side", "scales"), [(8, 3), (28, 2), (14, 1), (4, 2)])
def test_there_are_as_many_scales_as_sides_can_be_halved(side, scales):
    scale, found = create("glow_images", DataSpec.image(1, side, side), flow_steps=1, width=4, scales=9).layers[0], 0
    while scale is not None:
        found, scale = found + 1, scale.rest
    assert found == scales


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (DataSpec.image(1, 9, 8), {}, "so both must be even"),
        (DataSpec.vector(4), {}, "reads image, not vector"),
        (IMAGES, {"shades": 1}, "256 for 8-bit pixels"),
    ],
)
def test_what_cannot_be_halved_is_an_error(spec, options, message):
    with pytest.raises(ConfigError, match=message):
        create("glow_images", spec, **options)
