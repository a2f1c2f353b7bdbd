"""AnoGAN's search: scores fall with steps, rows far from the generator score high; no registry entry."""

import pytest
import torch

from ganlib.data.spec import Block, DataSpec
from ganlib.detect import search_scores
from ganlib.errors import ConfigError
from ganlib.registry import create, entry


def gan(spec):
    torch.manual_seed(0)
    return create("gan", spec, latent_dim=3, hidden=(16,), width=4)


@pytest.mark.trained
@pytest.mark.parametrize("spec", [DataSpec.vector(5), DataSpec.image(1, 8, 8), DataSpec.series(2, 16)])
def test_a_generated_example_is_found_again_and_another_is_not(spec):
    model = gan(spec)
    sampler = model.sampler()
    with torch.no_grad():
        made = sampler(torch.randn(6, sampler.latent_dim, generator=torch.Generator().manual_seed(9)))
    far = made.flip(0) + 2 * torch.randn(made.shape, generator=torch.Generator().manual_seed(1))
    few, many = search_scores(model, made, steps=1), search_scores(model, made, steps=120)
    assert many.shape == (6,) and many.mean() < 0.5 * few.mean()
    assert many.max() < search_scores(model, far, steps=120).min()
    assert model.training and all(p.grad is None for p in model.parameters())


def test_scores_depend_on_the_seed_and_the_row_only():
    model, x = gan(DataSpec.vector(3)), torch.randn(4, 3)
    whole = search_scores(model, x, steps=20)
    assert torch.equal(whole, search_scores(model, x, steps=20))
    assert torch.allclose(whole[:2], search_scores(model, x[:2], steps=20), rtol=1e-4)


def test_what_cannot_be_searched_is_rejected():
    flags = DataSpec.table((Block("a", "number", 0), Block("b", "binary", 1)))
    with pytest.raises(ConfigError, match="numbers, images and series"):
        search_scores(gan(flags), torch.zeros(2, 2))
    with pytest.raises(ConfigError, match="give a GAN"):
        search_scores(create("vae", DataSpec.vector(2)), torch.zeros(2, 2))
    with pytest.raises(ConfigError, match="steps"):
        search_scores(gan(DataSpec.vector(2)), torch.zeros(2, 2), steps=0)


@pytest.mark.parametrize("name", ["anogan", "AnoGAN"])
def test_the_registry_says_why_it_has_no_anogan(name):
    with pytest.raises(ConfigError, match=r"neither registered nor sealed.*search_scores.*ganomaly"):
        entry(name)
