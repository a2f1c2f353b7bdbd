"""Sealed generators of images, series and points: noise and conditions in, torch's arrays out."""

import json

import numpy as np
import onnx
import pytest
import torch
from export_models import build, conditions, names
from torch import nn

from ganlib.augment import as_augmenter
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError, ParityError
from ganlib.export import save_sealed, seal, seal_encoder, seal_generator
from ganlib.export.reference import Reference, check_arrays, check_network, to_levels
from ganlib.registry import entries, entry
from serving.artifact import load_artifact
from serving.errors import DataError, UsageError
from serving.generator import Generator

ARRAYS = {"points", "image", "series"}
REPRESENTATIVES = {"gan", "dcgan", "sagan", "stackgan", "cvae", "infogan", "gan_int_cls", "localized_gan"}
POINTS = DataSpec.vector(2)


def spec_of(model):
    """The toy's data, or small images where the toy is a table of flags and categories."""
    spec = model.toy.spec
    plain = all(block.kind == "number" for block in spec.blocks)
    return spec if plain else DataSpec.image(1, 8, 8, classes=spec.classes, attributes=spec.attributes)


def sealed(path, name, spec, conditional=True, **config):
    parts = seal_generator(
        build(name, spec, **config), names(spec) if conditional else None, as_bytes=spec.kind == "image"
    )  # fmt: skip
    return save_sealed(parts, path)


def agrees(path, name, spec, **config):
    """The served artifact makes what torch makes of the same seed."""
    generator, rows = Generator(load_artifact(path)), 301
    conditions = np.resize(np.array(generator.conditions), rows) if generator.conditions else None
    rng = np.random.default_rng(5)
    attributes = rng.normal(size=(rows, spec.attributes)).astype(np.float32) if spec.attributes else None
    examples = rng.uniform(-1, 1, (rows, *spec.shape)).astype(np.float32) if generator.examples else None
    got = generator.sample(rows, conditions, seed=7, attributes=attributes, examples=examples)
    z = np.random.Generator(np.random.Philox(7)).standard_normal((rows, generator.latent_dim), dtype=np.float32)
    y = torch.arange(rows) % max(1, spec.classes)
    inputs = [torch.from_numpy(z)]
    if attributes is not None:
        one_hot = nn.functional.one_hot(y, max(1, spec.classes)).float()[:, : spec.classes]
        inputs.append(torch.cat([one_hot, torch.from_numpy(attributes)], 1))
    elif generator.conditions:
        inputs.append(y)
    elif examples is not None:
        inputs.append(torch.from_numpy(examples))
    with torch.no_grad():
        expected = build(name, spec, **config).sampler()(*inputs).numpy()
    assert expected.std() > 0.01
    if spec.kind == "image":
        scaled, levels = to_levels(expected)
        assert got.dtype == np.uint8 and got.shape == levels.shape
        gap, near = np.abs(got.astype(int) - levels), np.abs(scaled - np.floor(scaled) - 0.5) <= 1e-3
        assert gap.max() <= 1 and near[gap > 0].all()
    else:
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(e.name, marks=() if e.name in REPRESENTATIVES else pytest.mark.slow)
        for e in entries()
        if "sampler" in e.exports and ARRAYS & set(e.modalities) and not e.toy.spec.vocabulary
    ],
)
def test_every_sampler_is_sealed_and_served(name, tmp_path):
    model = entry(name)
    spec, path = spec_of(model), tmp_path / f"{name}.onnx"
    made = build(name, spec, **model.toy.config)
    conditional = conditions(made, spec) is not None and not made.sampler().by_example
    report = sealed(path, name, spec, conditional=conditional, **model.toy.config)
    assert report.parity_max_abs <= report.parity_bound and report.alpha_min is None
    agrees(path, name, spec, **model.toy.config)


VARIANTS = {
    "cropped sides and classes": ("cgan", DataSpec.image(3, 28, 28, classes=3), {}),
    "residual blocks, attention and spectral norm": (
        "sagan", DataSpec.image(1, 9, 12), {"networks": "resnet_attention", "generator_norm": "batch"},
    ),
    "virtual batch norm": ("dcgan", DataSpec.image(1, 12, 12), {"generator_norm": "virtual"}),
    "series": ("dcgan", DataSpec.series(2, 20), {}),
    "images from attributes": ("gan_int_cls", DataSpec.image(1, 8, 8, attributes=4), {"text_dim": 8}),
    "neighbours of images": ("localized_gan", DataSpec.image(1, 8, 8), {"latent_dim": 3}),
    "classes and attributes": ("cgan", DataSpec.vector(2, 3, attributes=2), {"hidden": (16,)}),
}  # fmt: skip


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(what, marks=() if what in ("series", "virtual batch norm") else pytest.mark.slow)
        for what in VARIANTS
    ],
)
def test_layers_and_shapes(what, tmp_path):
    name, spec, config = VARIANTS[what]
    config = {"latent_dim": 6, "width": 8, **config}
    sealed(tmp_path / "a.onnx", name, spec, **config)
    agrees(tmp_path / "a.onnx", name, spec, **config)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("arrays") / "images.onnx"
    return path, sealed(path, "cgan", DataSpec.image(1, 8, 8, classes=3), latent_dim=4, width=8)


def test_metadata_and_golden_rows(images):
    path, report = images
    model = onnx.load(path)
    card = {p.key: json.loads(p.value) for p in model.metadata_props}
    assert card["format_version"] == 2 and card["kind"] == "augmenter" and card["modality"] == "image"
    assert card["shape"] == [1, 8, 8] and card["latent_dim"] == 4 and card["attributes"] == 0
    assert card["conditions"] == ["class 0", "class 1", "class 2"] and "schema" not in card
    assert card["model"]["name"] == model.graph.name == "cgan" and card["model"]["config"]["width"] == 8
    assert card["parity"] == {"max_abs": report.parity_max_abs, "bound": 1e-3, "rows": 520}
    assert set(card["hashes"]) == {"graph", "metadata"}
    assert card["training"] == {"fingerprint": None, "rows": None, "data": None}
    golden = card["golden"]
    assert np.array(golden["z"]).shape == (8, 4) and len(golden["condition"]) == 8
    assert np.array(golden["values"]).shape == (8, 64) and np.std(golden["values"]) > 1
    assert (path.parent / "images.onnx.sha256").read_text().split() == [report.sha256, "images.onnx"]


def test_equal_models_give_equal_bytes(images, tmp_path):
    again = sealed(tmp_path / "again.onnx", "cgan", DataSpec.image(1, 8, 8, classes=3), latent_dim=4, width=8)
    assert again.sha256 == images[1].sha256


def test_an_unknown_class_fails_instead_of_becoming_another(images):
    session = load_artifact(images[0]).session
    with pytest.raises(Exception, match="out of data bounds|out of bounds"):
        session.run(None, {"z": np.zeros((2, 4), np.float32), "condition": np.array(["class 0", "nobody"], object)})


@pytest.mark.parametrize(
    ("name", "spec", "classes", "as_bytes", "words"),
    [
        ("cgan", DataSpec.image(1, 8, 8, classes=3), None, True, "name its 3 classes"),
        ("cgan", DataSpec.image(1, 8, 8, classes=3), ["a", "b"], True, "has 3 classes"),
        ("cgan", DataSpec.image(1, 8, 8, classes=3), ["a", "b", "a"], True, "each once"),
        ("gan", POINTS, ["a"], False, "not conditioned on the class"),
        ("gan", POINTS, None, True, "bytes are for images"),
        ("cvae", entry("cvae").toy.spec, ["a", "b", "c"], False, "table rows"),
        ("autoencoder", POINTS, None, False, "no sampler"),
    ],
)
def test_what_does_not_fit_is_refused(name, spec, classes, as_bytes, words):
    with pytest.raises(ConfigError, match=words):
        seal_generator(entry(name).create(spec), classes, as_bytes=as_bytes)


@pytest.mark.parametrize("seal_one", [seal_generator, seal_encoder])
def test_what_is_no_model_is_refused(seal_one):
    with pytest.raises(ConfigError, match="ganlib.export.seal seals it"):
        seal_one(as_augmenter("cgan"))


def test_a_network_that_is_broken_is_refused():
    algorithm = entry("gan").create(POINTS)
    with torch.no_grad():
        algorithm.generator.head.bias.fill_(torch.nan)
    with pytest.raises(ParityError, match="not finite"):
        seal_generator(algorithm)


# ---------------------------------------------------------------- the comparison itself
class Graph:
    """A session whose result is a function of its feeds."""

    def __init__(self, function):
        self.function = function

    def run(self, outputs, feeds):
        return [self.function(**feeds)]


def noise(rows, seed):
    return {"z": np.random.default_rng(seed).standard_normal((rows, 3), dtype=np.float32)}


class Map(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, z):
        return self.function(z)


def test_numbers_are_held_to_1e_4_and_the_figure_says_how_far():
    reference = Reference(Map(lambda z: z), noise, [], "x")
    parity = check_arrays(Graph(lambda z: z + np.float32(3e-5)), reference)
    assert parity.max_abs == pytest.approx(3e-5, rel=0.1) and (parity.bound, parity.rows) == (1e-4, 520)
    with pytest.raises(ParityError, match="520 of 520"):
        check_arrays(Graph(lambda z: z + np.float32(3e-4)), reference)


def test_a_row_that_torch_itself_moves_is_no_disagreement():
    def at_edge(rows, edges):
        feeds = {"z": np.linspace(2, 3, rows * 3, dtype=np.float32).reshape(rows, 3)}
        feeds["z"][5 : 5 + edges] = 1
        return feeds

    torch_side, graph = Map(lambda z: (z > 1).float()), Graph(lambda z: (z >= 1).astype(np.float32))
    assert check_arrays(graph, Reference(torch_side, lambda rows, seed: at_edge(rows, 1), [], "x")).rows == 519
    with pytest.raises(ParityError, match="100 of 520"):
        check_arrays(graph, Reference(torch_side, lambda rows, seed: at_edge(rows, 100), [], "x"))
    wrong = Graph(lambda z: (z > 2.5).astype(np.float32))
    with pytest.raises(ParityError, match="differ between"):
        check_arrays(wrong, Reference(torch_side, lambda rows, seed: at_edge(rows, 1), [], "x"))


def test_bytes_may_differ_by_a_level_next_to_a_boundary_alone():
    def image(z):
        return z[:, :, None, None].clamp(-1, 1)

    def levels(z, shift=0.0):
        return to_levels(np.clip(z[:, :, None, None], -1, 1) + np.float32(shift / 127.5))[1].astype(np.uint8)

    reference = Reference(Map(image), noise, [], "image")
    assert check_arrays(Graph(lambda z: levels(z)), reference).max_abs == 0
    assert check_arrays(Graph(lambda z: levels(z, 9e-4)), reference).max_abs <= 1e-3
    for shift in (0.1, 2.0):
        with pytest.raises(ParityError, match="differ between"):
            check_arrays(Graph(lambda z, shift=shift: levels(z, shift)), reference)


def test_rows_that_know_their_batch_are_refused():
    with pytest.raises(ConfigError, match="others in its batch"):
        check_network(Reference(Map(lambda z: z - z.mean(0)), noise, [], "x"))


# ---------------------------------------------------------------- estimators
class Fitted:
    """What sealing needs of an augmenter that was fitted on arrays."""

    model = "cgan"
    training_ = {"rows": 12}

    def __init__(self, spec, models=1):
        self.conditions_ = names(spec)
        one = build("cgan", spec, latent_dim=4, width=8)
        facts = {"spec": spec, "models": [one] * models, "in_units": staticmethod(lambda sampler: sampler)}
        self.arrays_ = type("Arrays", (), facts)()
        self.reader_ = type("Reader", (), {"tabular": False})()


def test_an_augmenter_of_images_is_sealed_as_bytes(images, tmp_path):
    spec = DataSpec.image(1, 8, 8, classes=3)
    report = seal(Fitted(spec), tmp_path / "fitted.onnx")
    artifact = load_artifact(report.path)
    assert artifact.metadata["training"]["rows"] == 12
    rows = [Generator(a).sample(5, ["class 1"] * 5, 3) for a in (artifact, load_artifact(images[0]))]
    assert np.array_equal(*rows)
    with pytest.raises(ConfigError, match="a model for each of 2 classes"):
        seal(Fitted(spec, models=2), tmp_path / "two.onnx")


SMALL = {"steps": 3, "width": 4, "latent_dim": 3}


def test_an_augmenter_of_series_is_sealed_in_their_own_units(tmp_path):
    rng = np.random.default_rng(0)
    X = np.stack([5 + rng.normal(size=(60, 20)), 300 * rng.normal(size=(60, 20))], 1)
    fitted = as_augmenter("dcgan", **SMALL).fit(X)
    generator = Generator(load_artifact(seal(fitted, tmp_path / "series.onnx").path))
    made = generator.sample(40, seed=3)
    assert np.allclose(made, fitted.sample(40, random_state=3), rtol=1e-4, atol=1e-3)
    # In training units both channels would be below 1.
    assert abs(made[:, 0].mean() - 5) < 2 and np.abs(made[:, 1]).mean() > 20


def test_an_augmenter_by_attributes_is_sealed_with_their_scale(tmp_path):
    rng = np.random.default_rng(0)
    X, heat = rng.integers(0, 256, (60, 8, 8), dtype=np.uint8), rng.normal(500, 40, (60, 2))
    fitted = as_augmenter("cgan", **SMALL).fit(X, heat)
    generator = Generator(load_artifact(seal(fitted, tmp_path / "heat.onnx").path))
    assert generator.attributes == 2 and not generator.conditions
    made, asked = fitted.sample(20, heat[:20], random_state=4)
    assert np.array_equal(asked, heat[:20])
    again = generator.sample(20, seed=4, attributes=heat[:20])[..., 0]
    assert np.abs(again.astype(int) - made).max() <= 1
    assert not np.array_equal(again, generator.sample(20, seed=4, attributes=heat[:20] + 80)[..., 0])


def test_a_model_by_class_without_classes_asks_for_none(tmp_path):
    X = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    fitted = as_augmenter("cvae", **SMALL).fit(X)
    generator = Generator(load_artifact(seal(fitted, tmp_path / "one.onnx").path))
    assert not generator.conditions
    assert np.abs(generator.sample(9, seed=2)[..., 0].astype(int) - fitted.sample(9, random_state=2)).max() <= 1


def test_neighbours_are_sealed_without_the_examples(tmp_path):
    X = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)
    fitted = as_augmenter("localized_gan", **SMALL).fit(X)
    path = seal(fitted, tmp_path / "near.onnx").path
    generator = Generator(load_artifact(path))
    near = generator.sample(60, examples=X)
    apart = np.abs(near.astype(int) - X).mean((1, 2, 3))
    assert apart.max() < np.abs(near.astype(int) - X[::-1]).mean((1, 2, 3)).min()
    for call, error, words in [
        (lambda: generator.sample(3), UsageError, "example for each of the 3"),
        (lambda: generator.sample(3, examples=X[:2]), UsageError, "example for each of the 3"),
        (lambda: generator.sample(3, examples=X[:3, :4]), DataError, "are needed"),
    ]:
        with pytest.raises(error, match=words):
            call()
