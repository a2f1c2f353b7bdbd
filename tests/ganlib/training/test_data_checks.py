"""What cannot be trained on is said before the first step; lazily drawn batches train as tensors do."""

import numpy as np
import pytest
import torch

from ganlib.augment import as_augmenter
from ganlib.data.images import ImageFolder, LazyImages
from ganlib.data.spec import DataSpec, Vector
from ganlib.data.transforms import Compose, make_transform
from ganlib.errors import ConfigError, DataError, DivergenceError
from ganlib.registry import create, list_models
from ganlib.training import TensorBatches, Trainer, TrainerConfig

torch.set_num_threads(1)
X = torch.randn(40, 3)


def fit(spec, data, name="gan", **options):
    options = {"hidden": 8 if name == "seqgan" else (8,), **options}
    return Trainer(TrainerConfig(steps=2, batch_size=8)).fit(create(name, spec, **options), data)


@pytest.mark.parametrize("data", [X.double(), X.half(), X.numpy().astype("float64"), X.tolist()])
def test_numbers_of_any_precision_and_labels_of_any_width_train(data):
    y = torch.arange(len(X), dtype=torch.int32) % 2
    assert fit(DataSpec.vector(3, 2), {"x": data, "y": y}, "cvae").steps == 2


@pytest.mark.parametrize(
    ("spec", "data", "name", "message"),
    [
        (DataSpec.vector(2), {"x": X}, "gan", r"shape \(2,\), and 'x' has \(3,\)"),
        (DataSpec.image(3, 8, 8), {"x": torch.randn(9, 1, 8, 8)}, "gan", "channels, height, width"),
        (DataSpec.image(1, 8, 8), {"x": torch.ones(9, 1, 8, 8)}, "gan", "all training examples of 'x' are the same"),
        (
            DataSpec.vector(3),
            {"x": X.index_fill(0, torch.tensor([4]), float("nan"))},
            "gan",
            "3 training values of 'x' are NaN",
        ),
        (DataSpec.vector(3, 2), {"x": X, "y": torch.arange(40) % 3}, "cvae", "from 0 to 2.*classes=3"),
        (DataSpec.vector(3, 2), {"x": X, "y": torch.arange(40) % 2 - 1}, "cvae", "from -1 to 0"),
        (DataSpec.vector(3, 2), {"x": X, "y": (torch.arange(40) % 2).float()}, "cvae", "class indices"),
        (DataSpec.vector(3), X, "gan", "tensors by name"),
        (DataSpec.vector(3), {"x": X.int()}, "gan", "floating-point numbers"),
        (DataSpec.vector(3), {"x": X.to(torch.complex64)}, "gan", "complex"),
        (DataSpec.vector(3), {"x": X > 0}, "gan", "torch.bool"),
        (DataSpec.vector(3), {"x": [["a", "b", "c"]]}, "gan", "cannot be read as numbers"),
        (DataSpec.image(1, 8, 8), {"x": torch.rand(9, 1, 8, 8) * 255}, "gan", "to_tensor"),
        (DataSpec.image(1, 8, 8), {"x": torch.rand(9, 1, 8, 8) * 3}, "gan", "to_tensor"),
        (DataSpec.of(Vector(3), attributes=2), {"x": X, "c": X}, "cgan", r"shape \(2,\), and 'c' has \(3,\)"),
        (DataSpec.of(Vector(3), attributes=3), {"x": X, "c": X / 0}, "cgan", "120 training values of 'c' are NaN"),
        (DataSpec.tokens(5, 4), {"x": torch.full((9, 5), 4)}, "seqgan", "model knows 0 to 3"),
    ],
)
def test_data_that_cannot_be_learned(spec, data, name, message):
    with pytest.raises(DataError, match=message):
        fit(spec, data, name)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("acgan", {"objective": "mmd"}, "no critic with logits"),
        ("infogan", {"objective": "began"}, "no critic with logits"),
        ("gan", {"objective": "mmd", "replay": 5}, "replay has no meaning"),
        ("gan", {"objective": "mmd", "critic_networks": "mlp"}, "critic_networks has no meaning"),
        ("gan", {"critic_norm": "virtual"}, "for generators"),
        ("coupled_pair", {"objective": "began"}, "is an auto-encoder"),
        ("coupled_pair", {"objective": "mmd"}, "has no critic, which this model needs"),
        ("coupled_pair", {"noise_steps": 3}, "no meaning without instance_noise"),
        ("gan", {"width": 0}, "'width' must be at least 1"),
        ("gan", {"hidden": (8, 0)}, "'hidden' must be at least 1"),
        ("gan", {"betas": (0.5,)}, "a list of 2"),
        ("gan", {"betas": (0.5, 2.0)}, "below 1"),
        ("gan", {"learning_rate": float("nan")}, "above 0"),
        ("gan", {"learning_rate": -1.0}, "above 0"),
        ("gan", {"critic_steps": 0}, "'critic_steps' must be at least 1"),
        ("gan", {"clip": -1.0}, "'clip' must be at least 0"),
    ],
)
def test_objectives_that_do_not_fit(name, options, message):
    with pytest.raises(ConfigError, match=message):
        create(name, DataSpec.vector(3, 2), **options)


@pytest.fixture
def folder(tmp_path):
    """Two classes of twelve images in files of equal size."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for index in range(12):
            Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / "set" / name / f"{index}.bmp")
    return ImageFolder(tmp_path / "set")


def test_lazily_drawn_images_train_as_tensors_do(folder, tmp_path):
    weights = []
    for data in (folder.load(), LazyImages(folder, 8, seed=0)):
        torch.manual_seed(0)
        model = create("cvae", folder.spec, width=4, latent_dim=2)
        Trainer(TrainerConfig(steps=5, batch_size=8, checkpoint=str(tmp_path / type(data).__name__))).fit(model, data)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


@pytest.mark.parametrize(
    ("spec", "name", "message"),
    [
        ((3,), "gan", "built for a DataSpec"),
        (DataSpec.image(1, 8, 8), "gail", "reads trajectory"),
        (DataSpec.vector(3), "dcgan", "reads image, series"),
        (DataSpec.tokens(5, 4), "gan", "not tokens data"),
        (DataSpec.of(Vector(5)), "seqgan", "not vector data"),
    ],
)
def test_a_model_is_built_for_data_that_it_reads(spec, name, message):
    with pytest.raises(ConfigError, match=message):
        create(name, spec)


@pytest.mark.parametrize("asked", [{"task": "augmentor"}, {"modality": "picture"}])
def test_models_are_listed_by_tasks_and_kinds_of_data_that_exist(asked):
    assert "dcgan" in list_models("augmenter", "image") and "dcgan" not in list_models("detector")
    with pytest.raises(ConfigError, match="there is no .*; choose "):
        list_models(**asked)


@pytest.mark.parametrize("name", ["vae", "cvae"])
def test_vectors_without_blocks_are_numbers(name):
    model = create(name, DataSpec.of(Vector(3), classes=2 * (name == "cvae")))
    z = torch.randn(5, model.sampler().latent_dim)
    assert model.sampler()(z, *([torch.zeros(5, dtype=torch.int64)] * (name == "cvae"))).shape == (5, 3)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"steps": 0}, "'steps' must be at least 1"),
        ({"gradient_clip": -1.0}, "'gradient_clip' must be at least 0"),
        ({"ema": 1.0}, "'ema' must be at least 0 and below 1"),
        ({"patience": -1}, "'patience' must be"),
    ],
)
def test_training_options_in_range(option, message):
    with pytest.raises(ConfigError, match=message):
        TrainerConfig(**option)


def test_deterministic_training_leaves_the_process_as_it_was():
    Trainer(TrainerConfig(steps=1, deterministic=True)).fit(create("gan", DataSpec.vector(3)), {"x": X})
    assert not torch.are_deterministic_algorithms_enabled()


def test_resuming_with_another_model_is_refused(tmp_path):
    config = TrainerConfig(steps=2, batch_size=8, checkpoint=str(tmp_path / "run"))
    spec = DataSpec.vector(3)
    Trainer(config).fit(create("gan", spec), {"x": X})
    for other in ({"learning_rate": 0.5}, {"objective": "least_squares"}):
        with pytest.raises(ConfigError, match=r"other settings \(model\)"):
            Trainer(config).fit(create("gan", spec, **other), {"x": X})


def test_resuming_with_other_data_is_refused(tmp_path):
    config = TrainerConfig(steps=2, batch_size=8, checkpoint=str(tmp_path / "run"))
    Trainer(config).fit(create("gan", DataSpec.vector(3)), {"x": X})
    with pytest.raises(ConfigError, match=r"other settings \(data x\)"):
        Trainer(config).fit(create("gan", DataSpec.vector(3)), {"x": -X})
    with pytest.raises(ConfigError, match="is a folder"):
        Trainer(config.replace(checkpoint=str(tmp_path))).fit(create("gan", DataSpec.vector(3)), {"x": X})


def test_resuming_with_data_drawn_otherwise_is_refused(folder, tmp_path):
    config = TrainerConfig(steps=2, checkpoint=str(tmp_path / "run"))

    def fit(batch_size=8, **options):
        return Trainer(config).fit(create("gan", folder.spec, hidden=(8,)), LazyImages(folder, batch_size, **options))

    def jitter(images, generator):
        return images

    def moved(fraction):
        return Compose([make_transform("translation", fraction=fraction), lambda x, g: jitter(x, g)])

    fit(transform=moved(0.1))
    assert fit(transform=moved(0.1)).steps == 2  # another object, equal but for its address
    for other, part in (
        ({"batch_size": 6}, "batch_size"),
        ({"seed": 1}, "seed"),
        ({"shuffle": False}, "shuffle"),
        ({"transform": moved(0.2)}, "transform"),
        ({"transform": jitter}, "transform"),
    ):
        with pytest.raises(ConfigError, match=rf"other settings \(data {part}\)"):
            fit(**{"transform": moved(0.1), **other})
    first, second = folder.files[:2]
    first.write_bytes(second.read_bytes())
    with pytest.raises(ConfigError, match=r"other settings \(data files\)"):
        fit(transform=moved(0.1))


def test_resuming_with_another_specification_is_refused(tmp_path):
    config = TrainerConfig(steps=2, batch_size=8, checkpoint=str(tmp_path / "run"))
    data = {"x": X, "y": torch.arange(len(X)) % 2}
    for _ in range(2):
        Trainer(config).fit(create("cvae", DataSpec.vector(3, 2)), data)
    with pytest.raises(ConfigError, match=r"other settings \(spec y count\)"):
        Trainer(config).fit(create("cvae", DataSpec.vector(3, 3)), data)


def test_every_label_of_a_folder_is_checked_before_the_first_step(folder):
    model = create("cvae", DataSpec.of(folder.spec.x, classes=1), width=4)
    with pytest.raises(DataError, match="from 0 to 1.*classes=2"):
        Trainer(TrainerConfig(steps=9)).fit(model, LazyImages(folder, 1, shuffle=False))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("cvae", r"not 'cvae': ganlib.create\('cvae', spec\)"),
        (as_augmenter("cvae"), "trained by its fit"),
        (None, "not a NoneType"),
    ],
)
def test_what_is_no_model_is_not_trained(model, message):
    with pytest.raises(ConfigError, match=message):
        Trainer().fit(model, {"x": X})


def test_what_is_no_configuration_is_refused():
    with pytest.raises(ConfigError, match="config must be a TrainerConfig"):
        Trainer({"steps": 4})


@pytest.mark.parametrize(
    "x", [np.zeros((2, 3), np.float32), torch.zeros(2, 4), torch.zeros(3), torch.zeros(2, 3).int()]
)
def test_what_cannot_be_classified_is_refused(x):
    model = create("semi_supervised_gan", DataSpec.vector(3, 2), hidden=(8,), generator_hidden=(8,))
    with pytest.raises(DataError, match=r"float32 tensor of shape \(n, 3\)"):
        model.classify(x)


def test_the_data_are_read_for_the_checkpoint_once_a_run(tmp_path, monkeypatch):
    times, digests = [], TensorBatches.digests
    monkeypatch.setattr(TensorBatches, "digests", lambda self: times.append(1) or digests(self))
    config = TrainerConfig(epochs=3, batch_size=8, checkpoint=str(tmp_path / "run"), checkpoint_every=1)
    for _ in range(2):  # the second is resumed
        Trainer(config).fit(create("gan", DataSpec.vector(3)), {"x": X})
    assert len(times) == 2


def test_what_diverges_in_the_last_update_is_noticed():
    """Its loss is never computed; so the weights are checked. The weights before it are back."""
    model = create("gan", DataSpec.vector(3), learning_rate=1e38, objective="least_squares")
    before = {n: v.clone() for n, v in model.state_dict().items()}
    with pytest.raises(DivergenceError, match="weights of"):
        Trainer(TrainerConfig(steps=2, batch_size=64)).fit(model, {"x": 1e30 * X})
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
