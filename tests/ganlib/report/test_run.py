"""The pictures of a run: which are made for which model, and that they show what they say."""

import matplotlib.image
import pytest
import torch

from ganlib.abilities import Samples, can
from ganlib.augment import as_augmenter
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError, DataError
from ganlib.registry import create
from ganlib.report.run import picture_run
from ganlib.testing.problems import digits, ring
from ganlib.training import History, Trainer, TrainerConfig

torch.set_num_threads(1)


def train(name, spec, data, **options):
    torch.manual_seed(0)
    model = create(name, spec, **options)
    history = Trainer(TrainerConfig(steps=24, batch_size=32, gradient_norms=True)).fit(model, data)
    return model, history


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [("dcgan", 0, {"curves", "samples", "walk"}), ("cvae", 10, {"curves", "samples", "walk", "swap"})],
)
def test_images(tmp_path, name, classes, expected):
    x, y = digits(0)
    model, history = train(name, DataSpec.image(1, 8, 8, classes), {"x": x[:96], "y": y[:96]}, width=4, latent_dim=4)
    made = picture_run(model, history, tmp_path / "run")
    assert set(made) == expected
    for path in made.values():
        picture = matplotlib.image.imread(path)
        assert picture.ndim == 3 and picture[..., :3].std() > 0.01, path

    if classes:
        numbered = made["swap"].read_bytes()
        named = picture_run(model, history, tmp_path / "named", names=[f"digit {k}" for k in range(classes)])
        assert named["swap"].read_bytes() != numbered and named["walk"].read_bytes() == made["walk"].read_bytes()
        with pytest.raises(ConfigError, match="2 names were given for 10 conditions"):
            picture_run(model, history, tmp_path / "named", names=["a", "b"])


def test_detectors_have_curves_alone(tmp_path):
    model, history = train("reconstruction_vae", DataSpec.image(1, 8, 8), {"x": digits(0)[0][:96]}, hidden=(16,))
    assert set(picture_run(model, history, tmp_path / "run")) == {"curves"}
    assert not can(model, Samples)


def test_images_by_attributes_and_neighbours(tmp_path):
    x, _ = digits(0)
    ink = x.mean((1, 2, 3)).unsqueeze(1)
    options = {"width": 4, "latent_dim": 4}
    spec = DataSpec.image(1, 8, 8, attributes=1)
    conditional, history = train("cgan", spec, {"x": x[:96], "c": ink[:96]}, **options)
    made = picture_run(conditional, history, tmp_path / "conditional", conditions=ink[:5])
    assert set(made) == {"curves", "samples", "walk", "swap"}
    with pytest.raises(ConfigError, match="give some as conditions"):
        picture_run(conditional, history, tmp_path / "none")
    near, history = train("localized_gan", DataSpec.image(1, 8, 8), {"x": x[:96]}, **options)
    made |= picture_run(near, history, tmp_path / "near", real=x[:20])
    for path in made.values():
        assert matplotlib.image.imread(path)[..., :3].std() > 0.01, path


def test_attributes_are_combined_with_the_classes_in_turn(tmp_path):
    x, y = digits(0)
    ink = x.mean((1, 2, 3)).unsqueeze(1)
    spec = DataSpec.image(1, 8, 8, classes=10, attributes=1)
    model, history = train("cgan", spec, {"x": x[:96], "y": y[:96], "c": ink[:96]}, width=4, latent_dim=4)
    whole = torch.cat([torch.eye(10)[:5], ink[:5]], 1)
    one, other = (
        picture_run(model, history, tmp_path / str(given.shape[1]), conditions=given) for given in (ink[:5], whole)
    )
    assert set(one) == {"curves", "samples", "walk", "swap"}
    assert all(one[name].read_bytes() == other[name].read_bytes() for name in one)
    for bad in (x[:5], torch.zeros(5, 2), ink[:0], y[:5, None], ink[:5].tolist()):
        with pytest.raises(DataError, match=r"conditions must be a tensor of floats of shape \(k, 1\)"):
            picture_run(model, history, tmp_path / "bad", conditions=bad)


def test_what_is_no_run_is_refused(tmp_path):
    model, history = create("gan", DataSpec.vector(2), hidden=(8,)), History({"critic": [1.0]})
    (tmp_path / "file").write_text("")
    for asked, message in (
        ((as_augmenter("gan"), history, tmp_path), "algorithm_"),
        ((model, None, tmp_path), "history must be the History"),
        ((model, history, tmp_path / "file"), "cannot create folder .*file"),
        ((model, history, tmp_path / "file" / "below"), "cannot create folder"),
    ):
        with pytest.raises(ConfigError, match=message):
            picture_run(*asked)


def test_points_and_gradient_norms(tmp_path):
    points, _ = ring(512, 0)
    model, history = train("gan", DataSpec.vector(2), {"x": points}, hidden=(16,))
    assert set(picture_run(model, history, tmp_path, real=points)) == {"curves", "points"}
    norms = {name: curve for name, curve in history.curves.items() if name.endswith("gradient_norm")}
    assert set(norms) == {"critic_gradient_norm", "generator_gradient_norm"}
    assert all(value > 0 for curve in norms.values() for value in curve)


def test_points_alone(tmp_path):
    """Without real ones beside; a model that draws nothing has its curves only."""
    model = create("gan", DataSpec.vector(2), hidden=(8,))
    history = Trainer(TrainerConfig(steps=2)).fit(model, {"x": ring(64, 0)[0]})
    assert picture_run(model, history, tmp_path)["points"].is_file()
    coder = create("autoencoder", DataSpec.vector(2))
    history = Trainer(TrainerConfig(steps=2)).fit(coder, {"x": ring(64, 0)[0]})
    assert set(picture_run(coder, history, tmp_path)) == {"curves"}


def test_norms_are_those_before_clipping():
    points, _ = ring(512, 0)
    torch.manual_seed(0)
    model = create("gan", DataSpec.vector(2), hidden=(16,))
    clipped = Trainer(TrainerConfig(steps=1, batch_size=64, gradient_norms=True, gradient_clip=1e-4))
    history = clipped.fit(model, {"x": points[:64]})
    assert history.curves["critic_gradient_norm"][0] > 1e-3
