"""CGAN: its losses by hand, its sampler, its refusals."""

import math

import pytest
import torch

from ganlib.data.spec import Block, DataSpec
from ganlib.errors import ConfigError
from ganlib.models.gan.cgan import CGAN, CGANConfig
from ganlib.training import Batch, Trainer, TrainerConfig

torch.set_num_threads(1)
SPEC = DataSpec((4,), (Block("a", "number", 0), Block("c", "category", 1, 3)), 2)


def batch(rows=6):
    x = torch.cat([torch.randn(rows, 1), torch.eye(3)[torch.arange(rows) % 3]], 1)
    return Batch({"x": x, "y": torch.arange(rows) % 2}, torch.Generator().manual_seed(0))


def test_losses_of_a_critic_that_knows_nothing_are_log_2():
    model = CGAN(SPEC, CGANConfig(latent_dim=2, hidden=(4,)))
    with torch.no_grad():
        model.critic.head.weight.zero_()
        model.critic.head.bias.zero_()
    assert model.critic_loss(batch()).total.item() == pytest.approx(2 * math.log(2), abs=1e-6)
    assert model.generator_loss(batch()).total.item() == pytest.approx(math.log(2), abs=1e-6)


def test_both_players_depend_on_the_class():
    torch.manual_seed(0)
    model, z = CGAN(SPEC, CGANConfig(latent_dim=2, hidden=(4,))), torch.randn(3, 2)
    zero, one = torch.tensor([[1.0, 0.0]]).expand(3, 2), torch.tensor([[0.0, 1.0]]).expand(3, 2)
    assert not torch.allclose(model.generator(z, zero), model.generator(z, one))
    x = batch(3).x
    assert not torch.allclose(model.critic(x, zero), model.critic(x, one))


def test_generated_categories_are_probabilities_for_the_critic():
    fake = CGAN(SPEC, CGANConfig(latent_dim=2, hidden=(4,))).made(batch())
    assert torch.allclose(fake[:, 1:].sum(1), torch.ones(6), atol=1e-6)


def test_it_moves_towards_the_classes():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 2
    x = torch.randn(400, 1, generator=generator) * 0.2 + 2.0 * y.unsqueeze(1) - 1.0
    model = CGAN(
        DataSpec((1,), (Block("a", "number", 0),), 2), CGANConfig(latent_dim=2, hidden=(32,), learning_rate=2e-3)
    )
    Trainer(TrainerConfig(steps=500, batch_size=64, ema=0.98)).fit(model, {"x": x, "y": y})
    sampler = model.sampler()
    with torch.no_grad():
        made = sampler(torch.randn(200, sampler.latent_dim, generator=generator), torch.arange(200) % 2)
    means = [made[c::2].mean().item() for c in range(2)]
    assert means[0] == pytest.approx(-1.0, abs=0.4) and means[1] == pytest.approx(1.0, abs=0.4)


def test_refusals():
    with pytest.raises(ConfigError, match="needs labels"):
        CGAN(DataSpec.vector(2), CGANConfig())
    with pytest.raises(ConfigError, match="no adversarial objective"):
        CGAN(SPEC, CGANConfig(objective="unknown"))
