"""Networks from image to image: sides, connections, patches."""

import pytest
import torch
from torch.nn.functional import interpolate

from ganlib.errors import ConfigError
from ganlib.export.network import export_network
from ganlib.nn.architecture import NetOptions
from ganlib.nn.patch import PatchCritic, PyramidCritic
from ganlib.nn.resize import Resize, beside
from ganlib.nn.unet import UNet

torch.set_num_threads(1)
SMALL = NetOptions(width=4, norm="batch", dropout=0.5)


@pytest.mark.parametrize(
    ("before", "after"), [((8, 6), (16, 12)), ((9, 7), (5, 7)), ((32, 32), (8, 8)), ((5, 5), (5, 5))]
)
def test_resizing_is_bilinear_interpolation(before, after):
    x = torch.rand(2, 3, *before)
    wanted = interpolate(x, after, mode="bilinear", antialias=True)
    assert torch.allclose(Resize(before, after)(x), wanted, atol=1e-5)
    assert torch.allclose(Resize(before, after)(torch.ones_like(x)), torch.ones(2, 3, *after), atol=1e-5)


@pytest.mark.parametrize(
    ("source", "target"), [((3, 16, 16), (1, 32, 32)), ((1, 20, 12), (2, 13, 9)), ((1, 8, 8), (3, 8, 8))]
)
def test_a_unet_gives_the_targets_shape_and_can_be_exported(source, target):
    torch.manual_seed(0)
    net = UNet(source, target, SMALL).eval()
    x = torch.rand(2, *source)
    assert net(x).shape == (2, *target)
    export_network(net, x)


def test_every_level_of_a_unet_reaches_its_output():
    """Without the innermost levels, the outer connections alone carry detail."""
    torch.manual_seed(0)
    net = UNet((1, 16, 16), (1, 16, 16), NetOptions(width=4), latent=3)
    x, z = torch.rand(2, 1, 16, 16, requires_grad=True), torch.rand(2, 3, requires_grad=True)
    net(x, z).sum().backward()
    assert x.grad.abs().sum() > 0 and z.grad.abs().sum() > 0
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in net.parameters())


@pytest.mark.parametrize(("layers", "reach"), [(1, 16), (2, 34), (3, 70)])
def test_a_patch_has_the_papers_size(layers, reach):
    torch.manual_seed(0)
    critic = PatchCritic((1, 96, 96), options=NetOptions(width=2), layers=layers)
    x = torch.rand(1, 1, 96, 96, requires_grad=True)
    scores = critic(x)
    row = scores.shape[2] // 2
    scores[0, 0, row, row].backward()
    rows = torch.nonzero(x.grad[0, 0].abs().sum(1))
    assert int(rows.max() - rows.min()) + 1 == reach


@pytest.mark.parametrize("condition", [0, 5, (2, 16, 16), (2, 7, 9)])
def test_a_patch_critic_reads_its_condition(condition):
    torch.manual_seed(0)
    critic = PatchCritic((1, 16, 16), condition, NetOptions(width=4), layers=2)
    x = torch.rand(2, 1, 16, 16)
    if not condition:
        assert critic(x).shape[:2] == (2, 1) and critic.features(x).shape == (2, 16)
        return
    given = [torch.rand(2, condition) if isinstance(condition, int) else torch.rand(2, *condition) for _ in range(2)]
    assert not torch.equal(critic(x, given[0]), critic(x, given[1]))


def test_a_pyramid_judges_each_scale():
    torch.manual_seed(0)
    critic = PyramidCritic((1, 32, 32), (2, 32, 32), NetOptions(width=4), layers=1, scales=2)
    x, given = torch.rand(2, 1, 32, 32), torch.rand(2, 2, 32, 32)
    options, patches = NetOptions(width=4), 0
    for side in (32, 16):
        patches += PatchCritic((3, side, side), options=options, layers=1)(torch.rand(1, 3, side, side)).numel()
    assert critic(x, given).shape == (2, patches) and critic.features(x, given).shape == (2, 16)


def test_images_too_small_are_rejected_with_the_fix():
    with pytest.raises(ConfigError, match="needs sides of 24: set layers=2"):
        PatchCritic((1, 16, 16))
    with pytest.raises(ConfigError, match="sides from 4"):
        UNet((1, 3, 3), (1, 8, 8), SMALL)
    with pytest.raises(ConfigError, match="resize it"):
        PyramidCritic((1, 32, 32), (1, 16, 16))


def test_conditions_stand_beside_the_channels():
    x, planes = torch.rand(2, 1, 4, 4), beside(torch.rand(2, 1, 4, 4), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert planes.shape == (2, 3, 4, 4) and (planes[1, 2] == 4).all()
    assert torch.equal(beside(x, x)[:, 1:], x) and beside(x, None) is x
