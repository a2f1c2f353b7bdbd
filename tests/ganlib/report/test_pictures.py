"""Pictures have the size, the pixels and the words they should, and are written whole or not at all."""

import math
import os

import numpy as np
import pytest
import torch

from ganlib.errors import ConfigError, DataError
from ganlib.report import pictures
from ganlib.report.pictures import (
    GAP,
    LINE,
    MARGIN,
    class_swap,
    latent_walk,
    loss_curves,
    sample_grid,
    scatter_points,
    slerp,
)

Image = pytest.importorskip("PIL.Image")


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.array(image.convert("RGB"))


def cells(page, rows, columns, side, scale, left=MARGIN, top=MARGIN, caption=0):
    """Every cell cut out of a page and shrunk back: ``(rows * columns, side, side, 3)``; each pixel must be crisp."""
    found, wide = [], side * scale
    for row in range(rows):
        for column in range(columns):
            y, x = top + row * (wide + caption + GAP) + caption, left + column * (wide + GAP)
            blocks = page[y : y + wide, x : x + wide].reshape(side, scale, side, scale, 3)
            assert (blocks == blocks[:, :1, :, :1]).all()
            found.append(blocks[:, 0, :, 0])
    return np.stack(found)


def noise(n, c, side, seed=0):
    bytes_ = np.random.default_rng(seed).integers(0, 256, (n, side, side, c), dtype=np.uint8)
    return bytes_, torch.from_numpy(bytes_).permute(0, 3, 1, 2) / 127.5 - 1


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, to look at their words."""
    drawn, make = [], pictures._figure
    monkeypatch.setattr(pictures, "_figure", lambda *a, **k: drawn.append(make(*a, **k)) or drawn[-1])
    return drawn


# -------------------------------------------------------------------- grids
@pytest.mark.parametrize("channels, side, scale", [(1, 28, 3), (3, 32, 3), (3, 128, 1)])
def test_a_grid_shows_every_pixel(tmp_path, channels, side, scale):
    bytes_, images = noise(5, channels, side)
    path = sample_grid(images, tmp_path / "grid.png", columns=3)
    page, wide = pixels(path), side * scale
    assert page.shape == (2 * wide + GAP + 2 * MARGIN, 3 * wide + 2 * GAP + 2 * MARGIN, 3)
    found = cells(page, 2, 3, side, scale)
    assert np.array_equal(found[:5], np.broadcast_to(bytes_, (5, side, side, 3)))
    assert (found[5] == 255).all() and (page[:MARGIN] == 255).all() and (page[:, -MARGIN:] == 255).all()


def test_a_grid_is_about_square(tmp_path):
    page = pixels(sample_grid(noise(9, 1, 8)[1], tmp_path / "grid.png"))
    assert page.shape[:2] == (3 * 96 + 2 * GAP + 2 * MARGIN,) * 2


def test_titles_stand_above_their_cells(tmp_path, figures):
    bytes_, images = noise(4, 3, 32)
    titles = ["cat", "an aeroplane that is far too long for its cell", "$x_1$", "dog"]
    page = pixels(sample_grid(images, tmp_path / "grid.png", columns=2, titles=titles))
    assert page.shape[:2] == (2 * (96 + LINE) + GAP + 2 * MARGIN, 2 * 96 + GAP + 2 * MARGIN)
    assert np.array_equal(cells(page, 2, 2, 32, 3, caption=LINE), bytes_)
    for row in range(2):
        top = MARGIN + row * (96 + LINE + GAP)
        for left in (MARGIN, MARGIN + 96 + GAP):
            assert (page[top : top + LINE, left : left + 96] < 128).any()
    assert (page[MARGIN : MARGIN + LINE, MARGIN + 96 : MARGIN + 96 + GAP] == 255).all()
    words = [text.get_text() for text in figures[0].texts]
    assert words[0] == "cat" and words[2:] == ["$x_1$", "dog"] and not figures[0].texts[2].get_parse_math()
    assert words[1].startswith("an aero") and words[1].endswith("…")


def test_grids_refuse(tmp_path):
    images, path = noise(4, 1, 8)[1], tmp_path / "grid.png"
    for options, message in (({"columns": 0}, "columns"), ({"titles": ["a"]}, "1 titles were given for 4")):
        with pytest.raises(ConfigError, match=message):
            sample_grid(images, path, **options)
    with pytest.raises(DataError, match="no images"):
        sample_grid(images[:0], path)
    with pytest.raises(DataError, match="not finite"):
        sample_grid(images * math.nan, path)
    with pytest.raises(DataError, match="too large"):
        sample_grid(images[:1].expand(400, 1, 8, 8), path, columns=1)
    assert not list(tmp_path.iterdir())


# -------------------------------------------------------------------- latents
def test_slerp_keeps_ends_and_lengths():
    generator = torch.Generator().manual_seed(0)
    start, end = torch.randn(3, 16, generator=generator), torch.randn(3, 16, generator=generator)
    points = slerp(start, end, 5)
    assert points.shape == (3, 5, 16) and torch.equal(points[:, 0], start) and torch.equal(points[:, -1], end)
    unit = slerp(start / start.norm(dim=1, keepdim=True), end / end.norm(dim=1, keepdim=True), 5)
    assert (unit.norm(dim=2) - 1).abs().max() < 1e-5
    angles = torch.acos((unit[:, 1:] * unit[:, :-1]).sum(2))
    assert (angles - angles[:, :1]).abs().max() < 1e-3
    quarter = slerp(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 3)
    assert (quarter[0, 1] - math.sqrt(0.5)).abs().max() < 1e-6


def test_slerp_of_parallel_vectors_is_straight():
    line = slerp(torch.tensor([1.0, 1.0]), torch.tensor([3.0, 3.0]), 3)
    assert (line[0, :, 0] - torch.tensor([1.0, 2.0, 3.0])).abs().max() < 1e-5
    assert torch.isfinite(slerp(torch.ones(4), -torch.ones(4), 5)).all()
    with pytest.raises(ConfigError, match="at least 2 steps"):
        slerp(torch.ones(4), torch.ones(4), 1)
    with pytest.raises(DataError, match="must have one shape"):
        slerp(torch.ones(4), torch.ones(2, 5), 3)


def flat(z):
    """Images whose brightness is the first latent coordinate."""
    return z[:, :1, None, None].clamp(-1, 1).expand(-1, 1, 8, 8)


SIDE = TOP = MARGIN + 2 * LINE


def test_a_walk_runs_along_its_rows(tmp_path, figures):
    start, end = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    page = pixels(latent_walk(flat, start, end, 3, tmp_path / "walk.png"))
    assert page.shape[:2] == (TOP + 2 * 96 + GAP + MARGIN, SIDE + 3 * 96 + 2 * GAP + MARGIN)
    shown = cells(page, 2, 3, 8, 12, SIDE, TOP)[:, 0, 0, 0].astype(int)
    half = (1 + math.sqrt(0.5)) * 127.5
    assert np.abs(shown - [255, half, 128, 128, 255 - half, 0]).max() <= 1
    words = [text.get_text() for text in figures[0].texts]
    assert words == ["0.00", "0.50", "1.00", "share of the way between two latents", "1", "2", "pair"]


def test_a_swap_has_latents_down_and_classes_across(tmp_path, figures):
    def decode(z, y):
        assert not torch.is_grad_enabled() and y.dtype == torch.int64
        return (z[:, :1, None, None] + 0.5 * y[:, None, None, None]).expand(-1, 1, 8, 8)

    page = pixels(class_swap(decode, torch.tensor([[-1.0], [-0.5]]), ["cat", "dog", "owl"], tmp_path / "swap.png"))
    shown = cells(page, 2, 3, 8, 12, SIDE, TOP)[:, 0, 0, 0].astype(int)
    assert np.abs(shown - [0, 64, 128, 64, 128, 191]).max() <= 1
    assert [text.get_text() for text in figures[0].texts] == ["cat", "dog", "owl", "class", "1", "2", "latent"]
    assert pixels(class_swap(decode, torch.zeros(1, 1), 3, tmp_path / "swap.png")).shape[0] == TOP + 96 + MARGIN
    with pytest.raises(ConfigError, match="at least one class"):
        class_swap(decode, torch.zeros(1, 1), [], tmp_path / "swap.png")
    with pytest.raises(DataError, match="returned 1 images of 2 latents"):
        class_swap(lambda z, y: flat(z)[:1], torch.zeros(1, 1), 2, tmp_path / "swap.png")
    with pytest.raises(DataError, match=r"\(rows, d\)"):
        class_swap(decode, torch.zeros(3), 2, tmp_path / "swap.png")


# -------------------------------------------------------------------- curves
def test_curves_have_panels_scales_and_words(tmp_path, figures):
    curves = {
        "adversarial_loss": [0.7, 0.6, 0.65, 0.6],
        "reconstruction": [500.0, 50.0, 5.0, 0.5],
        "critic": [1.0, -1.0, 2.0, -900.0],
        "validation": [2.0, 1.0],
        "penalty": [0.1, math.nan, math.inf, 0.2],
        "critic/gradient_norm": [1.0, 2.0, 3.0, 4.0],
        "generator_gradient_norm": [4.0, 3.0, 2.0, 1.0],
    }
    page = pixels(loss_curves(curves, tmp_path / "curves.png"))
    assert page.shape == (560, 1170, 3) and (page[0] == 255).all() and (page[:, 0] == 255).all()
    axes = figures[0].axes
    titles = [axis.get_title() for axis in axes]
    assert titles == ["adversarial loss", "reconstruction", "critic", "validation", "penalty (2 not finite)",
                      "gradient norms"]  # fmt: skip
    assert [axis.get_yscale() for axis in axes] == ["linear", "log", "symlog", "linear", "linear", "linear"]
    assert {axis.get_xlabel() for axis in axes} == {"epoch"}
    assert [axis.get_ylabel() for axis in axes[:3]] == ["mean loss", "mean loss, log scale", "mean loss, symlog scale"]
    assert axes[3].lines[0].get_xdata().tolist() == [2, 4] and axes[3].lines[0].get_ydata().tolist() == [2, 1]
    assert np.array_equal(axes[4].lines[0].get_ydata(), [0.1, np.nan, np.nan, 0.2], equal_nan=True)
    assert [text.get_text() for text in axes[5].get_legend().get_texts()] == ["critic", "generator"]
    assert axes[5].get_ylabel() == "gradient norm"


def test_words_of_curves_do_not_overlap_or_leave_the_page(tmp_path, figures):
    names = [f"a_rather_long_name_of_a_loss_term_number_{i}" for i in range(7)]
    loss_curves({name: [1e6, 1.0, 1e-3] for name in names}, tmp_path / "curves.png")
    figure = figures[0]
    renderer = figure.canvas.get_renderer()
    boxes = [
        part.get_window_extent(renderer)
        for axis in figure.axes
        if axis.get_visible()
        for part in (axis.title, axis.xaxis.label, axis.yaxis.label)
    ]
    assert len(boxes) == 21
    for i, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_short_and_empty_curves(tmp_path, figures):
    loss_curves({"loss": [1.0], "nothing": []}, tmp_path / "curves.png")
    assert [axis.get_title() for axis in figures[0].axes] == ["loss"]
    assert figures[0].axes[0].get_xticks().tolist() == [1] and figures[0].axes[0].lines[0].get_marker() == "o"
    loss_curves({"loss": [math.nan, math.nan]}, tmp_path / "curves.png")
    for nothing in ({}, {"loss": []}):
        with pytest.raises(DataError, match="no curves"):
            loss_curves(nothing, tmp_path / "curves.png")


# -------------------------------------------------------------------- points
def test_points_keep_their_colours_and_scale(tmp_path, figures):
    real, fake = torch.tensor([[-1.0, -1.0], [-1.0, 1.0]]), np.array([[3.0, 1.0], [3.0, -1.0]])
    page = pixels(scatter_points(real, fake, tmp_path / "points.png")).astype(int)
    assert page.shape == (620, 600, 3)
    axis = figures[0].axes[0]
    across, up = axis.transData.transform([[-1, -1], [3, 1]]).T
    assert math.isclose((across[1] - across[0]) / 4, (up[1] - up[0]) / 2, rel_tol=1e-6)
    for (x, y), blue in (((-1, -1), True), ((-1, 1), True), ((3, 1), False), ((3, -1), False)):
        column, row = axis.transData.transform((x, y))
        red, _, last = page[619 - int(row), int(column)]
        assert (last - red > 40) if blue else (red - last > 40)
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["real (2)", "generated (2)"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("first coordinate", "second coordinate")


def test_many_points_are_thinned_and_the_legend_says_so(tmp_path, figures):
    scatter_points(torch.randn(9_000, 2), torch.randn(10, 2), tmp_path / "points.png")
    assert [len(c.get_offsets()) for c in figures[0].axes[0].collections] == [3_000, 10]
    assert figures[0].legends[0].get_texts()[0].get_text() == "real (3,000 of 9,000)"


def test_points_refuse(tmp_path):
    good = torch.zeros(3, 2)
    for bad, message in (
        (torch.zeros(3, 3), "real points must have the shape"),
        (good[:0], "n > 0"),
        (good / 0, "finite"),
    ):
        with pytest.raises(DataError, match=message):
            scatter_points(bad, good, tmp_path / "points.png")


# -------------------------------------------------------------------- files
def test_files_are_whole_or_not_there(tmp_path, monkeypatch):
    images = noise(1, 1, 8)[1]
    with pytest.raises(ConfigError, match=r"there is no folder .*missing to write grid\.png into; create it"):
        sample_grid(images, tmp_path / "missing" / "grid.png")
    with pytest.raises(ConfigError, match=r"must end in \.png"):
        sample_grid(images, tmp_path / "grid.jpg")
    path = sample_grid(images, str(tmp_path / "grid.png"))
    before = path.read_bytes()

    def full(_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        sample_grid(-images, path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["grid.png"]


def test_equal_input_gives_equal_files(tmp_path):
    first = loss_curves({"loss": [1.0, 2.0]}, tmp_path / "a.png").read_bytes()
    assert loss_curves({"loss": [1.0, 2.0]}, tmp_path / "b.png").read_bytes() == first
