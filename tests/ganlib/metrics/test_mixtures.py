import math

import numpy as np
import pytest
import torch

from ganlib.errors import ConfigError, DataError
from ganlib.metrics.mixtures import grid_centres, mode_report, ring_centres


def test_points_just_inside_and_outside_three_deviations():
    centres = np.array([[0.0, 0.0], [10.0, 0.0]])
    inside, outside = [0.0, 2.999], [0.0, 3.001]
    report = mode_report(np.array([inside, inside, outside, [13.0, 0.0], [13.001, 0.0]]), centres, deviation=1.0)
    assert report.counts == (2, 1)  # exactly three deviations counts
    assert (report.found, report.total) == (2, 2)
    assert report.high_quality == 3 / 5
    assert report.kl == pytest.approx(2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3), abs=1e-12)


def test_the_share_that_makes_a_mode():
    """With 4 modes and 100 points the default asks for 5."""
    centres = np.array([[0.0, 0], [10, 0], [20, 0], [30, 0]])
    points = np.repeat(centres, [86, 5, 4, 5], axis=0)
    assert mode_report(points, centres, 0.1).found == 3
    assert mode_report(points, centres, 0.1, least_share=0.04).found == 4
    assert mode_report(points, centres, 0.1, least_share=0.06).found == 1


@pytest.mark.parametrize("centres, deviation", [(ring_centres(), 0.02), (grid_centres(), 0.05)])
def test_true_sampler_and_collapsed_sampler(centres, deviation):
    torch.manual_seed(0)
    m = len(centres)
    points = centres[torch.arange(8000) % m] + deviation * torch.randn(8000, 2)
    report = mode_report(points, centres, deviation)
    assert report.found == report.total == m
    assert report.high_quality == pytest.approx(1 - math.exp(-4.5), abs=0.004)
    assert 0 <= report.kl < 1e-3
    one = mode_report(points[::m], centres, deviation)
    assert one.found == 1
    assert one.kl == pytest.approx(math.log(m), abs=1e-9)
    nowhere = mode_report(points + 100, centres, deviation)
    assert (nowhere.found, nowhere.high_quality) == (0, 0.0)
    assert nowhere.kl == pytest.approx(math.log(m), abs=1e-9)


def test_centres():
    grid = grid_centres(5, 2.0)
    assert grid.shape == (25, 2) and len(torch.unique(grid, dim=0)) == 25
    assert sorted(set(grid.flatten().tolist())) == [-4, -2, 0, 2, 4]
    ring = ring_centres(8, 2.0)
    torch.testing.assert_close(ring.norm(dim=1), torch.full((8,), 2.0))
    torch.testing.assert_close(ring[[0, 2]], torch.tensor([[2.0, 0.0], [0.0, 2.0]]), atol=1e-6, rtol=0)
    # A chord of 45 degrees.
    torch.testing.assert_close((ring - ring.roll(1, 0)).norm(dim=1), torch.full((8,), 4 * math.sin(math.pi / 8)))


def test_refusals():
    with pytest.raises(DataError, match="points has 0 samples"):
        mode_report(np.zeros((0, 2)), ring_centres(), 0.1)
    with pytest.raises(DataError, match=r"samples of shape \(3,\), centres of \(2,\)"):
        mode_report(np.zeros((5, 3)), ring_centres(), 0.1)
    with pytest.raises(DataError, match="points holds values that are not finite"):
        mode_report(np.full((5, 2), np.nan), ring_centres(), 0.1)
    with pytest.raises(ConfigError, match="deviation"):
        mode_report(np.zeros((5, 2)), ring_centres(), 0.0)
