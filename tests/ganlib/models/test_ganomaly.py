"""GANomaly: its three weighted terms, feature matching, the critic's restart, the score."""

import pickle

import pytest
import torch

from ganlib.data.spec import Block, DataSpec
from ganlib.errors import ConfigError
from ganlib.export.network import export_network
from ganlib.models.anomaly.ganomaly import GANomaly, GANomalyConfig
from ganlib.registry import create
from ganlib.training import Batch, Trainer, TrainerConfig

torch.set_num_threads(1)


def make(score="combined", dim=5, **config):
    torch.manual_seed(0)
    return GANomaly(DataSpec.vector(dim), GANomalyConfig(latent_dim=2, hidden=(8, 4), score=score, **config))


def batch(rows=6, dim=5):
    x = torch.randn(rows, dim, generator=torch.Generator().manual_seed(1))
    return Batch({"x": x}, torch.Generator().manual_seed(2))


def test_authors_weights_are_the_defaults():
    config = GANomalyConfig()
    assert (config.adversarial, config.contextual, config.encoder, config.restart_below) == (1.0, 50.0, 1.0, 1e-5)


def test_three_weighted_terms_by_hand():
    model, b = make(), batch()
    x = b.x
    z = model.encoder(x)
    rebuilt = model.decoder(z)
    again = model.second_encoder(rebuilt)
    hidden = [torch.nn.functional.leaky_relu(model.critic.body[0](v), 0.2) for v in (x, rebuilt)]
    features = [torch.nn.functional.leaky_relu(model.critic.body[2](h), 0.2) for h in hidden]
    matching = ((features[0] - features[1]) ** 2).mean()
    context = (x - rebuilt).abs().mean()
    code = ((z - again) ** 2).mean()
    losses = model.generator_loss(b)
    for name, value in (("adversarial", matching), ("contextual", context), ("encoder", code)):
        assert losses[name].item() == pytest.approx(value.item(), abs=1e-7)
    assert losses.total.item() == pytest.approx((matching + 50 * context + code).item(), rel=1e-6)


def test_critic_loss_by_hand():
    model, b = make(), batch()
    real, fake = model.critic(b.x), model.critic(model.decoder(model.encoder(b.x)))
    expected = -torch.sigmoid(real).log().mean() - (1 - torch.sigmoid(fake)).log().mean()
    assert model.critic_loss(b)["critic"].item() == pytest.approx(expected.item(), abs=1e-6)


def test_critic_restarts_only_once_it_has_won():
    model, b = make(), batch()
    before = {n: p.clone() for n, p in model.critic.named_parameters()}
    model.critic_value.fill_(1.1e-5)
    model.restart_critic(b)
    assert all(torch.equal(p, before[n]) for n, p in model.critic.named_parameters())
    model.critic_value.fill_(0.9e-5)
    model.restart_critic(batch())
    after = {n: p.clone() for n, p in model.critic.named_parameters()}
    for name, value in after.items():
        assert not torch.equal(value, before[name])
        width = dict(model.critic.named_modules())[name.rpartition(".")[0]].in_features
        assert value.abs().max() <= width**-0.5 + 1e-6
    # from the run's noise: a resumed run draws the same
    model.restart_critic(batch())
    assert all(torch.equal(p, after[n]) for n, p in model.critic.named_parameters())


def test_restart_happens_in_training():
    model = make(restart_below=1e9)
    start = {n: p.clone() for n, p in model.critic.named_parameters()}
    Trainer(TrainerConfig(steps=1, batch_size=6)).fit(model, {"x": batch().x})
    moved = max((p - start[n]).abs().max() for n, p in model.critic.named_parameters())
    assert moved > 0.05  # one Adam step alone moves by 0.001


def test_scores_by_hand():
    b = batch()
    for kind in ("latent", "context", "combined"):
        model = make(kind)
        model.context_scale.copy_(torch.tensor([0.04, 0.5, 1.0, 0.0001, 2.0]))
        model.latent_scale.copy_(torch.tensor([0.3, 0.7]))
        with torch.no_grad():
            z, rebuilt, again = model.passes(b.x)
            latent = (z - again) ** 2
            floored = torch.tensor([0.04, 0.5, 1.0, 0.01, 2.0])
            context = ((b.x - rebuilt) ** 2 / floored).mean(1)
            expected = {
                "latent": latent.mean(1),
                "context": context,
                "combined": context + (latent / torch.tensor([0.3, 0.7])).mean(1),
            }[kind]
            assert torch.allclose(model.scorer()(b.x), expected, rtol=1e-6)
            assert torch.allclose(model.scorer().residual(b.x).sum(1), context, rtol=1e-5)


@pytest.mark.trained
def test_scales_follow_the_training_errors_and_are_saved():
    model = make()
    x = torch.randn(256, 5) * torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0])
    Trainer(TrainerConfig(epochs=150, batch_size=64)).fit(model, {"x": x})
    _, rebuilt, _ = model.passes(x)
    errors = (x - rebuilt).square().mean(0)
    assert torch.allclose(model.context_scale[:4], errors[:4], rtol=0.35, atol=0.01)
    assert model.context_scale[4] < 0.05
    assert {"context_scale", "latent_scale", "critic_value"} <= model.state_dict().keys()
    held = model.eval().context_scale.clone()
    model.generator_loss(Batch({"x": x}))
    assert torch.equal(model.context_scale, held)


def test_flags_and_categories_are_rebuilt_as_probabilities():
    blocks = (Block("a", "number", 0), Block("b", "binary", 1), Block("c", "category", 2, 3))
    torch.manual_seed(0)
    model = GANomaly(DataSpec.table(blocks), GANomalyConfig(latent_dim=2, hidden=(8,)))
    _, rebuilt, _ = model.passes(3 * torch.randn(20, 5))
    assert rebuilt[:, 1].min() > 0 and rebuilt[:, 1].max() < 1
    assert torch.allclose(rebuilt[:, 2:].sum(1), torch.ones(20))


@pytest.mark.parametrize("spec", [DataSpec.image(1, 9, 8), DataSpec.image(3, 16, 16), DataSpec.series(2, 30)])
def test_images_and_series_are_rebuilt_by_pyramids_and_scored_in_onnx(spec):
    torch.manual_seed(0)
    model = GANomaly(spec, GANomalyConfig(width=4))
    x = 2 * torch.rand(24, *spec.shape) - 1
    start = {n: v.clone() for n, v in model.state_dict().items()}
    Trainer(TrainerConfig(steps=3, batch_size=12, device="cpu")).fit(model, {"x": x})
    assert all(not torch.equal(p, start[n]) for n, p in model.named_parameters())
    with torch.no_grad():
        codes, rebuilt, again = model.passes(x)
        wanted = ((x - rebuilt).square() / model.context_scale.clamp_min(0.01)).flatten(1).mean(1)
        wanted += ((codes - again).square() / model.latent_scale.clamp_min(0.01)).mean(1)
        assert torch.allclose(model.scorer()(x), wanted, rtol=1e-5)
        assert model.scorer().residual(x).shape == x.shape
    assert rebuilt.shape == x.shape and codes.shape[1] == min(100, spec.dim // 4)
    assert spec.kind == "series" or rebuilt.abs().max() <= 1
    export_network(model.scorer(), x[:2])


def test_images_too_small_for_a_pyramid_are_rejected_with_the_fix():
    with pytest.raises(ConfigError, match="below 4: enlarge or pad them"):
        create("ganomaly", DataSpec.image(1, 3, 8))


def test_a_convolutional_critic_restarts_with_dcgan_weights():
    torch.manual_seed(0)
    model = GANomaly(DataSpec.image(1, 8, 8), GANomalyConfig(width=4))
    model.critic_value.fill_(0.0)
    before = [p.clone() for p in model.critic.parameters()]
    model.restart_critic(Batch({"x": torch.zeros(2, 1, 8, 8)}, torch.Generator().manual_seed(2)))
    for parameter, old in zip(model.critic.parameters(), before, strict=True):
        assert not torch.equal(parameter, old) or bool((old == 0).all())  # biases of norms start at 0
    first = model.critic.trunk.body[0]
    assert bool((first.bias == 0).all()) and 0.005 < first.weight.std() < 0.05


def test_a_copy_in_memory_scores_the_same():
    model, b = make(), batch()
    with torch.no_grad():
        assert torch.equal(pickle.loads(pickle.dumps(model)).scorer()(b.x), model.scorer()(b.x))
