"""Drawings of trained models for their pages: one PNG of at most 30 KB, chosen by what the model can do."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from ganlib.files import write_whole

LIMIT = 30_000
INK, BLUE, ORANGE, GREY = "#222222", "#22577a", "#d1603d", "#b9c4cc"
COLOURS = (BLUE, ORANGE, "#5b8e55", "#8c5fa8", "#b8932f", "#4b9ca8", "#c85a8a", "#6b6b6b", "#9bbb3c", "#2d3e50")
Rows = Sequence[tuple[str, Tensor, Sequence[str] | None]]


def figure(width: int, height: int) -> Figure:
    """A white figure of this many pixels."""
    made = Figure(figsize=(width / 100, height / 100), dpi=100, layout="constrained", facecolor="white")
    FigureCanvasAgg(made)
    return made


def panels(count: int, side: int = 300) -> tuple[Figure, list[Any]]:
    """Square panels beside each other."""
    made = figure(side * count, side + 20)
    return made, list(made.subplots(1, count, squeeze=False)[0])


def plain(axis: Any, title: str) -> None:
    """A title and small ticks."""
    axis.set_title(title, fontsize=10, color=INK)
    axis.tick_params(labelsize=8, colors=INK)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def save(made: Figure, path: Path) -> int:
    """Write the figure with as many colours as 30 KB allow; returns the size in bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    made.savefig(buffer, format="png", dpi=100)
    picture = Image.open(buffer).convert("RGB")
    for colours in (128, 64, 32, 16):
        out = io.BytesIO()
        picture.quantize(colours, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
        if out.tell() <= LIMIT:
            break
    write_whole(path, out.getvalue())
    return out.tell()


# ------------------------------------------------------------------------------------------------ points
def scatter(axis: Any, points: Tensor, colour: Any, title: str, reach: Sequence[float] | None = None) -> None:
    """Points, in one colour or one each."""
    shown = points.detach().numpy()[:1500]
    colour = colour[:1500] if isinstance(colour, list) else colour
    axis.scatter(shown[:, 0], shown[:, 1], s=3, c=colour, linewidths=0)
    axis.set_aspect("equal", adjustable="box")
    if reach is not None:
        axis.set_xlim(reach[0], reach[1])
        axis.set_ylim(reach[2], reach[3])
    plain(axis, title)


def reach_of(points: Tensor, margin: float = 0.25) -> tuple[float, float, float, float]:
    """A square around the points."""
    low, high = points.min(0).values, points.max(0).values
    middle, half = (low + high) / 2, float((high - low).max()) * (0.5 + margin)
    x, y = (float(value) for value in middle)
    return x - half, x + half, y - half, y + half


@torch.no_grad()
def height_map(axis: Any, function: Any, reach: Sequence[float], title: str) -> Any:
    """A function of the plane as a map, cut at its outer percentiles."""
    side = 90
    across, up = torch.linspace(reach[0], reach[1], side), torch.linspace(reach[2], reach[3], side)
    grid = torch.stack([across.repeat(side), up.repeat_interleave(side)], 1)
    values = function(grid).detach().numpy().reshape(side, side)
    low, high = np.percentile(values, [1, 99])
    drawn = axis.contourf(across, up, values.clip(low, high), levels=12, cmap="viridis")
    axis.set_aspect("equal")
    plain(axis, title)
    return drawn


def colours_of(labels: Tensor) -> list[str]:
    """A colour for each label."""
    return [COLOURS[int(label) % len(COLOURS)] for label in labels]


# ------------------------------------------------------------------------------------------------ images
def image_rows(rows: Rows, scale: int) -> Figure:
    """Rows of images ``(n, c, h, w)`` in [-1, 1], with a name at the left and a note under each."""
    gap, left, line = 3, 118, 15
    count = max(len(images) for _, images, _ in rows)
    wide = max(images.shape[3] for _, images, _ in rows) * scale
    heights = [images.shape[2] * scale + (line if notes else 0) + gap for _, images, notes in rows]
    width, height = left + count * (wide + gap) + gap, sum(heights) + 2 * gap
    made = figure(width, height)
    made.set_layout_engine("none")
    canvas = np.full((height, width, 3), 255, np.uint8)
    top = gap
    for (name, images, notes), tall in zip(rows, heights, strict=True):
        middle = top + images.shape[2] * scale / 2
        made.text(6 / width, 1 - middle / height, name, fontsize=9, color=INK, va="center", ha="left")
        for i, image in enumerate(_grey(images)):
            big = image.repeat(scale, 0).repeat(scale, 1)
            x = left + i * (wide + gap) + (wide - big.shape[1]) // 2
            canvas[top : top + big.shape[0], x : x + big.shape[1]] = big
            if notes:
                under = (x + big.shape[1] / 2) / width, 1 - (top + big.shape[0] + line / 2) / height
                made.text(*under, notes[i], fontsize=7, color=INK, va="center", ha="center")
        top += tall
    made.figimage(canvas, origin="upper")
    return made


def _grey(images: Tensor) -> np.ndarray:
    """The first channel, or three, as bytes ``(n, h, w, 3)``."""
    shown = images[:, :3] if images.shape[1] >= 3 else images[:, :1].expand(-1, 3, -1, -1)
    return (255 * (shown.detach().clamp(-1, 1) + 1) / 2).byte().permute(0, 2, 3, 1).numpy()


# ------------------------------------------------------------------------------------------------ scores
def separation(usual: np.ndarray, anomalous: np.ndarray, other: tuple[str, np.ndarray, np.ndarray] | None) -> Figure:
    """Histograms of two kinds of scores, and the ROC curve beside another detector's."""
    made, (left, right) = panels(2, 320)
    scores = np.concatenate([usual, anomalous])
    edges = np.linspace(*np.percentile(scores, [0, 97]), 40)
    for values, colour, name in ((usual, BLUE, "normal"), (anomalous, ORANGE, "anomalous")):
        left.hist(values.clip(edges[0], edges[-1]), bins=edges, color=colour, alpha=0.65, label=name)
    left.set_xlabel("score", fontsize=9)
    left.set_yticks([])
    left.legend(fontsize=8, frameon=False)
    plain(left, "held-out examples")
    curves = [("this model", usual, anomalous, ORANGE)] + ([(*other, GREY)] if other else [])
    for name, low, high, colour in curves:
        alarms, found, area = roc(low, high)
        right.plot(alarms, found, color=colour, linewidth=2, label=f"{name}: AUROC {area:.2f}")
    right.set_xlabel("share of normal ones flagged", fontsize=9)
    right.set_ylabel("share of anomalies flagged", fontsize=9)
    right.legend(fontsize=8, frameon=False, loc="lower right")
    right.set_aspect("equal")
    plain(right, "ROC")
    return made


def roc(usual: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """False and true alarms by threshold, and the area."""
    from sklearn.metrics import auc, roc_curve

    truth = np.repeat([0, 1], [len(usual), len(anomalous)])
    alarms, found, _ = roc_curve(truth, np.concatenate([usual, anomalous]))
    return alarms, found, float(auc(alarms, found))
