"""Warped images against torch's sampling, and maps from points against known turns."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import affine_grid, grid_sample

from ganlib.export.network import export_network
from ganlib.nn.warp import AffineWarp, peaks, similarity

torch.set_num_threads(1)


def maps(n):
    g = torch.Generator().manual_seed(0)
    return torch.eye(2, 3) + 0.4 * torch.randn(n, 2, 3, generator=g)


@pytest.mark.parametrize("sides", [(8, 8), (6, 11)])
@pytest.mark.parametrize("start", [maps(5), torch.eye(2, 3).repeat(5, 1, 1)], ids=["random", "identity"])
def test_warping_is_bilinear_sampling(sides, start):
    images, given = torch.rand(5, 3, *sides, requires_grad=True), start.clone().requires_grad_()
    other, theirs = images.detach().clone().requires_grad_(), given.detach().clone().requires_grad_()
    made = AffineWarp(sides)(images, given)
    wanted = grid_sample(other, affine_grid(theirs, [5, 3, *sides], align_corners=False), align_corners=False)
    assert torch.allclose(made, wanted, atol=1e-5)
    weight = torch.rand(made.shape)
    (made * weight).sum().backward()
    (wanted * weight).sum().backward()
    assert torch.allclose(images.grad, other.grad, atol=1e-4) and given.grad.abs().min() > 0
    if len(given.unique()) > 2:  # rounding decides the side at the centres of pixels
        assert torch.allclose(given.grad, theirs.grad, atol=1e-3)


def test_the_identity_changes_nothing_and_a_shift_moves_pixels():
    images, same = torch.rand(2, 1, 6, 8), torch.eye(2, 3).expand(2, 2, 3)
    assert torch.allclose(AffineWarp((6, 8))(images, same), images, atol=1e-6)
    shifted = same + torch.tensor([[0, 0, 2 / 8], [0, 0, 0.0]])  # one column to the right in the source
    moved = AffineWarp((6, 8))(images, shifted)
    assert torch.allclose(moved[..., :-1], images[..., 1:], atol=1e-5) and not moved[..., -1].any()


def test_a_similarity_is_found_from_two_points_or_more():
    g, angle = torch.Generator().manual_seed(0), 0.7
    points = torch.randn(1, 4, 2, generator=g)
    turn = 1.3 * torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    moved = points @ turn.T + torch.tensor([0.2, -0.5])
    for k in (2, 4):
        found = similarity(points[:, :k], moved[:, :k])[0]
        assert torch.allclose(found, torch.cat([turn, torch.tensor([[0.2], [-0.5]])], 1), atol=1e-4)


def test_peaks_are_where_a_map_is_high():
    bumps = torch.zeros(1, 2, 8, 8)
    bumps[0, 0, 1, 6] = bumps[0, 1, 3:5, 3:5] = 1.0
    assert torch.allclose(peaks(bumps), torch.tensor([[[0.625, -0.625], [0.0, 0.0]]]), atol=1e-5)
    assert not peaks(torch.zeros(1, 1, 4, 4)).any()  # a map without weight has its peak in the middle


@pytest.mark.slow
def test_a_warp_by_points_can_be_exported():
    class Moves(nn.Module):
        def __init__(self):
            super().__init__()
            self.warp = AffineWarp((6, 6))

        def forward(self, x):
            return self.warp(x[:, :1], similarity(peaks(x[:, 1:3].relu()), peaks(x[:, 3:].relu())))

    export_network(Moves(), torch.rand(2, 5, 6, 6))
