"""Pictures of generative models as PNG files: grids, latent walks, class swaps, loss curves, scatter plots.

Image grids are enlarged by whole factors without blurring. Files are written atomically.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ganlib.data.images import to_uint8
from ganlib.errors import ConfigError, DataError
from ganlib.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 100
# Measures of grids in pixels: between cells, around the page, one line of text.
GAP, MARGIN, LINE = 4, 12, 20
# Cells are enlarged to about this, so that captions fit above them.
CELL = 96
_LARGEST = 16_000
_POINTS = 4_000
_INK, _BLUE, _ORANGE = "#222222", "#22577a", "#d1603d"
_COLOURS = (_BLUE, _ORANGE, "#5b8e55", "#8c5fa8", "#b8932f", "#4b9ca8")
_FONT, _SMALL = 10, 8
# Letters of a panel's title in one line.
_TITLE = 36

Decoder = Callable[[Tensor], Tensor]
ClassDecoder = Callable[[Tensor, Tensor], Tensor]


def cell_scale(height: int, width: int) -> int:
    """How many times grids repeat a pixel of images of this size, at least 1."""
    return max(1, round(CELL / max(height, width)))


def sample_grid(
    images: Tensor, path: str | Path, columns: int | None = None, titles: Sequence[str] | None = None
) -> Path:
    """Draw a grid of images ``(n, c, h, w)`` in [-1, 1] on white, each with a caption if ``titles`` are given.

    ``columns`` defaults to about the number of rows. Long captions are cut with an ellipsis. Raises DataError for other
    shapes and non-finite values; ConfigError for wrong columns, titles or path.
    """
    pixels = to_uint8(images)
    count = len(pixels)
    if not count:
        raise DataError("there are no images to draw")
    if titles is not None and len(titles) != count:
        raise ConfigError(f"{len(titles)} titles were given for {count} images; give one each")
    across = columns if columns is not None else math.ceil(math.sqrt(count))
    if across < 1:
        raise ConfigError(f"columns must be at least 1, not {across}")
    page = _Page(pixels, min(across, count), caption=LINE if titles is not None else 0)
    for i, title in enumerate(titles or ()):
        page.above_cell(i, str(title))
    return page.save(path)


def slerp(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Points ``(rows, steps, d)`` on the great arcs from ``start`` to ``end``, both ``(d,)`` or ``(rows, d)``.

    The first and last points are the two ends. If the directions are (anti)parallel, the points lie on a straight line.
    Source: White, "Sampling Generative Networks", arXiv 1609.04468, section 2.1. Raises ConfigError for fewer than two
    steps, and DataError if the shapes differ.
    """
    if steps < 2:
        raise ConfigError(f"a walk must have at least 2 steps, not {steps}")
    a, b = torch.atleast_2d(start), torch.atleast_2d(end)
    if a.shape != b.shape or a.ndim != 2:
        raise DataError(
            f"the ends of a walk must have one shape, (d,) or (rows, d); got {tuple(start.shape)}, {tuple(end.shape)}"
        )
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1).clamp(-1, 1)
    angle = torch.acos(cosine)[:, None, None]
    t = torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device).view(1, steps, 1)
    sine = angle.sin()
    straight = sine < 1e-3
    sine = torch.where(straight, torch.ones_like(sine), sine)
    from_a = torch.where(straight, 1 - t, ((1 - t) * angle).sin() / sine)
    from_b = torch.where(straight, t, (t * angle).sin() / sine)
    return from_a * a[:, None] + from_b * b[:, None]


def latent_walk(decode: Decoder, start: Tensor, end: Tensor, steps: int, path: str | Path) -> Path:
    """Draw one row per pair of latents: the decoded images of ``steps`` points on the arc between them.

    ``start`` and ``end`` are ``(d,)`` or ``(rows, d)``; ``decode`` maps ``(n, d)`` to images ``(n, c, h, w)``.
    Raises as ``slerp`` and ``sample_grid`` do.
    """
    points = slerp(start, end, steps)
    rows = points.shape[0]
    with torch.no_grad():
        images = decode(points.flatten(0, 1))
    page = _table(images, rows, steps)
    page.name_columns([f"{i / (steps - 1):.2f}" for i in range(steps)], "share of the way between two latents")
    page.name_rows([str(i + 1) for i in range(rows)], "pair")
    return page.save(path)


def class_swap(
    decode: ClassDecoder, z: Tensor, classes: int | Sequence[str], path: str | Path, title: str = "class"
) -> Path:
    """Draw one row per latent of ``z`` ``(rows, d)``, and one column per class (given by number or by names).

    ``decode`` maps latents ``(n, d)`` and class indices ``(n,)`` to images ``(n, c, h, w)``; ``title`` is the title of
    the columns. Raises ConfigError without classes, and the errors of ``sample_grid``.
    """
    names = [str(i) for i in range(classes)] if isinstance(classes, int) else [str(name) for name in classes]
    if not names:
        raise ConfigError("classes must name or count at least one class")
    if z.ndim != 2:
        raise DataError(f"latents must have the shape (rows, d); got {tuple(z.shape)}")
    labels = torch.arange(len(names), device=z.device).repeat(len(z))
    with torch.no_grad():
        images = decode(z.repeat_interleave(len(names), 0), labels)
    page = _table(images, len(z), len(names))
    page.name_columns(names, title)
    page.name_rows([str(i + 1) for i in range(len(z))], "latent")
    return page.save(path)


def loss_curves(history_curves: Mapping[str, Sequence[float]], path: str | Path) -> Path:
    """Draw a panel per loss, and one for all curves with names that end in ``gradient_norm``, by epoch.

    Positive values that span more than a factor of 30 use a logarithmic axis, and mixed ones a symmetric logarithmic
    axis. Shorter curves are stretched to the longest. Non-finite values leave a gap and are counted in the title.
    Raises DataError if there are no values.
    """
    curves = {name: np.asarray(values, dtype=float) for name, values in history_curves.items() if len(values)}
    if not curves:
        raise DataError("there are no curves to draw; train for at least one epoch")
    norms = [name for name in curves if name.endswith("gradient_norm")]
    panels = [[name] for name in curves if name not in norms] + ([norms] if norms else [])
    epochs = max(len(values) for values in curves.values())
    columns = 2 if len(panels) in (2, 4) else min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = _figure(390 * columns, 280 * rows)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)  # type: ignore[union-attr, call-arg]
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, names in zip(axes, panels, strict=False):
        _draw_curves(axis, {name: curves[name] for name in names}, epochs, gradients=names is norms)
    for spare in axes[len(panels) :]:
        spare.set_visible(False)
    return _save(figure, path)


def scatter_points(real: Tensor | np.ndarray | None, fake: Tensor | np.ndarray, path: str | Path) -> Path:
    """Draw generated points ``(n, 2)``, over the ``real`` ones if given, on equal scales.

    Of more than 4,000 points, evenly spaced ones are drawn, as stated in the legend. Raises DataError for other shapes,
    no points and non-finite values.
    """
    kinds = {"generated": (_points(fake, "generated"), _ORANGE)}
    if real is not None:
        kinds = {"real": (_points(real, "real"), _BLUE), **kinds}
    figure = _figure(600, 620)
    axis = figure.subplots()
    for name, (points, colour) in kinds.items():
        shown = points[:: math.ceil(len(points) / _POINTS)]
        label = (
            f"{name} ({len(points):,})" if len(shown) == len(points) else f"{name} ({len(shown):,} of {len(points):,})"
        )
        size, alpha = float(np.clip(8_000 / len(shown), 4, 24)), float(np.clip(100 / len(shown), 0.5, 0.9))
        axis.scatter(shown[:, 0], shown[:, 1], s=size, c=colour, alpha=alpha, linewidths=0, label=label)
    axis.set_aspect("equal", adjustable="datalim")
    axis.set_xlabel("first coordinate", fontsize=_FONT)
    axis.set_ylabel("second coordinate", fontsize=_FONT)
    _plain_axis(axis)
    legend = figure.legend(loc="outside upper center", ncols=2, fontsize=_FONT, frameon=False)
    for handle in legend.legend_handles:
        handle.set(sizes=[40], alpha=0.9)  # type: ignore[union-attr]
    return _save(figure, path)


# -------------------------------------------------------------------- grids of pixels
class _Page:
    """A white page with cells of enlarged images, and text in the margins, cut to fit."""

    def __init__(self, pixels: np.ndarray, columns: int, caption: int = 0, header: int = 0, side: int = 0) -> None:
        count, height, width, _ = pixels.shape
        self.columns, self.scale = columns, cell_scale(height, width)
        self.tall, self.wide = height * self.scale, width * self.scale
        self.caption, self.left, self.top = caption, MARGIN + side, MARGIN + header
        rows = math.ceil(count / columns)
        self.width = self.left + columns * (self.wide + GAP) - GAP + MARGIN
        self.height = self.top + rows * (self.tall + caption + GAP) - GAP + MARGIN
        if max(self.width, self.height) > _LARGEST:
            raise DataError(f"a picture of {self.width} x {self.height} pixels is too large; draw fewer images")
        self.figure = _figure(self.width, self.height, layout="none")
        canvas = np.full((self.height, self.width, 3), 255, np.uint8)
        for i, image in enumerate(pixels):
            x, y = self.corner(i)
            canvas[y : y + self.tall, x : x + self.wide] = image.repeat(self.scale, 0).repeat(self.scale, 1)
        self.figure.figimage(canvas, origin="upper")

    def corner(self, index: int) -> tuple[int, int]:
        """Pixels from the left and from the top to a cell's image."""
        row, column = divmod(index, self.columns)
        return (
            self.left + column * (self.wide + GAP),
            self.top + row * (self.tall + self.caption + GAP) + self.caption,
        )

    def above_cell(self, index: int, text: str) -> None:
        """A caption directly above a cell, as wide as the cell."""
        x, y = self.corner(index)
        self.write(x + self.wide / 2, y - LINE / 2, text, self.wide)

    def name_columns(self, names: Sequence[str], title: str) -> None:
        """Column names under a title, above the first row."""
        for column, name in enumerate(names):
            self.above_cell(column, name)
        middle = (self.left + self.width - MARGIN) / 2
        self.write(middle, self.top - 1.5 * LINE, title, self.width - 2 * MARGIN, _FONT)

    def name_rows(self, names: Sequence[str], title: str) -> None:
        """Row names beside a title, left of the first column."""
        for row, name in enumerate(names):
            _, y = self.corner(row * self.columns)
            self.write(self.left - LINE / 2, y + self.tall / 2, name, LINE)
        middle = (self.top + self.height - MARGIN) / 2
        self.write(self.left - 1.5 * LINE, middle, title, self.height - 2 * MARGIN, _FONT, rotation=90)

    def write(self, x: float, y: float, text: str, room: float, size: int = _SMALL, rotation: int = 0) -> None:
        """Text centred on (x, y), cut to ``room`` pixels."""
        from matplotlib.transforms import Affine2D

        places = Affine2D().scale(1, -1).translate(0, self.height)
        placed = self.figure.text(
            x,
            y,
            text,
            transform=places,
            fontsize=size,
            color=_INK,
            ha="center",
            va="center",
            rotation=rotation,
            parse_math=False,
        )
        shown = " ".join(text.split())
        placed.set_text(shown)
        while len(shown) > 1 and self._length(placed, rotation) > room:
            shown = shown[:-1]
            placed.set_text(shown.rstrip() + "…")

    def _length(self, text: Any, rotation: int) -> float:
        box = text.get_window_extent(self.figure.canvas.get_renderer())  # type: ignore[attr-defined]
        return box.height if rotation else box.width

    def save(self, path: str | Path) -> Path:
        """Write the page."""
        return _save(self.figure, path)


def _table(images: Tensor, rows: int, columns: int) -> _Page:
    """A page with room for names of rows and columns."""
    pixels = to_uint8(images)
    if len(pixels) != rows * columns:
        raise DataError(
            f"the decoder returned {len(pixels)} images of {rows * columns} latents; it must return one for each"
        )
    return _Page(pixels, columns, header=2 * LINE, side=2 * LINE)


# -------------------------------------------------------------------- curves and points
def _draw_curves(axis: Axes, curves: Mapping[str, np.ndarray], epochs: int, gradients: bool) -> None:
    from matplotlib.ticker import FixedLocator, MaxNLocator

    for (name, values), colour in zip(curves.items(), _cycle(len(curves)), strict=True):
        positions = np.arange(1, len(values) + 1) * (epochs / len(values))
        shown = np.where(np.isfinite(values), values, np.nan)
        marker = "o" if len(values) == 1 else None
        label = _words(name.removesuffix("gradient_norm")).strip(" /") or "all"
        axis.plot(positions, shown, color=colour, linewidth=1.6, marker=marker, markersize=5, label=label)
    together = np.concatenate(list(curves.values()))
    scale = _choose_scale(axis, together[np.isfinite(together)])
    lost = int(np.count_nonzero(~np.isfinite(together)))
    title = "gradient norms" if gradients else _words(next(iter(curves)))
    title = textwrap.fill(title + (f" ({lost} not finite)" if lost else ""), _TITLE)
    axis.set_title(title, fontsize=_FONT + 1, color=_INK)
    axis.set_xlabel("epoch", fontsize=_FONT)
    axis.set_ylabel(("gradient norm" if gradients else "mean loss") + scale, fontsize=_FONT)
    edge = max(0.5, 0.02 * epochs)
    axis.set_xlim(1 - edge, epochs + edge)
    whole = MaxNLocator(6, steps=[1, 2, 5, 10], integer=True)
    axis.xaxis.set_major_locator(FixedLocator([1]) if epochs == 1 else whole)
    _plain_axis(axis)
    if gradients:
        axis.legend(fontsize=_SMALL, framealpha=0.8, edgecolor="none")


def _choose_scale(axis: Axes, values: np.ndarray) -> str:
    """Choose the vertical scale; returns a suffix for its label."""
    sizes = np.abs(values[values != 0])
    if not sizes.size or sizes.max() <= 30 * sizes.min():
        return ""
    if (values > 0).all():
        axis.set_yscale("log")
        return ", log scale"
    # A linear axis is fine if only values near 0 are small: the loss merely crosses 0.
    typical = float(np.median(sizes))
    if sizes.max() <= 30 * typical:
        return ""
    axis.set_yscale("symlog", linthresh=typical)
    return ", symlog scale"


def _cycle(count: int) -> list[str]:
    return [_COLOURS[i % len(_COLOURS)] for i in range(count)]


def _words(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("/", " / ").split())


def _plain_axis(axis: Axes) -> None:
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=_SMALL + 1, colors=_INK)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _points(points: Tensor | np.ndarray, what: str) -> np.ndarray:
    array = points.detach().cpu().numpy() if isinstance(points, Tensor) else np.asarray(points, dtype=float)
    if array.ndim != 2 or array.shape[1] != 2 or not len(array):
        raise DataError(f"{what} points must have the shape (n, 2) with n > 0; got {tuple(array.shape)}")
    if not np.isfinite(array).all():
        raise DataError(f"{what} points contain values that are not finite")
    return array


# -------------------------------------------------------------------- files
def _figure(width: int, height: int, layout: Any = "constrained") -> Figure:
    """A figure of this size in pixels; uses matplotlib's object interface, which is thread-safe."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # The canvas truncates fractions, so add a quarter pixel against rounding.
    figure = Figure(figsize=((width + 0.25) / DPI, (height + 0.25) / DPI), dpi=DPI, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: str | Path) -> Path:
    path = Path(path).expanduser()
    if path.suffix.lower() != ".png":
        raise ConfigError(f"{path} must end in .png")
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent} to write {path.name} into; create it")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    write_whole(path, buffer.getvalue())
    return path
