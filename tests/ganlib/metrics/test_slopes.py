"""The Lipschitz constant from both sides, against singular values known otherwise."""

import pytest
import torch
from torch import nn

from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.metrics.slopes import lipschitz_bound, steepest_slope
from ganlib.registry import create


def test_a_linear_score_is_as_steep_as_its_weights():
    layer = nn.Linear(3, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, -1.0, 2.0]]))
    assert steepest_slope(layer, torch.randn(9, 3)) == pytest.approx(3.0, abs=1e-5)
    assert lipschitz_bound(layer, torch.zeros(1, 3)) == pytest.approx(3.0, abs=1e-4)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(5, 4), (5,)),
        (nn.Conv2d(2, 3, 3, 2, 1), (2, 6, 6)),
        (nn.Conv1d(2, 3, 4, 2, 1), (2, 8)),
        (nn.ConvTranspose2d(2, 3, 4, 2, 1), (2, 4, 4)),
    ],
    ids=lambda v: type(v).__name__,
)
def test_operator_norms_are_those_of_the_dense_matrix(layer, shape):
    torch.manual_seed(0)
    layer.reset_parameters()
    size = torch.zeros(shape).numel()
    basis = torch.eye(size).view(size, *shape)
    with torch.no_grad():
        dense = (layer(basis) - layer(torch.zeros(1, *shape))).flatten(1)
    expected = float(torch.linalg.svdvals(dense)[0])
    assert lipschitz_bound(layer, torch.zeros(1, *shape)) == pytest.approx(expected, rel=1e-3)


def test_the_two_bounds_hold_a_critic_between_them():
    torch.manual_seed(0)
    critic = create("gan", DataSpec.vector(2), hidden=(32, 32)).critic
    x = torch.randn(500, 2)
    below, above = steepest_slope(lambda v: critic(v, None), x), lipschitz_bound(critic, x)
    assert 0 < below <= above
    far = torch.randn(2000, 2) * 3
    with torch.no_grad():
        rise = (critic(far[:1000], None) - critic(far[1000:], None)).abs().view(-1)
    assert (rise / (far[:1000] - far[1000:]).norm(dim=1)).max() <= above


def test_spectral_norm_bounds_a_critic_by_one():
    torch.manual_seed(0)
    critic = create("gan", DataSpec.vector(2), hidden=(32, 32), spectral_norm=True).critic
    assert lipschitz_bound(critic, torch.zeros(1, 2)) == pytest.approx(1.0, abs=0.02)


def test_what_it_cannot_bound_is_refused():
    with pytest.raises(ConfigError, match="BatchNorm1d has no known bound"):
        lipschitz_bound(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), torch.zeros(1, 2))
    twice = nn.Linear(2, 2)
    with pytest.raises(ConfigError, match="each layer once"):
        lipschitz_bound(nn.Sequential(twice, nn.ReLU(), twice), torch.zeros(1, 2))
