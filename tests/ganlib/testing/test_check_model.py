"""check_model passes a sound model and names the law that a broken one breaks."""

import itertools
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from ganlib import registry
from ganlib.errors import ConfigError
from ganlib.models.vae.vae import VAE, VAEConfig
from ganlib.registry import entries, entry, register
from ganlib.testing import check_model, laws_of
from ganlib.testing.toys.tables import FACTOR
from ganlib.training import Losses

TOY = replace(
    FACTOR, config={"latent_dim": 2, "hidden": (8,)}, trainer={"epochs": 1}, at_least=0.0, baseline=lambda _: -1
)
SHORT = ("config", "gradients", "updates", "players", "pickle", "drawing", "seed", "other_seed", "save", "scoring")


@pytest.fixture(autouse=True)
def kept(monkeypatch):
    """The entries are restored afterwards."""
    entries()
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))


def registered(build, **changes):
    known = {"modalities": ("table",), "config": VAEConfig, "paper": "a test", "toy": TOY, **changes}
    return register("my_vae", **known)(build)


def test_a_sound_model_passes_every_law():
    state = torch.get_rng_state()
    check_model(registered(Sound))
    assert torch.equal(state, torch.get_rng_state())


class Sound(VAE):
    pass


class Unseeded(VAE):
    count = itertools.count()

    def loss(self, batch):
        return super().loss(batch) | Losses(noise=next(self.count) * self.log_variance.sum())


class Frozen(VAE):
    def players(self):
        return {"vae": self.encoder}


class Idle(VAE):
    def loss(self, batch):
        return Losses(one=0 * super().loss(batch).total)


class Noisy(VAE):
    def scorer(self):
        scorer = super().scorer()
        scorer.register_forward_hook(lambda module, inputs, scores: scores + torch.rand(len(scores)))
        return scorer


class Sharing(VAE):
    def sampler(self):
        sampler = super().sampler()
        sampler.decoder = self.decoder
        return sampler


@pytest.mark.parametrize(
    ("build", "law", "message"),
    [
        (Unseeded, "seed", "differ between two trainings"),
        (Frozen, "players", "no player has .*decoder"),
        (Idle, "updates", "changes nothing"),
        (Noisy, "scoring", "two calls give different scores"),
        (Sharing, "drawing", "shares parameters"),
    ],
)
def test_a_broken_model_is_told_its_law(build, law, message):
    with pytest.raises(AssertionError, match=rf"(?s)model 'my_vae' breaks law '{law}' \(.*{message}"):
        check_model(registered(build), laws=SHORT if law != "seed" else (law,))


def test_a_closed_gap_must_be_removed():
    model = registered(Sound, known_gaps={"seed": "equal seeds give other weights here"})
    with pytest.raises(AssertionError, match="obeys law 'seed'; remove it from known_gaps"):
        check_model(model, laws=("seed",))


def test_an_open_gap_is_accepted():
    check_model(registered(Noisy, known_gaps={"scoring": "scores are still drawn at random"}), laws=("scoring",))


def test_a_gap_in_a_law_that_does_not_apply_is_an_error():
    model = registered(VAE, known_gaps={"density": "it has no density, so nothing checks this"})
    with pytest.raises(ConfigError, match="laws that do not apply to it: density"):
        check_model(model)


def test_unknown_models_and_laws_are_errors():
    with pytest.raises(ConfigError, match="registered class"):
        check_model(type("Nobody", (VAE,), {}))
    with pytest.raises(ConfigError, match=r"no laws \['sede'\]; choose config"):
        check_model("vae", laws=("sede",))
    with pytest.raises(ConfigError, match="has no toy problem; register it with one"):
        check_model(registered(VAE, toy=None))


def test_laws_follow_from_abilities():
    names = {name: {law.name for law in laws_of(entry(name))} for name in ("vae", "glow", "gail", "ganomaly")}
    assert {"inverse", "log_determinant", "density"} <= names["glow"]
    assert {"scoring", "sampling", "drawing"} <= names["vae"] and "density" not in names["vae"]
    assert not {"scoring", "sampling", "drawing"} & names["gail"]
    assert "scoring" in names["ganomaly"] and not {"sampling", "drawing"} & names["ganomaly"]


def test_models_import_no_toys_and_laws_need_no_pytest():
    code = (
        "import sys, ganlib\n"
        "ganlib.list_models()\n"
        "heavy = ('ganlib.testing', 'sklearn', 'scipy', 'pandas', 'onnx', 'matplotlib', 'PIL')\n"
        "assert not [m for m in sys.modules if m.startswith(heavy)], 'listing models costs little more than torch'\n"
        "from ganlib.testing import check_model, laws_of\n"
        "assert 'pytest' not in sys.modules and 'sklearn' not in sys.modules\n"
        "from ganlib.registry import entry\n"
        "assert entry('vae').toy.at_least == 0.95 and 'ganlib.testing.toys.gan' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
