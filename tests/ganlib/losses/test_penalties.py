"""Slope penalties on critics whose slope is known."""

import math

import pytest
import torch

from ganlib.errors import ConfigError
from ganlib.losses.penalties import PENALTIES, penalty, slopes
from ganlib.training import Batch

X = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
MADE = torch.randn(64, 3, generator=torch.Generator().manual_seed(1))


def batch():
    return Batch({"x": X}, torch.Generator().manual_seed(2))


def linear(*slope):
    weight = torch.tensor(slope)
    return lambda x: x @ weight.unsqueeze(1)


@pytest.mark.parametrize(
    ("name", "steep", "flat"),
    [("two_sided", 16.0, 0.25), ("one_sided", 16.0, 0.0), ("dragan", 16.0, 0.25), ("zero_centred", 12.5, 0.125)],
)
def test_linear_critics(name, steep, flat):
    """Slopes of 5 and 0.5: (5 - 1)², (0.5 - 1)², and half the square for the zero-centred one."""
    value = penalty(name).value
    assert value(linear(3.0, 4.0, 0.0), X, MADE, batch()).item() == pytest.approx(steep, abs=1e-4)
    assert value(linear(0.5, 0.0, 0.0), X, MADE, batch()).item() == pytest.approx(flat, abs=1e-5)


def test_chords_of_a_linear_critic_are_no_steeper_than_its_slope():
    """Each chord's slope is |cos| times the gradient's norm, so a slope of 1 leaves E (|cos| - 1)² of 1/3 in space."""
    isotropic = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(3))
    rows = Batch({"x": isotropic}, torch.Generator().manual_seed(4))
    value = penalty("difference_quotient").value(linear(1.0, 0.0, 0.0), isotropic, isotropic, rows)
    assert value.item() == pytest.approx(1 / 3, abs=0.02)


@pytest.mark.parametrize("dim", [2, 16, 784])
def test_the_difference_quotient_does_not_aim_at_slope_1(dim):
    """Its card's formula against the linear critic of least penalty, by least squares of 1 on the chords' slopes."""
    points = torch.randn(4000, dim, generator=torch.Generator().manual_seed(5))
    rows = Batch({"x": points}, torch.Generator().manual_seed(6))

    def value(slope):
        rows.generator.manual_seed(6)
        weight = torch.zeros(dim)
        weight[0] = slope
        return penalty("difference_quotient").value(linear(*weight), points, points, rows).item()

    # The penalty is a quadratic a s² - 2 b s + 1 of the slope s, least at b / a.
    half, whole = value(0.5), value(1.0)
    a = 2 * (whole - 2 * half + 1)
    b = (a + 1 - whole) / 2
    wanted = dim * math.exp(math.lgamma(dim / 2) - math.lgamma((dim + 1) / 2)) / math.sqrt(math.pi)
    assert b / a == pytest.approx(wanted, rel=0.05)
    card = PENALTIES["difference_quotient"].source
    assert dim == 16 or f"{wanted:.{2 if dim == 2 else 0}f} for {dim}" in card


def moved(weight, index, by, value):
    with torch.no_grad():
        weight[index] += by
    result = value().item()
    with torch.no_grad():
        weight[index] -= by
    return result


@pytest.mark.parametrize("name", sorted(PENALTIES))
def test_weights_get_the_gradient_of_the_value(name):
    """Double backward, against differences."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Softplus(), torch.nn.Linear(8, 1)).double()
    x, made = X.double(), MADE.double()

    def value():
        return penalty(name).value(net, x, made, Batch({"x": x}, torch.Generator().manual_seed(2)))

    value().backward()
    weight = net[0].weight
    for index in ((0, 0), (5, 2)):
        up, down = (moved(weight, index, by, value) for by in (1e-5, -1e-5))
        assert weight.grad[index].item() == pytest.approx((up - down) / 2e-5, rel=1e-3, abs=1e-7)


def test_slopes_of_a_quadratic():
    assert torch.allclose(slopes(lambda x: x.square().sum(1), X), 2 * X.norm(dim=1), atol=1e-5)


def test_unknown_name():
    with pytest.raises(ConfigError, match="choose none, difference_quotient"):
        penalty("gradient")
