"""VAE and the reconstruction-probability VAE: bound, likelihoods, scores, the reason to learn a variance."""

import math

import pytest
import torch

from ganlib.data.spec import Block, DataSpec
from ganlib.metrics.detection import auroc
from ganlib.models.anomaly.reconstruction_vae import ReconstructionVAE, ReconstructionVAEConfig
from ganlib.models.vae.vae import VAE, FixedNoise, VAEConfig
from ganlib.testing.problems import factor_table
from ganlib.training import Batch, Trainer, TrainerConfig

torch.set_num_threads(1)
MIXED = DataSpec.table((Block("a", "number", 0), Block("b", "binary", 1), Block("c", "category", 2, 3)))


def make(cls=VAE, spec=None, **config):
    torch.manual_seed(0)
    kind = VAEConfig if cls is VAE else ReconstructionVAEConfig
    return cls(spec or DataSpec.vector(4), kind(latent_dim=2, hidden=(8,), **config))


def test_bound_by_hand_on_a_mixed_row():
    model = make(spec=MIXED, beta=0.5)
    x = torch.tensor([[0.3, 1.0, 0.0, 1.0, 0.0]])
    batch = Batch({"x": x}, torch.Generator().manual_seed(3))
    losses = model.loss(batch)
    mean, log_variance = model.posterior(x)
    noise = torch.randn(1, 2, generator=torch.Generator().manual_seed(3))
    out = model.decoder(mean + (log_variance / 2).exp() * noise)[0]
    variance = model.log_variance[0].exp()
    number = 0.5 * (math.log(2 * math.pi) + variance.log() + (0.3 - out[0]) ** 2 / variance)
    flag = -torch.sigmoid(out[1]).log()
    category = -torch.log_softmax(out[2:], 0)[1]
    kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum()
    assert losses["reconstruction"].item() == pytest.approx((number + flag + category).item(), rel=1e-5)
    assert losses["kl"].item() == pytest.approx(kl.item(), rel=1e-5)
    assert losses.total.item() == pytest.approx((number + flag + category + 0.5 * kl).item(), rel=1e-5)


def test_noise_table_is_fixed_symmetric_and_may_be_empty():
    table = FixedNoise(8, 3).table
    assert table.shape == (8, 3) and torch.equal(table, FixedNoise(8, 3).table)
    assert torch.allclose(table.sum(0), torch.zeros(3), atol=1e-6)
    assert torch.equal(FixedNoise(0, 3).table, torch.zeros(1, 3))


@pytest.mark.parametrize("samples", [0, 1, 6])
def test_score_is_the_negative_bound_over_the_table(samples):
    model = make(score_samples=samples)
    x = torch.randn(7, 4)
    with torch.no_grad():
        mean, log_variance = model.posterior(x)
        rows = [mean + (log_variance / 2).exp() * e for e in model.noise.table]
        nll = torch.stack([model.reconstruction_nll(z, x).sum(1) for z in rows]).mean(0)
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
        assert len(rows) == max(1, samples)
        assert torch.allclose(model.scorer()(x), nll + kl, rtol=1e-5)


def test_residuals_are_the_score_of_the_row_without_its_constants():
    model = make(spec=MIXED)
    x = torch.tensor([[0.3, 1.0, 0.0, 1.0, 0.0], [2.0, 0.0, 1.0, 0.0, 0.0]])
    with torch.no_grad():
        residual = model.scorer().residual(x)
        nll = model.reconstruction_nll(model.posterior(x)[0], x)
        constant = 0.5 * (math.log(2 * math.pi) + model.log_variance[0])
    assert residual.shape == x.shape and residual.min() >= 0
    assert torch.allclose(residual[:, 0], nll[:, 0] - constant, atol=1e-5)
    assert torch.allclose(residual[:, 1], nll[:, 1]) and torch.allclose(residual[:, 2:].sum(1), nll[:, 2])


@pytest.mark.trained
def test_variance_of_the_noise_is_learned():
    torch.manual_seed(1)
    x = torch.randn(1000, 4) * torch.tensor([1.0, 0.5, 0.2, 1.0])
    model = make(learning_rate=0.01)
    Trainer(TrainerConfig(epochs=60, batch_size=100)).fit(model, {"x": x})
    # independent columns: nothing for the code to explain beyond its two dimensions
    assert model.log_variance[2].exp().item() == pytest.approx(0.04, rel=0.4)


def test_reconstruction_probability_leaves_out_the_kl():
    x = torch.randn(9, 4)
    plain, full = (make(ReconstructionVAE, kl_in_score=kl) for kl in (False, True))
    full.load_state_dict(plain.state_dict())
    with torch.no_grad():
        mean, log_variance = plain.posterior(x)
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
        assert torch.allclose(full.scorer()(x) - plain.scorer()(x), kl, atol=1e-4)


def test_decoder_variance_differs_by_row_and_is_bounded():
    model = make(ReconstructionVAE)
    with torch.no_grad():
        x = torch.zeros(500, 4)
        nll = model.reconstruction_nll(5 * torch.randn(500, 2), x)
        assert nll.std(0).min() > 0
        for scale, bound in ((1e6, 0.0), (-1e6, -5.0)):
            model.decoder.head.weight.zero_()
            model.decoder.head.bias.copy_(torch.tensor([0.0] * 4 + [scale] * 4))
            at_mean = model.reconstruction_nll(torch.zeros(1, 2), torch.zeros(1, 4))
            expected = 0.5 * (math.log(2 * math.pi) + bound)
            assert torch.allclose(at_mean, torch.full((1, 4), expected), atol=1e-5)


@pytest.mark.trained
def test_a_learned_variance_helps_where_a_column_is_noisy():
    """The reason for the model: one channel of heavy noise must not drown the others."""
    generator = torch.Generator().manual_seed(5)

    def rows(n, seed, shift=0.0):
        x = factor_table(n, seed, shift=shift)
        level = torch.randint(0, 2, (n, 1), generator=generator).float()
        noise = (0.1 + 2.4 * level) * torch.randn(n, 2, generator=generator)
        return torch.cat([x, level, noise], 1)

    torch.manual_seed(0)
    config = ReconstructionVAEConfig(latent_dim=3, hidden=(32, 16), learning_rate=5e-3, max_log_variance=2.0)
    model = ReconstructionVAE(DataSpec.vector(11), config)
    Trainer(TrainerConfig(epochs=40, batch_size=100, ema=0.99)).fit(model, {"x": rows(2000, 0)})
    x, truth = torch.cat([rows(500, 1), rows(500, 2, 0.5)]), torch.cat([torch.zeros(500), torch.ones(500)])
    with torch.no_grad():
        mean = model.decoder(model.posterior(x)[0]).chunk(2, 1)[0]
        plain = auroc((x - mean).square().sum(1), truth)
        learned = auroc(model.scorer()(x), truth)
    assert learned > plain + 0.05 and learned > 0.8
