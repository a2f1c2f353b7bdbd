"""The rational-quadratic spline against its formulas."""

import numpy as np
import pytest
import torch

from ganlib.data.spec import DataSpec
from ganlib.models.flow.spline_flow import RationalSpline
from ganlib.registry import create
from ganlib.training import Batch

BINS, BOUND = 5, 3.0
BEFORE = torch.ones(BINS, BINS, dtype=torch.float64).triu(1)


def spline(seed=0, rows=200, spread=2.0):
    raw = spread * torch.randn(
        rows, 1, 3 * BINS - 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    return RationalSpline(raw, BEFORE, BOUND)


def test_zeros_give_the_identity():
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)[:, None]
    y, log_slope = RationalSpline(torch.zeros(101, 1, 3 * BINS - 1, dtype=torch.float64), BEFORE, BOUND).forward(x)
    assert torch.allclose(y, x, atol=1e-12) and log_slope.abs().max() < 1e-9


def test_the_slope_is_the_derivative_and_the_inverse_undoes_it():
    bent = spline()
    x = torch.linspace(-4, 4, 200, dtype=torch.float64)[:, None].requires_grad_()
    y, log_slope = bent.forward(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(slope.log(), log_slope, atol=1e-8)
    assert torch.allclose(bent.inverse(y), x, atol=1e-9)


def test_knots_are_met_and_values_beyond_the_bound_unchanged():
    bent = spline(rows=1)
    edges = torch.cat([bent.lefts[0, 0], torch.tensor([BOUND], dtype=torch.float64)])
    heights = torch.cat([bent.floors[0, 0], torch.tensor([BOUND], dtype=torch.float64)])
    assert torch.allclose(bent.forward(edges[:, None])[0][:, 0], heights, atol=1e-12)
    far = torch.tensor([[-7.0], [3.5]], dtype=torch.float64)
    assert torch.equal(bent.forward(far)[0], far) and torch.equal(bent.inverse(far), far)


@pytest.mark.parametrize("mixing", ["linear", "reverse"])
def test_a_perturbed_flow_is_inverted_within_1e_5(mixing):
    torch.manual_seed(0)
    model = create("spline_flow", DataSpec.vector(5), mixing=mixing)
    x = torch.randn(300, 5)
    model.prepare(Batch({"x": x}, torch.Generator().manual_seed(0)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
        z, log_det = model.flow(x)
        assert (model.inverse(z) - x).abs().max() < 1e-5
    jacobian = torch.autograd.functional.jacobian(lambda v: model.flow(v[None])[0][0], x[0])
    assert log_det[0] == pytest.approx(np.linalg.slogdet(jacobian.numpy())[1], abs=1e-4)
