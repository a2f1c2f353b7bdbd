import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ganlib.errors import DataError
from ganlib.metrics.images import nearest_real, sharpness, sharpness_ratio


def test_sharpness_of_one_bright_pixel():
    """Responses -4 once, 1 four times, 0 four times: mean 0, variance 20 / 9."""
    image = np.zeros((1, 1, 5, 5), np.float32)
    image[0, 0, 2, 2] = 1
    assert sharpness(image) == pytest.approx(20 / 9, abs=1e-12)
    # Mean over images and channels; contrast enters squared; brightness not at all.
    assert sharpness(np.concatenate([image, 3 * image + 5])) == pytest.approx((20 / 9 + 20) / 2, abs=1e-12)
    assert sharpness(np.concatenate([image, 0 * image], 1)) == pytest.approx(10 / 9, abs=1e-12)


def test_sharpness_of_ramp_checkerboard_and_noise():
    row, column = np.indices((8, 8))
    assert sharpness((2.0 * row + column)[None, None]) == pytest.approx(0, abs=1e-12)
    assert sharpness(((row + column) % 2 * 2.0 - 1)[None, None]) == pytest.approx(64, abs=1e-12)
    # White noise: 16 + 4 times its variance.
    noise = np.random.default_rng(0).standard_normal((50, 1, 32, 32))
    assert sharpness(noise) == pytest.approx(20, rel=0.03)


def test_blur_lowers_sharpness():
    torch.manual_seed(0)
    real = torch.rand(40, 3, 16, 16)
    blurred = F.avg_pool2d(real, 3, 1, 1, count_include_pad=False)
    assert 0 < sharpness_ratio(real, blurred) < 0.2
    assert sharpness_ratio(real, real) == 1.0
    assert sharpness_ratio(real, 2 * real - 1) == pytest.approx(4, abs=1e-6)
    with pytest.raises(DataError, match="flat"):
        sharpness_ratio(torch.zeros(2, 1, 8, 8), real[:, :1])


def test_nearest_real_by_hand():
    real = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 5.0]])
    report = nearest_real(np.array([[0.0, 2.0], [3.0, 5.0]]), real)
    np.testing.assert_allclose(report.distances, [2, 0])
    np.testing.assert_allclose(report.reference, [5, 1, 1])
    assert report.ratio == pytest.approx(1.0)
    assert report.closer == 0.5


def test_copies_stand_out_from_fresh_samples():
    rng = np.random.default_rng(1)
    real, fresh = rng.standard_normal((2, 1500, 8)).astype(np.float32)
    copied = nearest_real(torch.from_numpy(real[:1200]), real)
    assert (copied.distances == 0).all() and copied.ratio == 0 and copied.closer == 1
    honest = nearest_real(fresh, real)
    assert honest.ratio == pytest.approx(1.0, abs=0.03)
    assert honest.closer == pytest.approx(0.05, abs=0.02)
    assert (honest.reference > 0).all() and len(honest.reference) == 1500


def test_refusals():
    with pytest.raises(DataError, match="images has shape"):
        sharpness(np.zeros((4, 8, 8)))
    with pytest.raises(DataError, match="3 pixels"):
        sharpness(np.zeros((4, 1, 2, 8)))
    with pytest.raises(DataError, match="fake holds values that are not finite"):
        sharpness_ratio(np.ones((2, 1, 8, 8)), np.full((2, 1, 8, 8), np.nan))
    for colour in (np.zeros((4, 8, 8, 3), np.uint8), torch.rand(4, 8, 8, 1)):
        with pytest.raises(DataError, match=r"images has shape .*transpose\(0, 3, 1, 2\)"):
            sharpness(colour)
    with pytest.raises(DataError, match="fake has shape .*channels last"):
        sharpness_ratio(np.ones((2, 3, 8, 8)), np.ones((2, 8, 8, 3)))
    for compare in (sharpness_ratio, nearest_real):
        with pytest.raises(DataError, match="fake holds integers, real floats: .*to_tensor"):
            fake, real = np.zeros((2, 1, 8, 8), np.uint8), torch.rand(2, 1, 8, 8)
            compare(**{"fake": fake, "real": real})
    with pytest.raises(DataError, match="exact copy"):
        nearest_real(np.ones((2, 2)), np.zeros((5, 2)))
    with pytest.raises(DataError, match="same columns"):
        nearest_real(np.ones((2, 2)), np.zeros((5, 3)))
