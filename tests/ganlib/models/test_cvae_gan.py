"""CVAE-GAN: the six terms by hand, who moves whom, the moving averages."""

import math

import pytest
import torch

from ganlib.data.spec import Block, DataSpec
from ganlib.errors import ConfigError
from ganlib.models.cvae_gan.cvae_gan import CVAEGAN, ClassMeans, CVAEGANConfig
from ganlib.training import Batch

torch.set_num_threads(1)
SPEC = DataSpec.table((Block("a", "number", 0), Block("b", "number", 1)), classes=2)


def batch(rows=6, seed=0):
    x = torch.randn(rows, 2, generator=torch.Generator().manual_seed(seed))
    return Batch({"x": x, "y": torch.arange(rows) % 2}, torch.Generator().manual_seed(seed))


def model(**options):
    torch.manual_seed(0)
    return CVAEGAN(SPEC, CVAEGANConfig(latent_dim=2, hidden=(5,), **options))


def test_defaults_are_the_papers_weights():
    config = CVAEGANConfig()
    assert (config.kl, config.like, config.critic_match, config.class_match) == (3.0, 1.0, 1e-3, 1e-3)
    assert config.reconstruction == "squared" and config.features == "sum"


def test_six_terms_by_hand():
    algorithm, data = model(), batch()
    out = algorithm.forward_once(data)
    # The same forward again, with the same noise in the same order.
    again = batch()
    x, y = again.x, again.y
    mean, log_variance = algorithm.encoder(x, y).chunk(2, 1)
    z = mean + (0.5 * log_variance).exp() * again.randn(2)
    drawn_y = y[again.permutation()]
    rebuilt = algorithm.generator(z, y) + 0 * again.randn(2)
    drawn = algorithm.generator(again.randn(2), drawn_y)
    f_d, f_c = algorithm.critic.features, algorithm.classifier.features
    kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean()
    like = sum(
        0.5 * ((a - b) ** 2).sum(1).mean() for a, b in ((x, rebuilt), (f_d(x), f_d(rebuilt)), (f_c(x), f_c(rebuilt)))
    )
    critic_match = 0.5 * ((f_d(x).mean(0) - f_d(drawn).mean(0)) ** 2).sum()
    class_match = 0.5 * sum(((f_c(x[y == c]).mean(0) - f_c(drawn[drawn_y == c]).mean(0)) ** 2).sum() for c in range(2))
    real, one, two = (algorithm.critic(rows) for rows in (x, rebuilt, drawn))
    critic = -(
        torch.sigmoid(real).log().mean() + (1 - torch.sigmoid(one)).log().mean() + (1 - torch.sigmoid(two)).log().mean()
    )
    classifier = -algorithm.classifier(x).log_softmax(1)[torch.arange(6), y].mean()
    assert torch.allclose(algorithm.encoder_loss(data).total, 3 * kl + like, atol=1e-5)
    generator = like + 1e-3 * critic_match + 1e-3 * class_match
    assert torch.allclose(algorithm.generator_loss(data).total, generator, atol=1e-5)
    assert torch.allclose(algorithm.critic_loss(data).total, critic, atol=1e-5)
    assert torch.allclose(algorithm.classifier_loss(data).total, classifier, atol=1e-5)
    assert torch.allclose(out["class_match"], class_match, atol=1e-5)


def test_training_is_asymmetric():
    """D and C move by their own cross-entropies only, G and E never by those."""
    algorithm, data = model(), batch()
    algorithm.critic_loss(data).total.backward(retain_graph=True)
    assert all(p.grad is None for p in algorithm.generator.parameters())
    algorithm.zero_grad()
    algorithm.classifier_loss(data).total.backward()
    assert all(p.grad is None for p in [*algorithm.generator.parameters(), *algorithm.encoder.parameters()])


def test_moving_averages_hold_class_means_and_pass_the_batch_gradient():
    means = ClassMeans(3, 1, momentum=0.9)
    features = torch.tensor([[1.0], [3.0], [5.0]], requires_grad=True)
    first, held = means(features, torch.tensor([0, 0, 1]))
    assert first.flatten().tolist() == [2.0, 5.0, 0.0] and held.tolist() == [True, True, False]
    second, _ = means(torch.tensor([[12.0]]), torch.tensor([0]))
    assert second[0].item() == pytest.approx(0.9 * 2 + 0.1 * 12, abs=1e-6)
    assert second[1].item() == 5.0
    (slope,) = torch.autograd.grad(first.sum(), features)
    assert slope.flatten().tolist() == [0.5, 0.5, 1.0]
    means.eval()
    before = means.mean.clone()
    means(torch.tensor([[99.0]]), torch.tensor([0]))
    assert torch.equal(means.mean, before)


def test_likelihood_learns_a_variance_and_the_squared_error_has_none():
    assert model().generator.raw is None and model().generator.scale.sum() == 0
    likely = model(reconstruction="likelihood")
    assert likely.generator.scale.tolist() == pytest.approx([math.exp(-0.5)] * 2, abs=1e-6)
    x = torch.zeros(1, 2)
    output = torch.tensor([[1.0, 0.0]])
    nll = 0.5 * (2 * math.log(2 * math.pi) + 2 * -1.0 + math.e)
    assert likely.rebuild_loss(output, x).item() == pytest.approx(nll, abs=1e-5)
    assert model().rebuild_loss(output, x).item() == pytest.approx(0.5, abs=1e-6)


def test_feature_terms_can_be_averaged_over_units():
    summed, mean = model().forward_once(batch()), model(features="mean").forward_once(batch())
    assert mean["like_critic"].item() == pytest.approx(summed["like_critic"].item() / 5, rel=1e-5)


def test_it_refuses_data_without_classes():
    with pytest.raises(ConfigError, match="needs classes"):
        CVAEGAN(DataSpec.vector(2), CVAEGANConfig())
