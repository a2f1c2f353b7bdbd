"""The adversarial game as a component, and what it costs a step."""

import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from ganlib.adversarial import Game, GameConfig, Sides, phases
from ganlib.adversarial.tricks import Replay
from ganlib.data.fields import Image, Tokens, Vector
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.losses.penalties import PENALTIES, penalty
from ganlib.models.gan.config import GANConfig
from ganlib.models.gan.gan import GAN
from ganlib.registry import create
from ganlib.training import Algorithm, Batch, Phase, Trainer, TrainerConfig

torch.set_num_threads(1)


class Double(nn.Module):
    """A critic in closed form: 2x."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return self.slope * x


def some_batch(rows=16):
    return Batch({"x": torch.randn(rows, 2)}, torch.Generator().manual_seed(0))


def sides(real=1.0, made=0.25):
    return Sides(torch.full((3, 1), real), torch.full((3, 1), made))


def game_of(objective="least_squares", **options):
    return Game(Double(), GameConfig(objective=objective, **options), Vector(1))


# ---------------------------------------------------------------- losses
def test_a_game_of_a_critic_in_closed_form():
    """Critic 2x on data at 1 and fakes at 0.25: least squares gives ½((2 - 1)² + 0.5²) and ½(0.5 - 1)²."""
    game = game_of()
    assert game.critic_loss(some_batch(3), sides()).total.item() == pytest.approx(0.625)
    assert game.generator_loss(some_batch(3), sides()).total.item() == pytest.approx(0.125)


def test_the_penalty_of_a_game_in_closed_form():
    """The slope of 2x is 2: the two-sided penalty is (2 - 1)², at ten times its weight if its updates are as rare."""
    game = game_of(penalty="two_sided", penalty_weight=3.0)
    losses = game.critic_loss(some_batch(3), sides())
    assert losses["penalty"].item() == pytest.approx(1.0) and losses.weights["penalty"] == 3.0
    lazy = game_of(penalty="two_sided", penalty_weight=3.0, penalty_every=10)
    assert "penalty" not in lazy.critic_loss(some_batch(3), sides())
    assert lazy.lazy_penalty(some_batch(3), sides()).total.item() == pytest.approx(30.0)


def test_after_an_update_the_critic_is_clipped_and_fakes_are_kept():
    game = game_of("wgan", replay=2)
    game.after(some_batch(3), sides(made=0.5))
    assert game.critic.slope.item() == pytest.approx(0.01) and (game.replay.pool == 0.5).all()


def test_two_games_in_one_model_keep_their_own_objectives():
    pair = pickle.loads(pickle.dumps(nn.ModuleList([game_of("wgan"), game_of()])))
    assert [game.generator_loss(some_batch(3), sides()).total.item() for game in pair] == [-0.5, 0.125]


def test_losses_of_several_games_have_their_own_names():
    game = Game(Double(), GameConfig(penalty="zero_centred", feature_matching=0.0), Vector(1), suffix="_b")
    assert set(game.critic_loss(some_batch(3), sides())) == {"critic_b", "penalty_b"}
    assert set(game.generator_loss(some_batch(3), sides())) == {"generator_b"}


def test_wrong_conditions_that_are_right_by_chance_move_nothing():
    class Bilinear(Double):
        def forward(self, x, condition):
            return self.slope * (x * condition).sum(1, keepdim=True)

    x, condition = torch.ones(2, 2, requires_grad=True), torch.eye(2)
    game = Game(Bilinear(), GameConfig(objective="hinge", spectral_norm=False), Vector(2))
    wrong, differs = condition[[0, 0]], torch.tensor([False, True])
    game.mismatch_loss(some_batch(2), Sides(torch.ones(2, 2), x, condition), wrong, differs).backward()
    value = game.critic.slope.grad.item()
    # Real scores of 2 lie beyond the margin: only the negatives move the slope, and only one of them counts.
    assert value == pytest.approx(0.5)


def test_scores_under_two_conditions_are_not_mistaken_for_each_other():
    class Product(Double):
        def forward(self, x, condition):
            return self.slope * x * condition

    game, batch, x = Game(Product(), GameConfig(), Vector(1)), some_batch(3), torch.ones(3, 1)
    conditions = torch.ones(3, 1), 5 * torch.ones(3, 1)
    assert [game.judge(batch, x, c).mean().item() for c in conditions] == [2.0, 10.0]


# ---------------------------------------------------------------- what a game may be played on
class Beside(nn.Module):
    """A patch critic that sees an image beside its condition, an image of the same size."""

    def __init__(self):
        super().__init__()
        self.net = nn.Conv2d(3, 1, 4, 2, 1)

    def forward(self, x, condition):
        return self.net(torch.cat([x, condition], 1))


@pytest.mark.parametrize("name", sorted(PENALTIES))
def test_the_condition_may_be_an_image_and_the_critic_may_judge_patches(name):
    options = GameConfig(penalty=name, replay=8, critic_steps=2, unrolled_steps=1)
    game = Game(Beside(), options, Image(2, 8, 8), condition=(1, 8, 8))
    batch = Batch({"x": torch.rand(4, 1, 8, 8), "x_b": torch.rand(4, 2, 8, 8)}, torch.Generator().manual_seed(0))
    made = torch.rand(4, 2, 8, 8)
    for _ in range(2):
        loss = game.critic_loss(batch, Sides(batch["x_b"], made, batch.x))
        game.after(batch, Sides(batch["x_b"], made, batch.x))
    assert loss["critic"].isfinite() and loss["penalty"].isfinite()
    assert torch.equal(game.replay.conditions[:4], batch.x)
    assert game.generator_loss(batch, Sides(batch["x_b"], made, batch.x))["generator"].isfinite()


class Adversarial(Algorithm):
    """An encoder whose latents are to be normal: a game on latents, not on the data."""

    def __init__(self, objective):
        super().__init__()
        self.encoder = nn.Linear(5, 2)
        critic = nn.Sequential(nn.Linear(2, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
        self.game = Game(critic, GameConfig(objective=objective), Vector(2), against="encoder")

    def players(self):
        return {"encoder": self.encoder} | self.game.players()

    def phases(self):
        return self.game.phases(self.dealt, self.encoder_loss)

    def dealt(self, batch):
        return Sides(batch.randn(2), self.game.fakes(batch, lambda: self.encoder(batch.x)))

    def encoder_loss(self, batch):
        made = self.game.made(batch, lambda: self.encoder(batch.x))
        return self.game.generator_loss(batch, Sides(batch.randn(2), made))


@pytest.mark.parametrize("objective", ["gan", "wgan_gp", "fisher"])
def test_a_game_on_latents(objective):
    model = Adversarial(objective)
    before = model.encoder.weight.detach().clone()
    Trainer(TrainerConfig(steps=3, batch_size=8, device="cpu")).fit(model, {"x": torch.randn(64, 5)})
    assert not torch.equal(before, model.encoder.weight)
    assert objective != "fisher" or model.game.state["multiplier"].item() != 0


def test_a_game_on_tokens():
    critic = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(12, 1))
    game = Game(critic, GameConfig(replay=4, clip=0.1, optimiser="rmsprop"), Tokens(3, 5))
    real, made = torch.randint(5, (4, 3)), torch.randint(5, (4, 3))
    batch = Batch({"x": real}, torch.Generator().manual_seed(0))
    for _ in range(2):
        loss = game.critic_loss(batch, Sides(real, made))["critic"]
        game.after(batch, Sides(real, made))
        batch.forget(("critic",))
    assert loss.isfinite() and (game.replay.pool == made).all() and game.replay.pool.dtype == torch.int64
    with pytest.raises(ConfigError, match="instance_noise is for numbers"):
        Game(critic, GameConfig(instance_noise=0.1), Tokens(3, 5))
    with pytest.raises(ConfigError, match="'two_sided' is for numbers, not for tokens: set it to 'none'"):
        Game(critic, GameConfig(penalty="two_sided"), Tokens(3, 5))


def test_options_of_the_generator_that_a_policy_gradient_does_not_use_are_rejected():
    with pytest.raises(ConfigError, match="feature_matching would do nothing, because SeqGAN's generator"):
        create("seqgan", DataSpec.tokens(6, 4), feature_matching=0.5)
    model = create("seqgan", DataSpec.tokens(6, 4), objective="least_squares", replay=8, clip=0.1, optimiser="rmsprop")
    Trainer(TrainerConfig(steps=20, batch_size=8)).fit(model, {"x": torch.randint(4, (16, 6))})
    assert all(p.abs().max() <= 0.1 for p in model.critic.parameters()) and model.game.replay.pool.dtype == torch.int64


def test_games_whose_critics_move_together():
    """Both games' losses in one update of the critics, a lazy penalty of both, then the generators."""
    games = [
        Game(nn.Linear(1, 1), GameConfig(objective="wgan_gp", penalty_every=2), Vector(1), suffix=suffix)
        for suffix in ("_a", "_b")
    ]
    critic, lazy, generator = phases([(game, lambda _: sides()) for game in games], lambda batch: None)
    assert set(critic.loss(some_batch(3))) == {"critic_a", "critic_b"}
    assert set(lazy.loss(some_batch(3))) == {"penalty_a", "penalty_b"}
    assert (critic.repeat, lazy.every, generator.repeat) == (5, 2, 1) and isinstance(generator, Phase)


def test_a_game_rejects_objectives_that_its_critic_cannot_play():
    with pytest.raises(ConfigError, match="is an auto-encoder"):
        create("coupled_pair", DataSpec.vector(2), objective="began")
    with pytest.raises(ConfigError, match="has no critic, which this model needs"):
        create("coupled_pair", DataSpec.vector(2), objective="mmd")
    with pytest.raises(ConfigError, match="critic_norm='layer'"):
        Game(nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4)), GameConfig(penalty="two_sided"), Vector(2))
    with pytest.raises(ConfigError, match="needs the generator"):
        Game(nn.Linear(1, 1), GameConfig(historical_averaging=0.1), Vector(1))


# ---------------------------------------------------------------- the models that hold games
TRICKS = [
    {"objective": "wgan_gp"},
    {"objective": "wgan_gp", "penalty_every": 2, "critic_steps": 2},
    {"objective": "wgan", "replay": 16},
    {"objective": "fisher"},
    {"instance_noise": 0.1, "noise_steps": 4, "historical_averaging": 0.1, "feature_matching": 0.1},
    {"unrolled_steps": 1, "penalty": "zero_centred"},
]


@pytest.mark.parametrize("options", TRICKS, ids=str)
@pytest.mark.parametrize("name", ["coupled_pair", "stackgan", "gan_int_cls"])
def test_every_model_of_games_takes_their_options(name, options):
    spec = {
        "coupled_pair": DataSpec({"x": Vector(2), "x_b": Vector(3)}),
        "stackgan": DataSpec.image(1, 8, 8, classes=3),
        "gan_int_cls": DataSpec.vector(2, attributes=2),
    }[name]
    model = create(name, spec, hidden=(8,), **options)
    data = {key: torch.randn(32, *field.shape) for key, field in spec.fields.items() if key != "y"}
    if spec.classes:
        data = {"x": data["x"].tanh(), "y": torch.arange(32) % 3}
    history = Trainer(TrainerConfig(steps=3, batch_size=8, device="cpu")).fit(model, data)
    assert history.steps == 3 and all(value.isfinite().all() for value in model.state_dict().values())
    copy = pickle.loads(pickle.dumps(model))
    assert all(torch.equal(value, copy.state_dict()[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("coupled_pair", DataSpec.vector(2)),
        ("stackgan", DataSpec.image(1, 8, 8, classes=3)),
        ("gan_int_cls", DataSpec.vector(2, attributes=2)),
    ],
)
def test_hinge_has_spectral_norm_in_every_critic_and_can_be_pickled(name, spec):
    model = create(name, spec, objective="hinge")
    games = [module for module in model.modules() if isinstance(module, Game)]
    assert len(games) == (1 if name == "gan_int_cls" else 2)
    for game in games:
        assert any(map(parametrize.is_parametrized, game.critic.modules())), game.player
    copy = pickle.loads(pickle.dumps(model))
    assert all(torch.equal(value, copy.state_dict()[key]) for key, value in model.state_dict().items())


def test_a_critic_saved_without_its_spectral_norm_is_rejected():
    plain = create("coupled_pair", DataSpec.vector(2), objective="gan")
    with pytest.raises(ConfigError, match="has no spectral norm"):
        create("coupled_pair", DataSpec.vector(2), objective="hinge").load_state_dict(plain.state_dict())


def test_weights_from_before_critics_belonged_to_games_are_rejected():
    model = create("gan", DataSpec.vector(2))
    old = {name.removeprefix("game."): value for name, value in model.state_dict().items()}
    with pytest.raises(ConfigError, match="kept the critic outside its game"):
        model.load_state_dict(old)


# ---------------------------------------------------------------- cost
@pytest.mark.parametrize("critic_steps", [1, 5])
def test_one_graph_of_the_generator_a_step(critic_steps):
    model = GAN(DataSpec.vector(2), GANConfig(hidden=(8,), critic_steps=critic_steps, replay=8))
    recorded = []
    model.generator.register_forward_hook(lambda *_: recorded.append(torch.is_grad_enabled()))
    Trainer(TrainerConfig(steps=4, batch_size=8, device="cpu")).fit(model, {"x": torch.randn(256, 2)})
    assert recorded.count(True) == 4 and recorded.count(False) == 4 * (critic_steps - 1)


@pytest.mark.parametrize("critic_steps", [1, 3])
def test_critics_that_move_after_the_generators_build_no_graph_of_them(critic_steps):
    model = create("coupled_pair", DataSpec.vector(2), hidden=(8,), critic_steps=critic_steps)
    recorded = []
    model.forward_generator.register_forward_hook(lambda *_: recorded.append(torch.is_grad_enabled()))
    data = {name: torch.randn(256, 2) for name in ("x", "x_b")}
    Trainer(TrainerConfig(steps=4, batch_size=8, device="cpu")).fit(model, data)
    # With the graph: once to translate, once on the way back.
    assert recorded.count(True) == 8 and recorded.count(False) == 4 * critic_steps


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
