"""Soft histograms and the distance between them, on closed forms."""

import torch

from ganlib.losses.histogram import histogram_distance, soft_histogram


def test_shares_add_up_keep_the_mean_and_lie_at_centres():
    values = torch.rand(3, 50, generator=torch.Generator().manual_seed(0)) * 4 - 1
    shares, centres = soft_histogram(values, -1.0, 3.0, 9), torch.linspace(-1, 3, 9)
    assert torch.allclose(shares.sum(1), torch.ones(3), atol=1e-6)
    assert torch.allclose((shares * centres).sum(1), values.mean(1), atol=1e-5)
    at = soft_histogram(torch.tensor([[0.0, 0.5, 2.0, 2.25]]), 0.0, 2.0, 5)
    assert torch.allclose(at, torch.tensor([[0.25, 0.25, 0.0, 0.0, 0.5]]))  # what is beyond the range counts at its end


def test_the_distance_is_the_shift_of_a_distribution():
    values = torch.rand(4, 200, generator=torch.Generator().manual_seed(1))
    first, second = (soft_histogram(v, -1.0, 3.0, 81) for v in (values, values + 0.7))
    assert torch.allclose(histogram_distance(first, second, 0.05), torch.full((4,), 0.7), atol=1e-4)
    assert not histogram_distance(first, first, 0.05).any()


def test_the_gradient_crosses_empty_bins():
    values = torch.zeros(1, 4, requires_grad=True)
    wanted = soft_histogram(torch.full((1, 4), 1.53), -1.0, 2.0, 31)
    histogram_distance(soft_histogram(values + 0.03, -1.0, 2.0, 31), wanted, 0.1).sum().backward()
    assert torch.allclose(values.grad, torch.full((1, 4), -0.25), atol=1e-5)
