"""The property-steered auto-encoder: its losses by hand, the critic's view, samples, options."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from ganlib.data.spec import Block, DataSpec, Vector
from ganlib.errors import ConfigError
from ganlib.registry import create
from ganlib.training import Batch

torch.set_num_threads(1)
FLAGS = DataSpec({"x": Vector(5, tuple(Block(f"b{i}", "binary", i) for i in range(5))), "c": Vector(2)})


def make(spec=FLAGS, **options):
    torch.manual_seed(0)
    return create("property_aae", spec, **{"hidden": (8,), "critic_hidden": (8,), "latent_dim": 3, **options})


def batch():
    generator = torch.Generator().manual_seed(1)
    x = (torch.rand(16, 5, generator=generator) > 0.5).float()
    return Batch({"x": x, "c": torch.randn(16, 2, generator=generator)}, torch.Generator().manual_seed(0))


def test_losses_by_hand():
    model, given = make(property=7.0), batch()
    losses = model.autoencoder_loss(given)
    code = model.encoder(given.x)
    crossed = binary_cross_entropy_with_logits(model.decoder(code), given.x, reduction="none").sum(1).mean()
    error = (code[:, 3:] - given["c"]).square().sum(1).mean()
    fooled = torch.nn.functional.softplus(-model.game.critic(code[:, :3], given["c"])).mean()
    assert losses["reconstruction"].item() == pytest.approx(crossed.item(), rel=1e-5)
    assert losses["property"].item() == pytest.approx(error.item(), rel=1e-5)
    assert losses.total.item() == pytest.approx((crossed + 7 * error + fooled).item(), rel=1e-5)


@torch.no_grad()
def test_the_critic_gets_the_properties_unless_it_is_not_conditional():
    for conditional in (True, False):
        model, given = make(conditional=conditional), batch()
        before = model.autoencoder_loss(given)["generator"]
        other = batch()
        other.tensors["c"] = other["c"] + 3
        assert torch.allclose(model.autoencoder_loss(other)["generator"], before) != conditional


@torch.no_grad()
def test_samples_are_the_decoder_on_the_prior_and_the_requested_properties():
    model = make()
    sampler, wanted = model.sampler(), torch.tensor([[1.0, -1.0]]).expand(4000, -1)
    z = torch.zeros(4000, sampler.latent_dim)
    z[:, 3:] = torch.randn(4000, 5, generator=torch.Generator().manual_seed(0))
    chance = torch.sigmoid(model.decoder(torch.tensor([[0.0, 0.0, 0.0, 1.0, -1.0]])))[0]
    assert torch.allclose(sampler(z, wanted).mean(0), chance, atol=0.03)


def test_options_and_data_that_do_not_fit():
    with pytest.raises(ConfigError, match="numeric properties"):
        make(DataSpec.vector(5))
    assert make(norm="batch").couples_batch().startswith("batch norm") and not make().couples_batch()
    assert not make().log_variance.requires_grad and make(DataSpec.vector(5, attributes=1)).log_variance.requires_grad
    assert "critic" not in make(objective="mmd", conditional=False).players()
