"""The adversarial game as a component, and what it costs a step."""

import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from ganlib.adversarial import Game
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.losses.penalties import PENALTIES, penalty
from ganlib.models.gan.config import GANConfig
from ganlib.models.gan.gan import GAN
from ganlib.models.gan.tricks import Replay
from ganlib.registry import create
from ganlib.training import Batch, Trainer, TrainerConfig

torch.set_num_threads(1)


def some_batch(rows=16):
    return Batch({"x": torch.randn(rows, 2)}, torch.Generator().manual_seed(0))


def test_a_game_of_a_critic_in_closed_form():
    """Critic 2x on data at 1 and fakes at 0.25: least squares gives ½((2 - 1)² + 0.5²) and ½(0.5 - 1)²."""
    game, critic = Game("least_squares"), lambda x: 2 * x
    real, fake = critic(torch.ones(3, 1)), critic(torch.full((3, 1), 0.25))
    assert game.critic_loss(real, fake).item() == pytest.approx(0.625)
    assert game.generator_loss(fake).item() == pytest.approx(0.125)


def test_two_games_in_one_model_keep_their_own_objectives():
    pair = pickle.loads(pickle.dumps(nn.ModuleList([Game("hinge"), Game("least_squares")])))
    score = torch.full((3, 1), 2.0)
    assert [game.generator_loss(score).item() for game in pair] == [-2.0, 0.5]


def test_a_game_rejects_objectives_that_need_more_than_scores():
    with pytest.raises(ConfigError, match="needs more than the critic's scores"):
        Game("began")


@pytest.mark.parametrize(
    ("name", "spec", "critics"),
    [
        ("coupled_pair", DataSpec.vector(2), ("critic_a", "critic_b")),
        ("stackgan", DataSpec.image(1, 8, 8, classes=3), ("critic_one", "critic_two")),
        ("gan_int_cls", DataSpec.vector(2, attributes=2), ("critic",)),
    ],
)
def test_hinge_has_spectral_norm_in_every_critic_and_can_be_pickled(name, spec, critics):
    model = create(name, spec, objective="hinge")
    for critic in critics:
        assert any(map(parametrize.is_parametrized, getattr(model, critic).modules())), critic
    copy = pickle.loads(pickle.dumps(model))
    assert all(torch.equal(value, copy.state_dict()[key]) for key, value in model.state_dict().items())


def test_a_critic_saved_without_its_spectral_norm_is_rejected():
    plain = create("coupled_pair", DataSpec.vector(2), objective="gan")
    with pytest.raises(ConfigError, match="has no spectral norm"):
        create("coupled_pair", DataSpec.vector(2), objective="hinge").load_state_dict(plain.state_dict())


def test_wrong_conditions_that_are_right_by_chance_move_nothing():
    game, condition = Game("hinge"), torch.eye(2)
    score = torch.zeros(2, 1, requires_grad=True)
    game.mismatch_loss(torch.ones(2, 1), score, condition[[0, 0]], condition).backward()
    assert score.grad[0] == 0 and score.grad[1] != 0


@pytest.mark.parametrize("critic_steps", [1, 5])
def test_one_graph_of_the_generator_a_step(critic_steps):
    model = GAN(DataSpec.vector(2), GANConfig(hidden=(8,), critic_steps=critic_steps, replay=8))
    recorded = []
    model.generator.register_forward_hook(lambda *_: recorded.append(torch.is_grad_enabled()))
    Trainer(TrainerConfig(steps=4, batch_size=8, device="cpu")).fit(model, {"x": torch.randn(256, 2)})
    assert recorded.count(True) == 4 and recorded.count(False) == 4 * (critic_steps - 1)


def test_a_replay_pool_reads_its_counter_again_after_loading():
    pool, made = Replay(8, (2,)), torch.ones(16, 2)
    empty = {key: value.clone() for key, value in pool.state_dict().items()}
    pool.push(torch.zeros(4, 2), None)
    assert 0 < pool(made, None, some_batch())[0].mean() < 1
    pool.load_state_dict(empty)
    assert torch.equal(pool(made, None, some_batch())[0], made)


@pytest.mark.parametrize("name", sorted(PENALTIES))
def test_penalties_are_computed_in_float32_under_autocast(name):
    torch.manual_seed(0)
    critic, x, made = (
        nn.Sequential(nn.Linear(2, 16), nn.ELU(), nn.Linear(16, 1)),
        torch.randn(16, 2),
        torch.zeros(16, 2),
    )
    plain = penalty(name)(critic, x, made, Batch({"x": x}, torch.Generator().manual_seed(0)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = penalty(name)(critic, x, made, Batch({"x": x}, torch.Generator().manual_seed(0)))
    assert under.dtype == torch.float32 and torch.equal(plain, under)
