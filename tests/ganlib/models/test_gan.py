"""GAN: options of objectives, schedules, and each trick's effect."""

import itertools
import warnings

import pytest
import torch

from ganlib.adversarial.tricks import InstanceNoise, PastWeights, Replay, unrolled
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.models.gan.config import GANConfig
from ganlib.models.gan.gan import GAN
from ganlib.registry import create, entry
from ganlib.testing.problems import digits, ring
from ganlib.training import Batch, Trainer, TrainerConfig

torch.set_num_threads(1)
POINTS, IMAGES = DataSpec.vector(2), DataSpec.image(1, 8, 8)


def make(spec=POINTS, **config):
    torch.manual_seed(0)
    return GAN(spec, GANConfig(**{"latent_dim": 4, "hidden": (16,), "width": 4, **config}))


def batch(rows=32, spec=POINTS, seed=0):
    x = torch.randn(rows, *spec.shape, generator=torch.Generator().manual_seed(seed))
    return Batch({"x": x}, torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- objectives' recipes
def test_recipes_are_the_sources_and_options_win():
    wgan = make(objective="wgan")
    adam = wgan.optimisers()["critic"]
    assert (adam.name, adam.learning_rate, wgan.game.rules.clip) == ("rmsprop", 5e-5, 0.01)
    steps = wgan.phases()[0].repeat
    assert [steps(s) for s in (0, 24, 25, 499, 500, 501)] == [100, 100, 5, 5, 100, 5]
    gp = make(objective="wgan_gp").game.rules
    assert (gp.penalty, gp.penalty_weight, gp.critic_steps) == ("two_sided", 0.1, 5)
    assert make(IMAGES, objective="wgan_gp").game.rules.penalty_weight == 10.0
    dragan = [make(spec, objective="dragan").game.rules.penalty_weight for spec in (POINTS, IMAGES)]
    assert dragan == [10.0, 10.0] and make(objective="fisher").game.rules.numbers == {"rho": 1e-5}
    own = make(objective="wgan_gp", learning_rate=1e-2, critic_learning_rate=3e-2, critic_steps=2, penalty="one_sided")
    rates = {name: o.learning_rate for name, o in own.optimisers().items()}
    assert rates == {"generator": 1e-2, "critic": 3e-2} and own.game.rules.critic_steps == 2
    assert own.game.rules.penalty == "one_sided"


def test_the_critic_is_updated_as_often_as_the_schedule_says():
    model, count = make(objective="hinge", critic_steps=3), itertools.count()
    loss = model.critic_loss
    model.critic_loss = lambda b: (next(count), loss(b))[1]
    Trainer(TrainerConfig(steps=7, batch_size=16)).fit(model, {"x": torch.randn(256, 2)})
    assert next(count) == 21


def test_clipped_weights_stay_within_their_bound():
    model = make(objective="wgan", learning_rate=1e-2, critic_steps=2)
    Trainer(TrainerConfig(steps=5, batch_size=16)).fit(model, {"x": torch.randn(64, 2)})
    assert max(float(p.detach().abs().max()) for p in model.critic.parameters()) <= 0.01 + 1e-7


def test_what_the_sources_warn_of():
    with pytest.raises(ConfigError, match="critic_norm='layer'"):
        make(IMAGES, objective="wgan_gp", critic_norm="batch")
    with pytest.warns(UserWarning, match="rmsprop"):
        make(objective="wgan", optimiser="adam")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(IMAGES, objective="wgan_gp")
        make(objective="wgan")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": "wasserstein"}, "no adversarial objective"),
        ({"penalty": "gradient"}, "no penalty"),
        ({"objective": "mmd", "penalty": "two_sided"}, "has no critic"),
        ({"objective_options": {"target": 0.9}}, "its options are: real_target"),
        ({"penalty_every": 0}, "at least 1"),
        ({"networks": "vgg"}, "no networks"),
        ({"networks": "dcgan"}, "networks='mlp'"),
        ({"critic_norm": "group"}, "no normalisation"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ConfigError, match=message):
        make(**options)


# ---------------------------------------------------------------- tricks
@pytest.mark.trained
def test_one_sided_label_smoothing_bounds_the_critic_on_real_data():
    """With the generator far away, the best answer on data is the smoothed label, 0.9 or logit 2.2, not certainty."""
    logits = {}
    for target in (1.0, 0.9):
        model = make(objective_options={"real_target": target}, learning_rate=1e-2)
        optimiser = torch.optim.Adam(model.critic.parameters(), 1e-2)
        x = 5 + torch.randn(256, 2, generator=torch.Generator().manual_seed(0))
        for _ in range(300):
            loss = model.critic_loss(Batch({"x": x}, torch.Generator().manual_seed(1)))["critic"]
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        logits[target] = model.critic(x).mean().item()
    assert logits[0.9] == pytest.approx(2.197, abs=0.1) and logits[1.0] > 4


def test_instance_noise_fades():
    noise, b = InstanceNoise(0.5, 4), batch(4000)
    spread = []
    for _ in range(5):
        spread.append((noise(b.x, b) - b.x).std().item())
        noise.step()
    assert spread == pytest.approx([0.5, 0.375, 0.25, 0.125, 0.0], abs=0.01)


@pytest.mark.trained
def test_parallel_lines_need_instance_noise():
    """A perfect critic leaves no gradient between disjoint supports; noise brings it back (arXiv 1701.04862)."""
    generator = torch.Generator().manual_seed(0)
    along = torch.rand(512, 1, generator=generator)
    x, made = torch.cat([along, torch.zeros(512, 1)], 1), torch.cat([along.flip(0), torch.ones(512, 1)], 1)
    slope, right = {}, {}
    for deviation in (0.0, 0.3):
        torch.manual_seed(0)
        critic = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
        model = make(instance_noise=deviation)
        model.critic.forward = lambda v, c=None, critic=critic: critic(v)
        optimiser, b = torch.optim.Adam(critic.parameters(), 1e-2), Batch({"x": x}, torch.Generator().manual_seed(1))
        for _ in range(800):
            loss = model.objective.critic(model.game.play(b, model.sides(b, made)))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            b.forget(["critic"])
        moving = made.clone().requires_grad_(True)
        # The saturating loss, E log(1 - D(G(z))), whose gradient a perfect critic takes away.
        torch.nn.functional.softplus(model.judge(b, moving)).mean().neg().backward()
        right[deviation] = ((critic(x) > 0).float().mean() + (critic(made) < 0).float().mean()).item() / 2
        slope[deviation] = moving.grad.norm(dim=1).mean().item() * len(made)
    assert right[0.0] == 1.0 and slope[0.0] < 1e-2 and slope[0.3] > 10 * slope[0.0]


def test_a_critic_judges_each_examples_once_an_update():
    spec = DataSpec.vector(2, classes=3)
    model, calls = create("acgan", spec, latent_dim=4, hidden=(8,)), []
    model.critic.register_forward_hook(lambda *_: calls.append(1))
    data = {"x": torch.randn(16, 2), "y": torch.arange(16) % 3}
    Trainer(TrainerConfig(steps=1, batch_size=16)).fit(model, data)
    assert len(calls) == 3  # real and generated for the critic, generated for the generator


@pytest.mark.trained
def test_a_critic_that_sees_all_augmented_learns_few_examples_less_by_heart():
    """Its score of 50 training digits over that of others, which it has never seen."""
    x, held_out = digits(0)[0][:50], digits(0, "test")[0]
    gaps = []
    for steps in ((), ("translation",)):
        torch.manual_seed(0)
        model = create("dcgan", DataSpec.image(1, 8, 8), width=8, latent_dim=8, learning_rate=5e-4, diff_augment=steps)
        Trainer(TrainerConfig(steps=400, batch_size=32)).fit(model, {"x": x})
        with torch.no_grad():
            gaps.append(float(model.critic(x, None).mean() - model.critic(held_out, None).mean()))
    assert gaps[0] > 0.3 and gaps[1] < 0.5 * gaps[0], gaps
    with pytest.raises(ConfigError, match="for images"):
        create("gan", DataSpec.vector(2), diff_augment=("cutout",))
    alone = make(IMAGES, generator_norm="none", critic_norm="none", diff_augment=("translation",))
    assert "augmentation" in alone.couples_batch()


def test_replay_hands_out_half_from_the_pool():
    pool, b = Replay(64, (2,)), batch(1000)
    old, new = torch.zeros(64, 2), torch.ones(1000, 2)
    assert torch.equal(pool(new, None, b)[0], new)
    pool.push(old, None)
    share = (pool(new, None, b)[0][:, 0] == 0).float().mean().item()
    assert share == pytest.approx(0.5, abs=0.06)
    pool.push(torch.full((80, 2), 2.0), None)
    assert int(pool.seen) == 128 and (pool.pool == 2).all()


def test_replay_keeps_the_condition_of_each_example():
    pool, b = Replay(64, (1,), (1,)), batch(1000)
    pool.push(torch.zeros(64, 1), torch.zeros(64, 1))
    made, conditions = pool(torch.ones(1000, 1), torch.ones(1000, 1), b)
    assert torch.equal(made, conditions) and 0 < float(conditions.mean()) < 1


def test_past_weights_are_the_mean_of_what_was_seen():
    player = torch.nn.Linear(1, 1)
    values = []
    with torch.no_grad():
        player.weight.fill_(1.0)
        past = PastWeights(player)
        values.append(1.0)
        for value in (2.0, 6.0):
            player.weight.fill_(value)
            past.remember()
            values.append(value)
    mean = sum(values) / 3
    assert past.get_buffer("weight").item() == pytest.approx(mean)
    assert past.drift().item() == pytest.approx((6 - mean) ** 2 + 0, abs=1e-5)


@pytest.mark.trained
def test_historical_averaging_keeps_players_near_their_past():
    reached = []
    for weight in (0.0, 10.0):
        model = make(historical_averaging=weight, learning_rate=1e-2)
        start = torch.cat([p.detach().flatten().clone() for p in model.generator.parameters()])
        Trainer(TrainerConfig(steps=60, batch_size=32)).fit(model, {"x": ring(512, 0)[0]})
        end = torch.cat([p.detach().flatten() for p in model.generator.parameters()])
        reached.append((end - start).norm().item())
    assert reached[1] < 0.7 * reached[0]


def test_unrolled_steps_are_plain_descent_and_carry_gradient():
    """Critic w·x with loss ½(w - a)²: k steps of rate r leave w - a at (1 - r)^k, and dw/da = 1 - (1 - r)^k."""
    critic, a = torch.nn.Linear(1, 1, bias=False), torch.tensor(3.0, requires_grad=True)
    with torch.no_grad():
        critic.weight.fill_(1.0)
    one = torch.ones(1, 1)
    after = unrolled(critic, lambda c: 0.5 * (c(one) - a).square().sum(), 0.1, 5)(one)
    assert after.item() == pytest.approx(3 - 2 * 0.9**5, abs=1e-5)
    (slope,) = torch.autograd.grad(after.sum(), a)
    assert slope.item() == pytest.approx(1 - 0.9**5, abs=1e-5)
    assert critic.weight.item() == 1.0


def test_lazy_penalty_has_its_own_update_and_the_same_weight_in_all():
    model = make(objective="wgan_gp", penalty_every=4)
    assert "penalty" not in model.critic_loss(batch())
    lazy = model.phases()[1]
    assert [lazy.due(s) for s in range(9)] == [s % 4 == 0 for s in range(9)]
    assert lazy.loss(batch()).weights["penalty"] == pytest.approx(4 * 0.1)


def test_feature_matching_is_the_gap_of_mean_features():
    model, b = make(feature_matching=2.0, adversarial=0.0), batch()
    losses = model.generator_loss(b)
    gap = model.critic.features(b.x).mean(0) - model.critic.features(model.made(b)).mean(0)
    assert set(losses) == {"feature_matching"}
    assert losses.total.item() == pytest.approx(2 * gap.square().sum().item(), rel=1e-5)


def test_generator_and_critic_may_be_of_different_networks():
    spec = DataSpec.image(1, 8, 8)
    model = create("gan", spec, networks="mlp", critic_networks="dcgan", width=4)
    kinds = [{type(m).__name__ for m in net.modules()} for net in (model.generator, model.critic)]
    assert "Conv2d" not in kinds[0] and "ConvTranspose2d" not in kinds[0] and "Conv2d" in kinds[1]
    Trainer(TrainerConfig(steps=2, batch_size=8)).fit(model, {"x": torch.rand(16, 1, 8, 8)})
    with pytest.raises(ConfigError, match="no networks are called 'unet'"):
        create("gan", spec, critic_networks="unet")


def test_attention_is_switched_on_by_training():
    torch.manual_seed(0)
    model = create("sagan", DataSpec.image(1, 16, 16), width=4, latent_dim=4, learning_rate=1e-3)
    gates = [value for name, value in model.named_parameters() if name.endswith("gamma")]
    assert gates and all(float(gate.detach()) == 0 for gate in gates)
    Trainer(TrainerConfig(steps=5, batch_size=8)).fit(model, {"x": torch.rand(16, 1, 16, 16)})
    assert all(abs(float(gate.detach())) > 1e-5 for gate in gates)


def test_virtual_norm_makes_an_examples_output_independent_of_its_batch():
    model = make(IMAGES, generator_norm="virtual")
    model.prepare(batch(80, IMAGES))
    model.train()
    z = torch.randn(6, 4)
    assert torch.allclose(model.generator(z), torch.cat([model.generator(z[:1]), model.generator(z[1:])]), atol=1e-5)


@pytest.mark.trained
def test_minibatch_discrimination_widens_a_collapsed_ring():
    """The cost and the effect: the batch is coupled, and a critic that sees closeness sees collapse at once."""
    model = make(minibatch_discrimination=8)
    assert "minibatch" in model.couples_batch() and not make().couples_batch()
    b = batch(64)
    optimiser = torch.optim.Adam(model.critic.parameters(), 1e-2)
    collapsed = b.x[:1].expand(64, 2)
    for _ in range(100):
        loss = model.objective.critic(model.game.play(b, model.sides(b, collapsed)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        b.forget(["critic"])
    assert loss.item() < 0.05


@pytest.mark.parametrize("name", ["loss_sensitive_gan", "generalised_loss_sensitive_gan", "mode_regularised_gan"])
def test_scores_that_mean_nothing_away_from_both_samples_are_not_offered(name):
    model = create(name, POINTS, hidden=(8,))
    with pytest.raises(ConfigError, match="does not detect; choose began, ebgan"):
        model.scorer()
    assert entry(name).tasks == ("augmenter",) and entry(name).exports == ("sampler",)
