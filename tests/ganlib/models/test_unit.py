"""UNIT: one code for two domains; the term that keeps distances."""

import pytest
import torch

from ganlib.data.spec import DataSpec, Image
from ganlib.errors import ConfigError
from ganlib.models.translation.coupled_pair import changed_distances
from ganlib.registry import create
from ganlib.training import Batch

torch.set_num_threads(1)
SMALL = {"width": 4, "blocks": 2, "halvings": 1, "layers": 1, "scales": 1}


def made(channels=1, **options):
    torch.manual_seed(0)
    spec = DataSpec({"x": Image(1, 8, 8), "x_b": Image(channels, 8, 8)})
    return create("unit", spec, **{**SMALL, **options})


def batch(channels=1):
    g = torch.Generator().manual_seed(1)
    a, b = torch.rand(4, 1, 8, 8, generator=g), torch.rand(4, channels, 8, 8, generator=g)
    return Batch({"x": 2 * a - 1, "x_b": 2 * b - 1}, torch.Generator())


def test_shared_layers_serve_both_domains_and_own_layers_one():
    model, given = made(3), batch(3)
    shared = list(model.networks.encoder.parameters()) + list(model.networks.decoder.parameters())
    for translate, x, own, other in (
        (model.translate, given.x, 0, 1),
        (model.translate_back, given["x_b"], 1, 0),
    ):
        model.zero_grad()
        translate(x).square().sum().backward()
        domains = model.networks.domains
        assert all(p.grad is not None for p in shared)
        assert all(p.grad is not None for p in domains[own].encoder.parameters())
        assert all(p.grad is None for p in domains[other].encoder.parameters())
        assert all(p.grad is not None for p in domains[other].decoder.parameters())
        assert all(p.grad is None for p in domains[own].decoder.parameters())


def test_the_divergence_of_codes_is_their_mean_square_and_weights_are_those_of_the_code():
    model, given = made(), batch()
    losses = model.generator_loss(given)
    codes = model.encode(given.x), model.encode_b(given["x_b"])
    torch.testing.assert_close(losses["kl"], sum(code.square().mean() for code in codes))
    assert losses.weights == {
        "reconstruction": 10.0, "kl": 0.01, "cycle": 10.0, "kl_cycle": 0.01, "generator_a": 1.0, "generator_b": 1.0,
    }  # fmt: skip


def test_a_translation_is_the_decoding_of_the_code_by_the_other_domain():
    model, x = made().eval(), batch().x
    code = model.encode(x).view(4, 8, 4, 4)
    assert torch.equal(model.translate(x), model.decode(code, 1))


@pytest.mark.parametrize(
    ("sides", "options", "words"),
    [
        (((8, 8), (8, 12)), {}, "equal sides; channels may differ"),
        (((10, 10), (10, 10)), {"halvings": 2}, "multiples of 4 from 16"),
        (((8, 8), (8, 8)), {"halvings": 2}, "lower halvings"),
        (((8, 8), (8, 8)), {"scales": 3}, "need sides of 24.*lower layers or scales"),
        (((8, 8), (8, 8)), {"shared": 3}, "3 of 2 blocks cannot be shared"),
    ],
)
def test_images_that_do_not_suit_the_networks_are_rejected(sides, options, words):
    spec = DataSpec({"x": Image(1, *sides[0]), "x_b": Image(1, *sides[1])})
    with pytest.raises(ConfigError, match=words):
        create("unit", spec, **{**SMALL, **options})


def test_distances_are_unchanged_by_inversion_and_scaling_and_changed_by_another_order():
    x = torch.randn(32, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert float(changed_distances(x, -x, -x)) < 1e-5
    assert float(changed_distances(x, 3 * x + 1, 3 * x)) < 1e-4
    assert float(changed_distances(x, -x.flip(0), -x)) > 0.2


def test_the_distance_term_is_off_unless_set_and_couples_the_batch():
    spec = DataSpec.vector(2)
    given = Batch({"x": torch.randn(8, 2), "x_b": torch.randn(8, 2)}, torch.Generator())
    plain, kept = create("coupled_pair", spec), create("coupled_pair", spec, distance=2.0)
    assert "distance" not in plain.generator_loss(given) and not plain.couples_batch()
    assert kept.generator_loss(given).weights["distance"] == 2.0 and "distances" in kept.couples_batch()
