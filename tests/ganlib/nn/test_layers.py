"""Layers by their definitions."""

import pytest
import torch
from torch import nn

from ganlib.errors import ConfigError
from ganlib.nn.layers import (
    MinibatchDiscrimination,
    SelfAttention,
    VirtualNorm,
    WithReference,
    bake,
    norm_layer,
    parametrise,
)


def test_attention_is_the_identity_at_first_and_mixes_positions_then():
    torch.manual_seed(0)
    layer, x = SelfAttention(16), torch.randn(2, 16, 5, 6)
    assert torch.equal(layer(x), x)
    with torch.no_grad():
        layer.gamma.fill_(1.0)
    moved = x.clone()
    moved[:, :, 0, 0] += 1.0
    assert not torch.allclose(layer(x)[:, :, 4, 5], layer(moved)[:, :, 4, 5])


def test_attention_by_hand():
    """One position attends to itself alone, so that the output is x + gamma · o(h(x))."""
    layer, x = SelfAttention(8, dims=1), torch.randn(3, 8, 1)
    with torch.no_grad():
        layer.gamma.fill_(0.5)
    assert torch.allclose(layer(x), x + 0.5 * layer.output(layer.value(x)), atol=1e-6)


def test_minibatch_discrimination_tells_a_collapsed_batch():
    torch.manual_seed(0)
    layer = MinibatchDiscrimination(6, 4)
    same, apart = layer(torch.ones(5, 6)), layer(100 * torch.randn(5, 6))
    assert same.shape == (5, 10) and torch.equal(same[:, :6], torch.ones(5, 6))
    assert torch.allclose(same[:, 6:], torch.full((5, 4), 4.0))
    assert (apart[:, 6:] < 0.5).all()


def test_virtual_norm_knows_its_reference_and_the_example_only():
    torch.manual_seed(0)
    net = WithReference(nn.Sequential(VirtualNorm(3, 8)), 3, 0, 8)
    net.net.forward = lambda z, c: net.net[0](z)
    net.remember(torch.randn(20, 3) * 2 + 1, None)
    x = torch.randn(5, 3)
    assert torch.allclose(net(x), torch.cat([net(x[:2]), net(x[2:])]), atol=1e-6)
    mean, second = net.inputs.mean(0), net.inputs.square().mean(0)
    m, s = (8 * mean + x) / 9, (8 * second + x.square()) / 9
    assert torch.allclose(net(x), (x - m) / (s - m.square() + 1e-5).sqrt(), atol=1e-5)


@pytest.mark.parametrize("layer", [nn.Linear(6, 4), nn.Conv2d(3, 5, 3), nn.ConvTranspose2d(3, 5, 4, 2, 1)])
def test_spectral_norm_is_one_after_twenty_iterations(layer):
    torch.manual_seed(0)
    holder = nn.Sequential(layer)
    parametrise(holder, "spectral")
    shape = (2, 6) if isinstance(layer, nn.Linear) else (2, 3, 8, 8)
    for _ in range(20):
        layer(torch.randn(shape))
    weight = layer.weight.detach()
    matrix = weight.transpose(0, 1).flatten(1) if isinstance(layer, nn.ConvTranspose2d) else weight.flatten(1)
    assert torch.linalg.svdvals(matrix)[0].item() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("how", ["spectral", "weight"])
def test_baked_weights_give_the_same(how):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    parametrise(net, how)
    net.eval()
    x = torch.randn(3, 6)
    baked = bake(net)
    assert torch.allclose(baked(x), net(x), atol=1e-6)
    assert all("parametrizations" not in name for name in baked.state_dict())
    assert any("parametrizations" in name for name in net.state_dict())
    net.train()(x).sum().backward()


def test_unknown_norm():
    with pytest.raises(ConfigError, match="no normalisation is called 'group'"):
        norm_layer("group", 4, 2)
