"""Auto-encoders, codes, importance bounds, flows and score models: mechanisms and messages."""

import itertools
import math
import time

import numpy as np
import pytest
import torch

from ganlib.augment import as_augmenter
from ganlib.data.spec import Block, DataSpec
from ganlib.detect import as_detector
from ganlib.errors import ConfigError
from ganlib.models.autoencoder.priors import PRIORS, prior
from ganlib.models.vae.iwae import importance_bound
from ganlib.nn.autoregressive import CausalNet
from ganlib.registry import create
from ganlib.training import Batch, Trainer, TrainerConfig


def batch_of(x, **more):
    return Batch({"x": x, **more}, torch.Generator().manual_seed(0))


# ---------------------------------------------------------------- auto-encoders
def test_a_denoising_autoencoder_masks_its_share_and_rebuilds_the_clean_example():
    model = create("denoising_autoencoder", DataSpec.image(1, 8, 8), mask=0.25, width=4)
    seen = model.corrupt(batch_of(torch.ones(500, 1, 8, 8)))
    assert set(seen.unique().tolist()) == {-1.0, 1.0} and abs(float((seen < 0).float().mean()) - 0.25) < 0.02
    plain = create("autoencoder", DataSpec.image(1, 8, 8), width=4)
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(plain.corrupt(batch_of(x)), x)


@pytest.mark.parametrize("shape", [(60, 9, 11), (60, 2, 25)])
def test_images_and_series_of_any_side(shape):
    X = np.random.default_rng(0).random(shape)
    modality = "image" if shape[1] == 9 else "series"
    detector = as_detector("autoencoder", steps=3, options={"width": 4}, modality=modality).fit(X)
    assert np.isfinite(detector.anomaly_score(X)).all()
    augmenter = as_augmenter("vq_vae", steps=3, options={"width": 4}, modality=modality).fit(X)
    assert augmenter.sample(4).shape == (4, *shape[1:])


@pytest.mark.parametrize("name", sorted(PRIORS))
def test_priors_are_centred_and_of_their_size(name):
    torch.manual_seed(0)
    made = prior(name, 2)
    z = made(torch.randn(4000, made.noise))
    assert z.shape == (4000, 2) and z.isfinite().all() and z.std(0).min() > 0.3
    assert torch.allclose(z.mean(0), torch.zeros(2), atol=0.6)


def test_the_mixture_has_ten_even_modes():
    torch.manual_seed(0)
    made = prior("mixture", 3)
    z = made(torch.randn(5000, made.noise))
    share = torch.bincount(torch.cdist(z, made.centres).argmin(1), minlength=10) / 5000
    assert share.min() > 0.07 and share.max() < 0.13


def test_an_adversarial_autoencoder_without_a_critic_matches_by_mmd():
    model = create("adversarial_autoencoder", DataSpec.vector(3), objective="mmd", latent_dim=2)
    assert set(model.players()) == {"autoencoder"}
    Trainer(TrainerConfig(steps=3, batch_size=32)).fit(model, {"x": torch.randn(64, 3)})


def test_the_class_of_the_code_is_the_one_asked_for():
    model = create("semi_supervised_aae", DataSpec.vector(3, 4), latent_dim=2).eval()
    sampler = model.sampler()
    z, y = torch.randn(6, sampler.latent_dim), torch.arange(6) % 4
    code = torch.cat([z[:, :2], torch.nn.functional.one_hot(y, 4).float()], 1)
    assert torch.allclose(sampler(z, y), model.coder.decode(code), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("semi_supervised_aae", {}, "needs two or more classes"),
        ("adversarial_autoencoder", {"prior": "laplace"}, "no prior is called 'laplace'; choose normal"),
        ("adversarial_autoencoder", {"prior": "swiss_roll", "latent_dim": 3}, "set latent_dim=2"),
        ("iwae", {"beta": 2.0}, "leave beta out"),
        ("denoising_score", {"largest": 0.1, "smallest": 0.2}, "noise falls from largest to smallest"),
    ],
)
def test_options_that_cannot_be(name, options, message):
    with pytest.raises(ConfigError, match=message):
        create(name, DataSpec.vector(3), **options)


# ---------------------------------------------------------------- codes
@pytest.mark.parametrize("grid", [(6,), (3, 4)])
def test_a_prior_over_codes_sees_only_what_came_before(grid):
    torch.manual_seed(0)
    net, size = CausalNet(3, grid, 8, 3), math.prod(grid)
    given = torch.rand(1, 3, *grid, requires_grad=True)
    for i in range(size):
        (slope,) = torch.autograd.grad(net(given).flatten(2)[0, :, i].sum(), given)
        reached = slope.flatten(2)[0].abs().sum(0) > 0
        assert not reached[i:].any() and (i == 0 or reached[:i].any())


def test_the_prior_is_a_distribution_and_draws_from_it():
    torch.manual_seed(0)
    net = CausalNet(3, (3,), 8, 2).double().eval()
    words = torch.tensor(list(itertools.product(range(3), repeat=3)))
    with torch.no_grad():
        p = net.log_prob(torch.nn.functional.one_hot(words, 3).double().transpose(1, 2)).sum(1).exp()
        drawn = net.draw(torch.rand(20_000, 3, generator=torch.Generator().manual_seed(1)).double()).argmax(1)
    assert abs(float(p.sum()) - 1) < 1e-9
    share = torch.bincount((drawn * torch.tensor([9, 3, 1])).sum(1), minlength=27) / 20_000
    assert (share - p).abs().max() < 0.015


@pytest.mark.parametrize("grid", [(9,), (4, 5)])
def test_codes_are_drawn_step_by_step_as_the_whole_network_would(grid):
    """Each code inverts, at its uniform number, the distribution that one pass over the drawn codes gives it."""
    torch.manual_seed(0)
    net, size = CausalNet(5, grid, 8, 3).double(), math.prod(grid)
    uniform = torch.rand(40, size, dtype=torch.float64)
    with torch.no_grad():
        drawn = net.draw(uniform)
        below = torch.softmax(net(drawn).flatten(2), 1).cumsum(1)[:, :-1]
    assert drawn.shape == (40, 5, *grid) and torch.equal(drawn.sum(1), torch.ones(40, *grid, dtype=torch.float64))
    assert torch.equal(drawn.flatten(2).argmax(1), (uniform.unsqueeze(1) > below).sum(1))


def test_a_hundred_images_of_codes_take_less_than_a_second():
    sampler = create("vq_vae", DataSpec.image(1, 28, 28)).sampler()
    z = torch.randn(100, sampler.latent_dim)
    with torch.no_grad():
        began = time.process_time()
        made = sampler(z)
    assert made.shape == (100, 1, 28, 28) and time.process_time() - began < 1.0


@pytest.mark.parametrize("codebook", ["ema", "gradient"])
def test_codes_out_of_use_move_to_outputs(codebook):
    torch.manual_seed(0)
    model = create("vq_vae", DataSpec.image(1, 8, 8), width=4, codes=8, codebook=codebook)
    batch = batch_of(torch.rand(16, 1, 8, 8) * 2 - 1)
    model.prepare(batch)
    with torch.no_grad():
        model.book[3] += 100
        model.counts[3] = 0.0
    model.coder_loss(batch)
    model.tend(batch)
    outputs = model.outputs(batch.x).detach()
    assert float((outputs - model.book[3].detach()).norm(dim=1).min()) < 1e-4 and float(model.counts[3]) == 1.0


# ---------------------------------------------------------------- densities
def test_the_importance_bound_grows_to_the_truth():
    """A linear Gaussian model, whose likelihood is known."""
    torch.manual_seed(0)
    model = create("iwae", DataSpec.vector(4), latent_dim=2, hidden=()).double()
    x = torch.randn(200, 4, dtype=torch.float64)
    with torch.no_grad():
        model.encoder.head.weight.zero_(), model.encoder.head.bias.zero_()  # draws from the prior
        weight, bias = model.decoder.head.weight, model.decoder.head.bias
        covariance = weight @ weight.T + torch.diag(model.log_variance.exp())
        truth = float(torch.distributions.MultivariateNormal(bias, covariance).log_prob(x).mean())
        generator = torch.Generator().manual_seed(1)
        bounds = [
            float(importance_bound(model, x, torch.randn(200, k, 2, generator=generator, dtype=torch.float64)).mean())
            for k in (1, 5, 50, 2000)
        ]
    assert bounds == sorted(bounds) and bounds[0] < truth - 0.1 and abs(bounds[-1] - truth) < 0.02


@pytest.mark.parametrize("name", ["glow", "realnvp", "nice"])
def test_a_sealed_flow_is_the_trained_one_and_inverts(name):
    torch.manual_seed(0)
    blocks = (Block("a", "number", 0), Block("b", "number", 1), Block("f", "binary", 2), Block("c", "category", 3, 3))
    model = create(name, DataSpec.table(blocks), flow_steps=3)
    x = torch.cat([torch.randn(256, 2), (torch.rand(256, 1) < 0.3).float(), torch.eye(3)[torch.arange(256) % 3]], 1)
    x[:, 1] = 2.0  # a constant column has no density, and no NaN
    Trainer(TrainerConfig(steps=30, batch_size=64)).fit(model, {"x": x})
    with torch.no_grad():
        assert torch.allclose(model.scorer()(x), -model.log_prob(x), rtol=1e-4, atol=1e-3)
        assert model.scorer()(x).isfinite().all() and model.discrete.tolist() == [0, 1, 1, 1, 1, 1]
        z = model.flow(x)[0]
        assert torch.allclose(model.frozen().inverse(z), x, atol=1e-3)
        made = model.sampler()(torch.randn(50, 6))
    assert set(made[:, 2].unique().tolist()) <= {0.0, 1.0}


def test_typicality_is_the_distance_from_the_usual_likelihood():
    torch.manual_seed(0)
    model = create("realnvp", DataSpec.vector(2), flow_steps=2, score="typicality")
    Trainer(TrainerConfig(steps=30, batch_size=64)).fit(model, {"x": torch.randn(256, 2)})
    x = torch.zeros(1, 2)
    with torch.no_grad():
        assert torch.allclose(model.scorer()(x), (-model.log_prob(x) - model.usual).abs(), atol=1e-5)
    assert float(model.usual) > 0


def test_a_flow_of_one_column_says_why_not():
    with pytest.raises(ConfigError, match="at least 2 values"):
        create("realnvp", DataSpec.vector(1))
