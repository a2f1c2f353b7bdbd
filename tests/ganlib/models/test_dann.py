"""DANN: the game is the critic's loss reversed, its weight rises, and both domains must be alike."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, softplus

from ganlib.data.spec import Classes, DataSpec, Image
from ganlib.errors import ConfigError, DataError
from ganlib.models.translation.dann import with_target
from ganlib.registry import create
from ganlib.testing.toys.translation import TOYS, adapted, turned
from ganlib.training import Batch, Trainer, TrainerConfig

torch.set_num_threads(1)
SPEC = DataSpec.vector(2, classes=2)


def made(**options):
    torch.manual_seed(0)
    return create("dann", SPEC, hidden=(8,), label_hidden=(4,), critic_hidden=(4,), **options)


def batch(n=16):
    g = torch.Generator().manual_seed(1)
    x, x_b = torch.randn(2, n, 2, generator=g)
    return Batch({"x": x, "y": torch.arange(n) % 2, "x_b": x_b}, torch.Generator())


@pytest.mark.parametrize("done", [0, 3, 10])
def test_the_gradient_is_that_of_the_labels_less_the_critics_loss_times_its_weight(done):
    model, given = made(adversarial=0.5), batch()
    model.stages(10)
    model.done.fill_(done)
    parameters = list(model.extractor.parameters())
    got = torch.autograd.grad(model.classifier_loss(given).total, parameters)
    a, b = model.extractor(given.x), model.extractor(given["x_b"])
    domain = softplus(-model.game.critic(a)).mean() + softplus(model.game.critic(b)).mean()
    weight = 0.5 * (2 / (1 + math.exp(-10 * done / 10)) - 1)
    wanted = torch.autograd.grad(cross_entropy(model.labels(a), given.y) - weight * domain, parameters)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_exchanged_domains_are_minimised_if_the_objective_is_the_non_saturating_one():
    model, given = made(objective="gan"), batch()
    losses = model.classifier_loss(given)
    a, b = model.extractor(given.x), model.extractor(given["x_b"])
    torch.testing.assert_close(losses["generator"], softplus(-model.game.critic(b)).mean())
    torch.testing.assert_close(losses["opposite"], softplus(model.game.critic(a)).mean())


def test_the_weight_rises_over_the_budget_and_starts_again_with_a_second_training():
    model, data = made(), turned(0)
    Trainer(TrainerConfig(steps=5, batch_size=32, device="cpu")).fit(model, data)
    assert float(model.done) == 5 and float(model.strength()) == pytest.approx(2 / (1 + math.exp(-10)) - 1)
    model.stages(20)
    assert float(model.done) == 0 and float(model.strength()) == 0


def test_the_smaller_domain_is_repeated():
    data = with_target(torch.randn(5, 2), torch.arange(5) % 2, torch.arange(12.0).view(12, 1).expand(-1, 2))
    assert {len(values) for values in data.values()} == {12} and len(data["x_b"].unique(dim=0)) == 12
    assert len(data["x"].unique(dim=0)) == 5
    with pytest.raises(DataError, match="5 examples and 4 labels"):
        with_target(torch.randn(5, 2), torch.arange(4), torch.randn(3, 2))
    with pytest.raises(DataError, match="0 examples of the other"):
        with_target(torch.randn(5, 2), torch.arange(5), torch.randn(0, 2))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (DataSpec.vector(2), "'y': Classes"),
        (DataSpec({"x": Image(1, 8, 8), "y": Classes(2), "x_b": Image(3, 8, 8)}), "equal channels and sides"),
    ],
)
def test_domains_that_cannot_share_a_network_are_rejected(spec, words):
    with pytest.raises(ConfigError, match=words):
        create("dann", spec)


def test_images_and_series_have_convolutions():
    spec = DataSpec({"x": Image(3, 8, 8), "y": Classes(4), "x_b": Image(3, 8, 8)})
    model = create("dann", spec, width=4).eval()
    x = torch.rand(6, 3, 8, 8)
    assert model.classify(x).shape == (6,) and model.encode(x).shape == (6, model.extractor.width)


@pytest.mark.slow
@pytest.mark.trained
def test_turned_moons_are_classified_better_with_the_critic_than_without():
    toy = TOYS["dann"]
    levels = []
    for weight in (1.0, 0.0):
        torch.manual_seed(0)
        model = create("dann", toy.spec, adversarial=weight)
        Trainer(TrainerConfig(steps=800, batch_size=64, ema=0.99, random_state=0, device="cpu")).fit(model, toy.data(0))
        levels.append(adapted(model.eval().classify, 0))
    assert levels[0] > levels[1] + 0.08
