"""The registry: what it accepts at registration, and what a model may be built for."""

import importlib
import pickle

import pytest

from ganlib import registry
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.models.gan.config import GANConfig
from ganlib.models.gan.gan import GAN
from ganlib.models.vae import vae as vae_module
from ganlib.registry import create, entries, entry, options_of, register, resolve


@pytest.fixture
def kept(monkeypatch):
    """The entries are restored afterwards."""
    entries()
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))


def add(build, **changes):
    known = entry("vae")
    fields = {name: getattr(known, name) for name in ("config", "tasks", "modalities", "paper", "exports", "own_toy")}
    fields["toy"] = fields.pop("own_toy")
    return register("vae", **{**fields, **changes})(build)


def test_a_second_class_of_the_same_name_from_another_module_is_an_error(kept):
    other = type("VAE", (vae_module.VAE,), {"__module__": "my_models"})
    with pytest.raises(ValueError, match=r"ganlib\.models\.vae\.vae\.VAE and my_models\.VAE; rename"):
        add(other)
    assert entry("vae").build is vae_module.VAE


def test_a_module_that_is_imported_again_replaces_its_entry(kept):
    before, saved = vae_module.VAE, dict(vars(vae_module))
    try:
        importlib.reload(vae_module)
        assert entry("vae").build is vae_module.VAE is not before
    finally:
        vars(vae_module).update(saved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"known_gaps": {"exprot": "a misspelt gap is checked by nothing"}}, "laws in known_gaps: exprot"),
        ({"tasks": ("detecter",)}, "unknown tasks: detecter"),
        ({"modalities": ("picture",)}, "unknown modalities: picture"),
        ({"exports": ("encoder",)}, "unknown exports: encoder"),
        ({"tasks": ("density",)}, r"claims what its class has no method for: density \(ganlib.abilities.HasDensity\)"),
    ],
)
def test_unknown_words_are_errors(kept, changes, message):
    with pytest.raises(ValueError, match=message):
        add(vae_module.VAE, **changes)


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        ("gan", DataSpec.tokens(12, 8), r"reads points, table, image, series, not tokens data \(12,\)"),
        ("vae", DataSpec.tokens(12, 8), "not tokens data"),
        ("seqgan", DataSpec.vector(12), "reads tokens, not vector data"),
        ("gail", DataSpec.image(1, 8, 8), r"reads trajectory, not image data \(1, 8, 8\)"),
    ],
)
def test_a_model_is_built_only_for_the_kind_of_data_it_reads(name, spec, message):
    with pytest.raises(ConfigError, match=message):
        create(name, spec)


def test_a_model_is_known_by_the_entry_that_created_it():
    for name in ("gan", "wgan_gp", "dcgan", "sagan"):
        sides = {"dcgan": DataSpec.image(1, 16, 16), "sagan": DataSpec.image(1, 16, 16)}
        spec = sides.get(name, DataSpec.vector(2))
        model = create(name, spec, width=8)
        assert resolve(model).name == name and options_of(model) == {"width": 8}
        assert resolve(pickle.loads(pickle.dumps(model))).name == name


def test_a_model_that_no_entry_created_is_the_plain_one():
    assert resolve(GAN).name == "gan"
    model = GAN(DataSpec.vector(2), GANConfig(objective="wgan_gp", latent_dim=3))
    assert resolve(model).name == "gan" and options_of(model) == {"objective": "wgan_gp", "latent_dim": 3}
