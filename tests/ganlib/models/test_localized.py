"""Charts: tangents by their definition, what changes along them, and networks that a chart cannot have."""

import pytest
import torch

from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.registry import create


def chart(**options):
    torch.manual_seed(0)
    return create("localized_gan", DataSpec.vector(3), latent_dim=2, hidden=(16,), **options)


def test_tangents_are_differences_of_neighbours():
    model, x = chart().double(), torch.randn(5, 3, dtype=torch.float64)
    step = 1e-6 * torch.eye(2, dtype=torch.float64)
    for index in range(2):
        ends = [model.neighbours(x, sign * step[index].expand(5, 2)) for sign in (1, -1)]
        assert torch.allclose(model.tangents(x)[:, :, index], (ends[0] - ends[1]) / 2e-6, atol=1e-6)


def test_roughness_of_a_linear_map_is_its_rise_along_the_tangents():
    model, x = chart(), torch.randn(7, 3)
    linear = torch.nn.Linear(3, 4)
    expected = (linear.weight @ model.tangents(x)).square().sum((1, 2)).mean()
    found = model.roughness(linear, x)
    assert torch.allclose(found, expected, rtol=1e-4)
    (slope,) = torch.autograd.grad(found, linear.weight)
    assert slope.abs().max() > 0
    assert float(model.roughness(lambda v: torch.ones(len(v), 4), x)) == 0


def test_the_sampler_is_asked_with_examples():
    model, x = chart(reach=0.3), torch.randn(6, 3)
    sampler, z = model.sampler(), torch.randn(6, 2)
    assert sampler.by_example and torch.allclose(sampler(z, x), model.neighbours(x, 0.3 * z), atol=1e-6)
    assert model.around(x, 4).shape == (24, 3)


@pytest.mark.parametrize("norm", ["batch", "virtual"])
def test_norms_that_mix_examples_are_refused(norm):
    with pytest.raises(ConfigError, match="one example's own"):
        chart(generator_norm=norm)
