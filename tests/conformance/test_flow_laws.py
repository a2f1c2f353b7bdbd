"""Flows invert, their log-determinants are the Jacobian's, and their density integrates to one, after training."""

import pytest
import torch

from ganlib.registry import entry
from ganlib.training import Trainer, TrainerConfig

pytestmark = pytest.mark.trained


@pytest.fixture(scope="module")
def trained():
    glow = entry("glow")
    torch.manual_seed(0)
    algorithm = glow.create(glow.toy.spec)
    Trainer(TrainerConfig(epochs=20, batch_size=256)).fit(algorithm, glow.toy.data(0))
    return algorithm, glow.toy.data(1)["x"]


@torch.no_grad()
def test_inverts(trained):
    algorithm, x = trained
    z, _ = algorithm.flow(x)
    assert (algorithm.inverse(z) - x).abs().max() < 1e-4


def test_log_determinant_is_the_jacobians(trained):
    algorithm, x = trained
    for row in x[:8]:
        jacobian = torch.autograd.functional.jacobian(lambda v: algorithm.flow(v[None])[0][0], row)
        expected = torch.linalg.slogdet(jacobian).logabsdet
        assert algorithm.flow(row[None])[1].item() == pytest.approx(expected.item(), abs=1e-4)


@torch.no_grad()
def test_density_integrates_to_one(trained):
    algorithm, _ = trained
    side = torch.linspace(-5, 6, 600)
    grid = torch.cartesian_prod(side, side)
    mass = algorithm.log_prob(grid).exp().sum() * (side[1] - side[0]) ** 2
    assert mass.item() == pytest.approx(1.0, abs=0.02)
