"""Adversarial variational Bayes: the log-ratio at the optimal critic, moments of the encoder, players, the score."""

import math

import pytest
import torch
from torch import nn

from ganlib.data.spec import DataSpec
from ganlib.nn.implicit import BasisEncoder
from ganlib.registry import create
from ganlib.training import Batch

torch.set_num_threads(1)


def make(**options):
    torch.manual_seed(0)
    return create("avb", DataSpec.vector(3), latent_dim=2, hidden=(8,), critic_hidden=(8,), noise_dim=4, **options)


class Exact(nn.Module):
    """log N(z; m, s²) - log N(z; 0, 1) for the codes of ``Scaled``, as a critic of (x, z)."""

    def forward(self, inputs):
        x, z = inputs.split((3, 2), 1)
        mean, deviation = x[:, :2], torch.tensor([0.5, 2.0])
        ratio = 0.5 * (z.square() - ((z - mean) / deviation).square()) - deviation.log()
        return ratio.sum(1, keepdim=True)


class Scaled(nn.Module):
    """Gaussian codes with known moments."""

    def forward(self, x, noise):
        mean, deviation = self.moments(x)
        return mean + deviation * noise[:, :2]

    def moments(self, x):
        return x[:, :2], torch.tensor([0.5, 2.0]).expand(len(x), -1)


class Nought(nn.Module):
    """The optimal critic of Gaussian codes under adaptive contrast."""

    def forward(self, inputs):
        return torch.zeros(len(inputs), 1)


@torch.no_grad()
@pytest.mark.parametrize(("adaptive", "critic"), [(False, Exact()), (True, Nought())])
def test_the_mean_log_ratio_at_the_optimal_critic_is_the_divergence(adaptive, critic):
    model = make(adaptive=adaptive)
    model.encoder, model.critic = Scaled(), critic
    x = torch.tensor([[0.3, -1.0, 5.0]]).expand(200_000, -1)
    z = model.encoder(x, torch.randn(200_000, 4, generator=torch.Generator().manual_seed(0)))
    closed = sum(0.5 * (s * s + m * m - 1) - math.log(s) for m, s in ((0.3, 0.5), (-1.0, 2.0)))
    assert model.log_ratio(x, z).mean().item() == pytest.approx(closed, rel=0.02)


@torch.no_grad()
def test_both_contrasts_estimate_the_same_log_ratio_of_each_code():
    plain, adaptive = make(), make(adaptive=True)
    plain.encoder, plain.critic = Scaled(), Exact()
    adaptive.encoder, adaptive.critic = Scaled(), Nought()
    x, z = torch.randn(50, 3), torch.randn(50, 2)
    assert torch.allclose(plain.log_ratio(x, z), adaptive.log_ratio(x, z), atol=1e-4)


@torch.no_grad()
def test_moments_of_the_basis_encoder_are_those_of_its_codes():
    torch.manual_seed(0)
    encoder = BasisEncoder(3, 5, (8,), 2)
    x, draws = torch.randn(4, 3), 40_000
    noise = torch.randn(4 * draws, 5, generator=torch.Generator().manual_seed(1))
    codes = encoder(x.repeat_interleave(draws, 0), noise).view(4, draws, 2)
    mean, deviation = encoder.moments(x)
    # The table of 256 antithetic rows has errors of its own.
    assert torch.allclose(codes.mean(1), mean, atol=0.1 * float(deviation.max()))
    assert torch.allclose(codes.std(1), deviation, rtol=0.12)


def test_the_critic_takes_codes_for_real_and_leaves_the_encoder_alone():
    model = make()
    batch = Batch({"x": torch.randn(16, 3)}, torch.Generator().manual_seed(0))
    loss = model.critic_loss(batch)["critic"]
    generator = torch.Generator().manual_seed(0)
    noise, prior = torch.randn(16, 4, generator=generator), torch.randn(16, 2, generator=generator)
    codes = model.encoder(batch.x, noise)
    judged = [torch.sigmoid(model.critic(torch.cat([batch.x, z], 1))) for z in (codes, prior)]
    assert loss.item() == pytest.approx(-(judged[0].log().mean() + (1 - judged[1]).log().mean()).item(), rel=1e-5)
    assert all(g is None for g in torch.autograd.grad(loss, list(model.encoder.parameters()), allow_unused=True))


@torch.no_grad()
@pytest.mark.parametrize("adaptive", [False, True])
def test_the_score_is_the_negative_bound_over_the_table_and_its_parts_add_up(adaptive):
    model, x = make(adaptive=adaptive, beta=0.5, score_samples=6).eval(), torch.randn(5, 3)
    bounds = []
    for noise in model.noise.table:
        z = model.encoder(x, noise.expand(5, -1))
        bounds.append(model.reconstruction_nll(z, x).sum(1) + 0.5 * model.log_ratio(x, z))
    scorer = model.scorer()
    assert torch.allclose(scorer(x), torch.stack(bounds).mean(0), rtol=1e-5, atol=1e-5)
    constant = 0.5 * (math.log(2 * math.pi) + model.log_variance).sum()
    assert torch.allclose(scorer.residual(x).sum(1) + constant, scorer.score(x, with_kl=False), rtol=1e-4)
    mean, log_variance = model.posterior(x)
    assert torch.equal(model.encode(x), mean) and log_variance.shape == (5, 2)
