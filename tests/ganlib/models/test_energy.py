"""Boltzmann machines: the exact partition function, conditionals, chains; the bound of a deep belief network."""

import itertools
import math

import pytest
import torch

from ganlib.abilities import HasDensity, can
from ganlib.data.spec import Block, DataSpec
from ganlib.errors import ConfigError
from ganlib.registry import create
from ganlib.training import Batch

torch.set_num_threads(1)
MIXED = DataSpec.table((Block("a", "number", 0), Block("b", "binary", 1), Block("c", "category", 2, 3)))


def random_machine(name, spec, **options):
    torch.manual_seed(0)
    model = create(name, spec, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return model


@torch.no_grad()
def test_probabilities_of_all_black_and_white_images_add_up_to_one():
    model = random_machine("rbm", DataSpec.image(1, 2, 3), hidden_units=4)
    images = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=6))).view(-1, 1, 2, 3)
    assert float(model.log_prob(images).exp().sum()) == pytest.approx(1, abs=1e-4)


@torch.no_grad()
def test_the_density_of_mixed_rows_integrates_to_one():
    model, line, mass = random_machine("rbm", MIXED, hidden_units=4), torch.linspace(-12, 12, 2001), 0.0
    for flag, category in itertools.product((0.0, 1.0), range(3)):
        rest = torch.cat([torch.tensor([flag]), torch.eye(3)[category]]).expand(2001, 4)
        mass += float(model.log_prob(torch.cat([line[:, None], rest], 1)).exp().sum() * (line[1] - line[0]))
    assert mass == pytest.approx(1, abs=1e-3)


@torch.no_grad()
def test_gibbs_chains_come_to_the_exact_distribution():
    model = random_machine("rbm", DataSpec.image(1, 1, 3), hidden_units=3)
    batch = Batch({"x": torch.zeros(20_000, 1, 1, 3)}, torch.Generator().manual_seed(0))
    v = model.machine.gibbs(torch.full((20_000, 3), 0.5), batch, 30)
    states = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)))
    found = (v[:, None] == states).all(2).float().mean(0)
    assert torch.allclose(found, model.log_prob((2 * states - 1).view(-1, 1, 1, 3)).exp(), atol=0.015)


def test_without_an_exact_partition_function_there_is_no_density():
    assert can(create("rbm", DataSpec.vector(3), hidden_units=15), HasDensity)
    wide = create("rbm", DataSpec.vector(3), hidden_units=16)
    assert not can(wide, HasDensity)
    with pytest.raises(ConfigError, match="at most 15 hidden_units"):
        wide.log_prob(torch.zeros(2, 3))


def test_persistent_chains_go_on_from_step_to_step():
    model = create("rbm", DataSpec.vector(3), chains="persistent", chain_count=7)
    batch = Batch({"x": torch.randn(4, 3)}, torch.Generator().manual_seed(0))
    model.prepare(batch)
    assert torch.equal(model.chains[4:], model.chains[:3])
    before = model.chains.clone()
    model.loss(batch)
    assert not torch.equal(model.chains, before)
    held = model.eval().chains.clone()
    model.loss(batch)
    assert torch.equal(model.chains, held)


@torch.no_grad()
def test_the_score_of_one_layer_is_its_free_energy_and_of_two_bounds_the_likelihood():
    one = random_machine("dbn", DataSpec.image(1, 2, 2), hidden=(3,))
    images = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=4))).view(-1, 1, 2, 2)
    assert torch.allclose(one.score(images), one.layers[0].free_energy((images.flatten(1) + 1) / 2))
    two = random_machine("dbn", DataSpec.image(1, 2, 2), hidden=(3, 4))
    below, top = two.layers
    states = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)))
    v = (images.flatten(1) + 1) / 2
    given_h = torch.stack([-below.visible_nll(v, h.expand(len(v), -1)) for h in states], 1)
    exact = torch.logsumexp(given_h - top.free_energy(states), 1)  # log p(v) + log Z of the top
    # Entropy and expectation at the mean field: an exact bound were the terms linear in h; close to it here.
    assert torch.corrcoef(torch.stack([-two.score(images), exact]))[0, 1] > 0.8


def test_layers_are_trained_in_turn():
    for name, stages in (("dbn", 2), ("stacked_autoencoder", 3)):
        model = create(name, DataSpec.vector(4), hidden=(5, 3))
        plan = model.stages(90)
        assert [stage.phases[0].players for stage in plan[:2]] == [("layer0",), ("layer1",)]
        assert len(plan) == stages and sum(stage.steps for stage in plan) == 90
    with pytest.raises(ConfigError, match="at least one"):
        create("dbn", DataSpec.vector(4), hidden=())


@torch.no_grad()
def test_dbm_density_adds_up_to_one_and_agrees_with_the_sum_over_all_hidden_states():
    model = random_machine("dbm", DataSpec.image(1, 2, 2), hidden=(3, 4))
    images = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=4))).view(-1, 1, 2, 2)
    assert float(model.log_prob(images).exp().sum()) == pytest.approx(1, abs=1e-4)
    v = (images.flatten(1) + 1) / 2
    states = torch.tensor(list(itertools.product((0.0, 1.0), repeat=7)))
    energies = torch.stack([model.energy(v, *h.expand(16, -1).split((3, 4), 1)) for h in states], 1)
    by_hand = torch.logsumexp(-energies, 1)
    assert torch.allclose(model.log_prob(images), by_hand - torch.logsumexp(by_hand, 0), atol=1e-4)


@torch.no_grad()
def test_the_score_of_a_dbm_bounds_its_free_energy_closely_and_falls_with_mean_field_steps():
    gaps = []
    for steps in (1, 50):
        model = random_machine("dbm", DataSpec.image(1, 2, 2), hidden=(3, 4), mean_field_steps=steps)
        images = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=4))).view(-1, 1, 2, 2)
        gap = model.score(images) + model.log_prob(images) + model.log_partition()
        assert (gap > -1e-4).all()
        gaps.append(float(gap.mean()))
    assert gaps[1] <= gaps[0] + 1e-5 and gaps[1] < 0.5


@torch.no_grad()
def test_chains_of_a_dbm_come_to_its_exact_distribution():
    model = random_machine("dbm", DataSpec.image(1, 1, 3), hidden=(3, 2), chain_count=20_000, gibbs_steps=40)
    batch = Batch({"x": torch.zeros(1, 1, 1, 3)}, torch.Generator().manual_seed(0))
    v, first, top = model._walk(batch)
    states = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)))
    found = (v[:, None] == states).all(2).float().mean(0)
    assert torch.allclose(found, model.log_prob((2 * states - 1).view(-1, 1, 1, 3)).exp(), atol=0.015)
    assert torch.equal(model.chain_visible, v) and torch.equal(model.chain_top, top) and first.shape == (20_000, 3)


def test_a_dbm_is_trained_layer_by_layer_and_then_together():
    plan = create("dbm", DataSpec.vector(4), hidden=(5, 3)).stages(90)
    assert [stage.phases[0].players for stage in plan] == [("layer0",), ("layer1",), ("layer0", "layer1")]
    assert [stage.steps for stage in plan] == [30, 30, 30]
    with pytest.raises(ConfigError, match="must be a list of 2"):
        create("dbm", DataSpec.vector(4), hidden=(5, 3, 2))
    assert not can(create("dbm", DataSpec.vector(4), hidden=(16, 3)), HasDensity)


def random_helmholtz(spec=None, **options):
    return random_machine("helmholtz", spec or DataSpec.image(1, 1, 3), hidden=(3, 2), **options)


def exact_helmholtz(model, images):
    states = torch.tensor(list(itertools.product((0.0, 1.0), repeat=5)))
    h = [part.unsqueeze(0).expand(len(images), -1, -1) for part in states.split((3, 2), 1)]
    v = ((images.flatten(1) + 1) / 2).unsqueeze(1)
    return torch.logsumexp(model.log_generation(v, h), 1), model.log_recognition(v, h)


@torch.no_grad()
def test_the_helmholtz_bound_comes_to_the_exact_likelihood_from_below():
    model = random_helmholtz()
    for parameter in model.parameters():
        parameter.mul_(0.5)  # so that few weights dominate
    images = 2 * torch.tensor(list(itertools.product((0.0, 1.0), repeat=3))).view(-1, 1, 1, 3) - 1
    exact, recognition = exact_helmholtz(model, images)
    assert exact.exp().sum().item() == pytest.approx(1, abs=1e-4)
    assert torch.allclose(recognition.exp().sum(1), torch.ones(8), atol=1e-4)
    noise = torch.rand(8, 40_000, 5, generator=torch.Generator().manual_seed(0))
    weights = model.log_weights(images, noise)
    assert torch.allclose(torch.logsumexp(weights, 1) - math.log(40_000), exact, atol=0.05)
    means = [model.bound(images, noise[:, i : i + 5]).mean() for i in range(0, 4000, 5)]
    single = weights.mean()
    assert single < sum(means) / len(means) < exact.mean()


@torch.no_grad()
def test_dreams_and_samples_of_a_helmholtz_machine_follow_its_distribution():
    table = DataSpec.table(tuple(Block(f"b{i}", "binary", i) for i in range(3)))
    model = random_helmholtz(table)
    states = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)))
    exact = exact_helmholtz(model, 2 * states - 1)[0].exp()
    dreams = model.dream(Batch({"x": torch.zeros(20_000, 3)}, torch.Generator().manual_seed(0)))[0]
    sampler = model.sampler()
    made = sampler(torch.randn(20_000, sampler.latent_dim, generator=torch.Generator().manual_seed(1)))
    for rows in (dreams, made):
        assert torch.allclose((rows[:, None] == states).all(2).float().mean(0), exact, atol=0.015)


def test_wake_trains_the_generative_net_and_sleep_the_recognition_net():
    model = create("helmholtz", DataSpec.image(1, 2, 2), hidden=(3, 2))
    batch = Batch({"x": torch.rand(8, 1, 2, 2) * 2 - 1}, torch.Generator().manual_seed(0))
    for loss, player, other in (
        (model.wake_loss, "generative", "recognition"),
        (model.sleep_loss, "recognition", "generative"),
    ):
        total = loss(batch).total
        own, foreign = model.parameters_of(player), model.parameters_of(other)
        found = torch.autograd.grad(total, own + foreign, allow_unused=True)
        assert all(g is not None for g in found[: len(own)]) and all(g is None for g in found[len(own) :])
    with pytest.raises(ConfigError, match="at least one"):
        create("helmholtz", DataSpec.vector(4), hidden=())
