"""CGAN: its losses by hand, its sampler, its refusals."""

import math

import pytest
import torch

from ganlib.data.spec import Block, DataSpec, Vector
from ganlib.errors import ConfigError
from ganlib.models.gan.cgan import CGAN, CGANConfig
from ganlib.registry import create
from ganlib.training import Batch, Trainer, TrainerConfig

torch.set_num_threads(1)
SPEC = DataSpec.table((Block("a", "number", 0), Block("c", "category", 1, 3)), classes=2)


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


@pytest.mark.trained
def test_it_moves_towards_the_classes():
    """First weights of the seeds 0 to 3 end within 0.05 of the means."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 2
    x = torch.randn(400, 1, generator=generator) * 0.2 + 2.0 * y.unsqueeze(1) - 1.0
    torch.manual_seed(0)
    model = CGAN(
        DataSpec.table((Block("a", "number", 0),), 2),
        CGANConfig(latent_dim=2, hidden=(32,), learning_rate=2e-3),
    )
    Trainer(TrainerConfig(steps=500, batch_size=64, ema=0.98)).fit(model, {"x": x, "y": y})
    sampler = model.sampler()
    with torch.no_grad():
        made = sampler(torch.randn(200, sampler.latent_dim, generator=generator), torch.arange(200) % 2)
    means = [made[c::2].mean().item() for c in range(2)]
    assert means[0] == pytest.approx(-1.0, abs=0.4) and means[1] == pytest.approx(1.0, abs=0.4)


def test_refusals():
    with pytest.raises(ConfigError, match="needs classes"):
        CGAN(DataSpec.vector(2), CGANConfig())
    with pytest.raises(ConfigError, match="no adversarial objective"):
        CGAN(SPEC, CGANConfig(objective="unknown"))


def test_options_that_were_given_are_kept_whatever_their_value():
    """Images have other rates than tables where none is given."""
    images = DataSpec.image(1, 8, 8, classes=2)
    rates = {n: o.learning_rate for n, o in CGAN(images, CGANConfig()).optimisers().items()}
    assert rates == {"critic": 2e-4, "generator": 1e-3}
    chosen = CGAN(images, CGANConfig(learning_rate=5e-4, critic_learning_rate=5e-4)).optimisers()
    assert {o.learning_rate for o in chosen.values()} == {5e-4}
    assert CGAN(DataSpec.vector(2, 2), CGANConfig()).game.noise.deviation == 0.3


def conditional(**config):
    torch.manual_seed(0)
    return create("gan_int_cls", DataSpec.of(Vector(2), attributes=3), latent_dim=4, text_dim=4, hidden=(8,), **config)


def captioned(rows=16):
    generator = torch.Generator().manual_seed(1)
    c = torch.randn(rows, 3, generator=generator)
    return Batch({"x": torch.randn(rows, 2, generator=generator), "c": c}, torch.Generator().manual_seed(2))


def test_wrong_captions_take_half_of_the_fakes_part():
    """log s_r + (log(1 - s_w) + log(1 - s_f)) / 2 (arXiv 1605.05396, algorithm 1); a critic that knows nothing."""
    model = conditional()
    torch.nn.init.zeros_(model.critic.net.head.weight)
    torch.nn.init.constant_(model.critic.net.head.bias, 1.0)
    real, fake = math.log1p(math.exp(-1)), math.log1p(math.exp(1))
    losses = model.critic_loss(captioned())
    assert losses.weights["critic"] == losses.weights["mismatch"] == 0.5
    assert losses.total.item() == pytest.approx(real + (fake + fake) / 2, abs=1e-5)


def test_objectives_numbers_reach_interpolated_captions():
    model = conditional(objective="least_squares", objective_options={"generator_target": 5.0})
    losses = model.generator_loss(captioned())
    assert losses["interpolation"].item() == pytest.approx(losses["generator"].item(), rel=0.3)


def test_captions_train_with_a_reference_batch():
    model = conditional(generator_norm="virtual")
    data = {"x": torch.randn(80, 2), "c": torch.randn(80, 3)}
    Trainer(TrainerConfig(steps=2, batch_size=70)).fit(model, data)
    assert model.generator.inputs.abs().sum() > 0 and model.generator.conditions.abs().sum() > 0


def test_replayed_examples_are_judged_under_their_own_conditions():
    model = CGAN(DataSpec.vector(2, 2), CGANConfig(hidden=(8,), replay=32, instance_noise=0.0))
    seen = []
    model.critic.register_forward_hook(lambda _, given, __: seen.append((given[0].clone(), given[1].clone())))
    batch = Batch({"x": torch.randn(32, 2), "y": torch.ones(32, dtype=torch.int64)}, torch.Generator().manual_seed(0))
    old = torch.full((32, 2), 7.0)
    model.game.replay.push(old, torch.tensor([1.0, 0.0]).expand(32, 2))
    model.critic_loss(batch)
    rows, conditions = (torch.cat(part) for part in zip(*seen, strict=True))
    replayed = (rows == 7).all(1)
    assert 0 < int(replayed.sum()) < 32
    assert (conditions[replayed, 0] == 1).all() and (conditions[~replayed, 1] == 1).all()
