"""What cannot be trained on is said before the first step; lazily drawn batches train as tensors do."""

import numpy as np
import pytest
import torch

from ganlib.data.images import ImageFolder, LazyImages
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError, DataError
from ganlib.registry import create
from ganlib.training import Trainer, TrainerConfig

torch.set_num_threads(1)
X = torch.randn(40, 3)


def fit(spec, data, name="gan", **options):
    return Trainer(TrainerConfig(steps=2, batch_size=8)).fit(create(name, spec, hidden=(8,), **options), data)


@pytest.mark.parametrize(
    ("spec", "data", "name", "message"),
    [
        (DataSpec.vector(2), {"x": X}, "gan", r"shape \(2,\), and these have \(3,\)"),
        (DataSpec((3, 8, 8)), {"x": torch.randn(9, 1, 8, 8)}, "gan", "channels, height, width"),
        (DataSpec((1, 8, 8)), {"x": torch.ones(9, 1, 8, 8)}, "gan", "all training examples are the same"),
        (
            DataSpec.vector(3),
            {"x": X.index_fill(0, torch.tensor([4]), float("nan"))},
            "gan",
            "3 training values are NaN",
        ),
        (DataSpec.vector(3, 2), {"x": X, "y": torch.arange(40) % 3}, "cvae", "from 0 to 2.*classes=3"),
        (DataSpec.vector(3, 2), {"x": X, "y": torch.arange(40) % 2 - 1}, "cvae", "from -1 to 0"),
        (DataSpec.vector(3, 2), {"x": X, "y": (torch.arange(40) % 2).float()}, "cvae", "class indices"),
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
    ],
)
def test_objectives_that_do_not_fit(name, options, message):
    with pytest.raises(ConfigError, match=message):
        create(name, DataSpec.vector(3, 2), **options)


def test_lazily_drawn_images_train_as_tensors_do(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(12):
            Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / name / f"{index}.png")
    folder = ImageFolder(tmp_path)
    weights = []
    for data in (folder.load(), LazyImages(folder, 8, seed=0)):
        torch.manual_seed(0)
        model = create("cvae", folder.spec, width=4, latent_dim=2)
        Trainer(TrainerConfig(steps=5, batch_size=8)).fit(model, data)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)
