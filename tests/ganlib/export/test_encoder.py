"""Sealed encoders: examples in, torch's codes out."""

import json

import numpy as np
import onnx
import pytest
import torch
from export_models import build, names
from torch import nn

from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.export import encoder_of, save_sealed, seal_encoder
from ganlib.registry import entry
from serving.artifact import load_artifact
from serving.generator import Encoder

IMAGES = DataSpec.image(1, 8, 8, classes=3)
POINTS = DataSpec.vector(2)
CASES = {
    "cvae": (IMAGES, {"latent_dim": 4, "width": 8}),
    "infogan": (POINTS, {"latent_dim": 4, "categories": 5, "continuous": 1}),
    "semi_supervised_gan": (DataSpec.vector(6, 3), {"latent_dim": 4, "hidden": (16,), "generator_hidden": (16,)}),
    "cvae_gan": (IMAGES, {"latent_dim": 4, "width": 8}),
    "vae": (DataSpec.vector(6), {"latent_dim": 3, "hidden": (16,)}),
    "mode_regularised_gan": (DataSpec.image(1, 8, 8), {"latent_dim": 4, "width": 8}),
}
SLOW = {"cvae_gan", "vae", "mode_regularised_gan"}


@torch.no_grad()
def expected_codes(algorithm, name, x, y):
    if name in ("cvae", "cvae_gan"):
        return algorithm.posterior(x, y)[0]
    if name == "vae":
        return algorithm.posterior(x)[0]
    if name == "infogan":
        return nn.functional.one_hot(algorithm.category(x), algorithm.config.categories).float()
    return algorithm.encode(x) if name == "mode_regularised_gan" else algorithm.class_logits(x)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in CASES])
def test_codes_are_those_of_torch(name, tmp_path):
    spec, config = CASES[name]
    algorithm = build(name, spec, **config).eval()
    report = save_sealed(seal_encoder(algorithm, names(spec)), tmp_path / "encoder.onnx")
    assert report.parity_max_abs <= report.parity_bound == 1e-4
    encoder, rows = Encoder(load_artifact(report.path)), 301
    x = np.random.default_rng(3).uniform(-1, 1, (rows, *spec.shape)).astype(np.float32)
    y = torch.arange(rows) % max(1, spec.classes)
    assert bool(encoder.conditions) == (name in ("cvae", "cvae_gan"))
    got = encoder.encode(x, [names(spec)[int(c)] for c in y] if encoder.conditions else None)
    # The model is as it was: a parametrisation that is baked in for export stays in the model.
    expected = expected_codes(algorithm, name, torch.from_numpy(x), y).numpy()
    assert got.shape == expected.shape and expected.std() > 0.01
    wrong = (np.abs(got - expected) > 1e-4 * np.maximum(1, np.abs(expected))).any(1)
    assert wrong.mean() <= (0.01 if name == "infogan" else 0)


@pytest.fixture(scope="module")
def points(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoder") / "points.onnx"
    algorithm = build("mode_regularised_gan", POINTS, latent_dim=3, hidden=(16,))
    save_sealed(seal_encoder(algorithm), path, name="mine", training={"rows": 5})
    return path


def test_metadata(points):
    model = onnx.load(points)
    entries = {p.key: json.loads(p.value) for p in model.metadata_props}
    assert entries["kind"] == "encoder" and entries["modality"] == "points" and entries["shape"] == [2]
    assert entries["latent_dim"] == 3 and entries["conditions"] == [] and entries["training"]["rows"] == 5
    assert model.graph.name == "mine" and entries["model"]["name"] == "mode_regularised_gan"
    golden = entries["golden"]
    assert len(golden["rows"]) == 8 and np.array(golden["values"]).shape == (8, 3) and "condition" not in golden


def test_an_algorithm_may_bring_its_own(tmp_path):
    class Own(type(build("gan", POINTS, hidden=(8,)))):
        def encode(self, x):
            return x @ torch.ones(2, 5)

    algorithm = Own(POINTS, entry("gan").config(hidden=(8,)))
    assert encoder_of(algorithm)(torch.ones(3, 2)).tolist() == [[2.0] * 5] * 3
    report = save_sealed(seal_encoder(algorithm), tmp_path / "own.onnx")
    assert Encoder(load_artifact(report.path)).encode(np.zeros((4, 2))).shape == (4, 5)


def test_what_has_no_encoder_is_refused():
    assert encoder_of(entry("gan").create(POINTS)) is None
    assert encoder_of(entry("infogan").create(POINTS, categories=0)) is None
    with pytest.raises(ConfigError, match="no encoder"):
        seal_encoder(entry("gan").create(POINTS))
    with pytest.raises(ConfigError, match="name its 3 classes"):
        seal_encoder(entry("cvae").create(IMAGES))
    with pytest.raises(ConfigError, match="has 3 classes"):
        seal_encoder(entry("cvae").create(IMAGES), ["a"])


def test_a_class_that_the_networks_do_not_see_is_not_asked_for():
    algorithm = build("cvae", DataSpec.vector(6, classes=3), condition="latent", hidden=(8,))
    sealed = seal_encoder(algorithm, ["a", "b", "c"])
    assert sealed.metadata["conditions"] == [] and [i.name for i in sealed.model.graph.input] == ["x"]


def test_an_encoder_that_looks_at_the_whole_batch_is_refused():
    config = {"minibatch_discrimination": 4, "hidden": (16,), "generator_hidden": (16,)}
    with pytest.raises(ConfigError, match="others in its batch"):
        seal_encoder(build("semi_supervised_gan", DataSpec.vector(6, 3), **config))
