"""The pictures of a run of every augmenter of images."""

import numpy as np
import pytest
from pipeline_data import tiles

from ganlib.augment import as_augmenter
from ganlib.registry import list_models
from pipelines.readers import read_data
from pipelines.sections import DataSettings

pytest.importorskip("PIL.Image")
NAMES = list_models("augmenter", "image")


@pytest.mark.parametrize("name", NAMES)
def test_every_augmenter_of_images_is_drawn(name, tmp_path):
    np.savez(tmp_path / "tiles.npz", x=tiles(40), y=np.repeat(["a", "b"], 20))
    reader = read_data(DataSettings(path=str(tmp_path / "tiles.npz"), label="y"))
    augmenter = as_augmenter(name, steps=2, modality="image").fit(*reader.labelled(range(40)))
    reader.drawn(augmenter, tmp_path)
    assert (tmp_path / "samples.png").stat().st_size > 100
