"""Reparameterised samples and the normal distribution function, against closed forms."""

import pytest
import torch

from ganlib.nn.gaussian import normal_cdf, reparameterise


def test_samples_have_the_moments_asked_for_and_pass_gradients():
    g = torch.Generator().manual_seed(0)
    mean, log_variance = torch.tensor([1.0, -2.0], requires_grad=True), torch.tensor([0.0, 2.0], requires_grad=True)
    z = reparameterise(mean, log_variance, torch.randn(200_000, 2, generator=g))
    assert z.mean(0).tolist() == pytest.approx([1.0, -2.0], abs=0.03)
    assert z.var(0).log().tolist() == pytest.approx([0.0, 2.0], abs=0.02)
    z.square().mean(0).sum().backward()  # E z^2 = mean^2 + variance: slopes 2 mean, variance
    assert mean.grad.tolist() == pytest.approx([2.0, -4.0], abs=0.1)
    assert log_variance.grad.tolist() == pytest.approx([1.0, 7.389], rel=0.03)


def test_the_distribution_function_is_that_of_scipy():
    from scipy.special import ndtr

    x = torch.linspace(-8, 8, 1001, dtype=torch.float64)
    assert (normal_cdf(x) - torch.as_tensor(ndtr(x.numpy()))).abs().max() < 1e-15
