"""Large images in tiles: scores, places, sealed files, and what is left out."""

import numpy as np
import pytest
import torch

from ganlib import as_detector
from ganlib.data.spec import DataSpec
from ganlib.detect.tiles import TilePlaces, Tiles, TileScore, tiles_of
from ganlib.errors import ConfigError
from ganlib.export import seal
from serving.artifact import load_artifact
from serving.scorer import Scorer


def test_tiles_are_cut_row_by_row_and_small_remainders_left_out():
    x = torch.arange(2 * 7 * 9.0).reshape(2, 1, 7, 9)
    tiles = tiles_of(DataSpec.image(1, 70, 90), 40)
    assert tiles == Tiles(2, 3, 35, 30) and tiles.spec(3).shape == (3, 35, 30)
    small = Tiles(2, 3, 3, 3)
    cut = small.cut(x)
    assert cut.shape == (12, 1, 3, 3)
    assert torch.equal(cut[4], x[0, :, 3:6, 3:6]) and torch.equal(cut[8], x[1, :, 0:3, 6:9])


def test_an_image_scores_its_highest_tile_and_places_lie_side_by_side():
    tiles, x = Tiles(2, 2, 4, 4), torch.zeros(3, 1, 8, 8)
    x[1, 0, 5, 6] = 9.0
    score = TileScore(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 1), torch.nn.Flatten(0)), tiles)
    with torch.no_grad():
        score.scorer[1].weight.fill_(1.0), score.scorer[1].bias.zero_()
        assert score(x).tolist() == [0.0, 9.0, 0.0]
    located = TilePlaces(torch.nn.Flatten(1, 2), tiles)(x)
    assert torch.equal(located, x[:, 0])


def test_which_images_are_divided():
    assert tiles_of(DataSpec.image(1, 256, 256), None) is None and tiles_of(DataSpec.image(1, 64, 64), 64) is None
    assert tiles_of(DataSpec.image(3, 512, 300), None) == Tiles(4, 3, 128, 100)
    assert tiles_of(DataSpec.series(2, 50), None) is None
    with pytest.raises(ConfigError, match="tile divides images"):
        tiles_of(DataSpec.series(2, 50), 8)
    with pytest.raises(ConfigError, match="at least 8 pixels"):
        tiles_of(DataSpec.image(1, 64, 64), 4)


@pytest.mark.trained
def test_a_detector_of_tiles_is_fitted_sealed_and_says_where(tmp_path):
    rng = np.random.default_rng(0)
    wave = (np.sin(np.arange(48) / 2) * 60 + 128)[None, None, :]

    def pictures(n):
        return (wave + rng.normal(0, 10, (n, 48, 48))).clip(0, 255).astype(np.uint8)

    x, odd = pictures(120), pictures(20)
    odd[:, 30:36, 4:10] = odd[:, 30:36, 4:10].transpose(0, 2, 1)
    detector = as_detector("patch_gaussian", tile=16, alpha=0.05).fit(x)
    assert detector.tiles_ == Tiles(3, 3, 16, 16)
    usual = detector.anomaly_score(pictures(100))
    assert (detector.anomaly_score(odd) > np.quantile(usual, 0.9)).mean() > 0.8
    assert (detector.p_value(pictures(200)) <= 0.05).mean() < 0.15
    found = detector.anomaly_map(odd)
    rows, columns = np.unravel_index(found.reshape(20, -1).argmax(1), (48, 48))
    assert found.shape == (20, 48, 48) and ((abs(rows - 33) <= 6) & (abs(columns - 7) <= 8)).mean() > 0.8
    seal(detector, tmp_path / "tiles.onnx")
    got = Scorer(load_artifact(tmp_path / "tiles.onnx")).score(odd, explain=True)
    assert np.allclose(got.anomaly_score, detector.anomaly_score(odd), rtol=1e-4) and got.map.shape == (20, 12, 12)
