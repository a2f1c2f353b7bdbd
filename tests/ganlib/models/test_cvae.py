"""CVAE: its bound by hand, its class prior, what the toy shows of conditions."""

import pytest
import torch
from torch.nn import functional as F

from ganlib.data.spec import Block, DataSpec
from ganlib.errors import ConfigError
from ganlib.models.vae.cvae import CVAE, CVAEConfig
from ganlib.nn.architecture import Headed, MLPTrunk, NetOptions
from ganlib.nn.conditional import ByClass, ClassPrior, MixturePrior, class_prior
from ganlib.testing.problems import labelled_table
from ganlib.training import Batch, Trainer, TrainerConfig

torch.set_num_threads(1)
SPEC = DataSpec.table((Block("a", "number", 0), Block("b", "number", 1)), classes=2)


def test_the_loss_is_the_negative_bound_of_equation():
    torch.manual_seed(0)
    model = CVAE(SPEC, CVAEConfig(latent_dim=1, hidden=(3,), beta=0.5))
    x, y = torch.tensor([[0.3, -1.0]]), torch.tensor([1])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.encoder.net.head.bias.copy_(torch.tensor([1.0, 0.0]))
        model.decoder.net.head.bias.copy_(torch.tensor([0.3, 1.0]))
    losses = model.loss(Batch({"x": x, "y": y}))
    # Unit variances: ½ log 2π per column, and a gap of 2 in the second; KL(N(1, 1) || N(0, 1)) = ½.
    assert losses["reconstruction"].item() == pytest.approx(0.918939 * 2 + 2.0, abs=1e-4)
    assert losses["kl"].item() == pytest.approx(0.5, abs=1e-6)
    assert losses.total.item() == pytest.approx(0.918939 * 2 + 2.25, abs=1e-4)


def test_networks_see_the_class_as_a_one_hot_or_not_at_all():
    trunk = MLPTrunk((2,), 3, NetOptions((4,)))
    net = ByClass(Headed(trunk, 1), 3)
    x = torch.randn(5, 2)
    joined = torch.cat([x, F.one_hot(torch.full((5,), 2), 3).float()], 1)
    assert torch.equal(net(x, torch.full((5,), 2)), net.net.head(trunk.body(joined)))
    latent = CVAE(SPEC, CVAEConfig(latent_dim=2, hidden=(4,), condition="latent"))
    mean = [latent.posterior(x, torch.full((5,), c))[0] for c in range(2)]
    assert torch.equal(*mean)


def test_it_refuses_data_without_classes():
    with pytest.raises(ConfigError, match="needs classes"):
        CVAE(DataSpec.vector(2), CVAEConfig())


def test_class_prior_is_standard_until_fitted():
    prior, noise = ClassPrior(2, 3), torch.randn(4, 3)
    assert torch.equal(prior(noise, torch.tensor([0, 1, 0, 1])), noise)


def test_class_prior_learns_means_and_covariances_of_large_classes():
    generator = torch.Generator().manual_seed(0)
    factor = torch.tensor([[1.0, 0.0], [0.8, 0.3]])
    z = torch.randn(4000, 2, generator=generator) @ factor.T
    y = torch.arange(4000) % 2
    z[y == 1] += 3.0
    prior = ClassPrior(2, 2)
    prior.fit(z, torch.full_like(z, 0.04), y)
    assert torch.allclose(prior.mean, torch.tensor([[0.0, 0.0], [3.0, 3.0]]), atol=0.1)
    expected = factor @ factor.T + 0.04 * torch.eye(2)
    assert torch.allclose(prior.factor[0] @ prior.factor[0].T, expected, atol=0.1)


def test_a_class_of_few_rows_borrows_the_shape_of_the_others():
    generator = torch.Generator().manual_seed(1)
    factor = torch.tensor([[1.0, 0.0], [0.95, 0.1]])
    z = torch.randn(1003, 2, generator=generator) @ factor.T
    y = torch.cat([torch.zeros(1000), torch.ones(3)]).long()
    z[y == 1] += 5.0
    prior = ClassPrior(3, 2)
    prior.fit(z, torch.full_like(z, 1e-3), y)
    small = prior.factor[1] @ prior.factor[1].T
    assert small[0, 1] / (small[0, 0] * small[1, 1]).sqrt() > 0.9
    assert small.diagonal().min() > 0.05
    assert torch.equal(prior.factor[2], torch.eye(2)), "a class never seen keeps N(0, I)"


def test_a_mixture_keeps_to_the_places_where_a_class_is():
    """Two clouds a class: one Gaussian would put most draws between them."""
    generator = torch.Generator().manual_seed(0)
    side = torch.where(torch.rand(2000, 1, generator=generator) < 0.25, -4.0, 4.0)
    z = torch.cat([side, torch.zeros(2000, 1)], 1) + 0.5 * torch.randn(2000, 2, generator=generator)
    y = (torch.arange(2000) >= 1990).long()
    prior = class_prior(DataSpec.image(1, 8, 8, classes=3), 2, 2)
    assert isinstance(prior, MixturePrior) and prior.noise_dim == 3
    noise = torch.randn(4000, 3, generator=generator)
    assert torch.equal(prior(noise, torch.zeros(4000).long()), noise[:, :2]), "standard until fitted"
    prior.fit(z, torch.full_like(z, 1e-4), y)
    drawn = prior(noise, torch.zeros(4000).long())
    assert (drawn[:, 0].abs() - 4).abs().max() < 2.5
    assert (drawn[:, 0] < 0).float().mean().item() == pytest.approx(0.25, abs=0.04)
    assert drawn[:, 1].std().item() == pytest.approx(0.5, abs=0.05)
    assert (prior.upto[1] == 1).all(), "ten rows get one Gaussian"
    assert torch.equal(prior(noise, torch.full((4000,), 2)), noise[:, :2]), "a class never seen keeps N(0, I)"


def test_tables_keep_one_gaussian_a_class_by_default():
    assert type(class_prior(DataSpec.vector(4, 2), 2, None)) is ClassPrior
    assert class_prior(DataSpec.series(1, 16, classes=2), 2, None).components == 30
    with pytest.raises(ConfigError, match="prior_components"):
        class_prior(DataSpec.vector(4, 2), 2, 0)


def test_strength_is_chosen_as_by_leaving_each_row_out_in_turn():
    torch.manual_seed(0)
    mean, variance, pooled = torch.randn(12, 3).double(), torch.rand(12, 3).double(), torch.eye(3).double()
    prior = ClassPrior(1, 3)

    def by_hand(strength):
        total = 0.0
        for i in range(12):
            rest = torch.arange(12) != i
            own = torch.cov(mean[rest].T) + torch.diag(variance[rest].mean(0))
            share = 11 / (11 + strength)
            covariance = share * own + (1 - share) * pooled + 1e-6 * torch.eye(3)
            inverse, gap = torch.linalg.inv(covariance), mean[i] - mean[rest].mean(0)
            total -= 0.5 * (gap @ inverse @ gap + inverse.diagonal() @ variance[i] + torch.logdet(covariance))
        return float(total)

    assert prior._strength(mean, variance, pooled) == max(prior.GRID, key=by_hand)


@pytest.mark.trained
def test_it_generates_the_class_asked_for():
    """Chance is 1/3; first weights of the seeds 0 to 4 reach 0.993 to 1.0."""
    x, y, spec = labelled_table(600, 0)
    torch.manual_seed(0)
    model = CVAE(spec, CVAEConfig(latent_dim=3, hidden=(32,), learning_rate=5e-3))
    Trainer(TrainerConfig(steps=300, batch_size=64)).fit(model, {"x": x, "y": y})
    model.fit_prior(x, y)
    sampler, asked = model.sampler(), torch.arange(300) % 3
    with torch.no_grad():
        made = sampler(torch.randn(300, sampler.latent_dim, generator=torch.Generator().manual_seed(0)), asked)
    centres = torch.stack([x[y == c, :4].mean(0) for c in range(3)])
    right = (torch.cdist(made[:, :4], centres).argmin(1) == asked).float().mean()
    assert right > 0.95
