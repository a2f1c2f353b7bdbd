"""Scenes of a digit and a disc before a texture, with the class of each pixel, in two looks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ganlib.testing.problems import digits

SIDE, LABELS = 24, 3  # background, digit, disc
_DIGIT, _RADIUS = 12, 4.0


def scenes(seed: int, look: str, part: str = "train", rows: int = 1000) -> tuple[Tensor, Tensor]:
    """Images ``(n, 1, 24, 24)`` in [-1, 1] and label maps int64 ``(n, 24, 24)``.

    ``look`` "a": bright figures before a dark, smooth texture. "b": a brighter ground of stripes and grain, and figures
    of less contrast. Digits of parts "train" and "test" differ.
    """
    g = torch.Generator().manual_seed(3 * seed + (look == "b") + (0 if part == "train" else 10_000))
    pool = digits(seed, part)[0]
    strokes = interpolate(pool[torch.randint(len(pool), (rows,), generator=g)], (_DIGIT, _DIGIT), mode="bilinear")
    ink = torch.zeros(rows, SIDE, SIDE)
    left = torch.rand(rows, generator=g) < 0.5  # where the digit is
    down, across = torch.randint(SIDE - _DIGIT + 1, (2, rows), generator=g)
    start = torch.where(left, 0, SIDE - _DIGIT)
    for row in range(rows):
        ink[row, down[row] : down[row] + _DIGIT, start[row] : start[row] + _DIGIT] = strokes[row, 0] / 2 + 0.5
    line = torch.arange(SIDE).float()
    middle = torch.where(left, SIDE - 6.0, 5.0) + torch.rand(rows, generator=g) * 2 - 1
    height = 4 + across * (SIDE - 9) / (SIDE - _DIGIT)
    away = ((line - middle[:, None, None]) ** 2 + (line[:, None] - height[:, None, None]) ** 2).sqrt()
    size = _RADIUS - 1.5 * torch.rand(rows, 1, 1, generator=g)
    disc = (size - away + 0.5).clamp(0, 1)
    labels = torch.zeros(rows, SIDE, SIDE, dtype=torch.int64)
    labels[ink > 0.4] = 1
    labels[disc > 0.5] = 2
    ground, digit, round_ = _colours(rows, look, g)
    image = ground + ink * (digit - ground)
    image = image + disc * (round_ - image) + 0.05 * torch.randn(rows, SIDE, SIDE, generator=g)
    return image.clamp(-1, 1).unsqueeze(1), labels


def _colours(rows: int, look: str, g: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Ground, digit's and disc's brightness of each image."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(rows, 1, 1, generator=g)

    if look == "a":
        rough = interpolate(torch.randn(rows, 1, 5, 5, generator=g), (SIDE, SIDE), mode="bilinear")[:, 0]
        return uniform(-0.8, -0.5) + 0.12 * rough, uniform(0.7, 1.0), uniform(0.1, 0.4)
    grain = interpolate(torch.randn(rows, 1, 12, 12, generator=g), (SIDE, SIDE), mode="bilinear")[:, 0]
    angle, phase = uniform(0, 3.14), uniform(0, 6.28)
    line = torch.arange(SIDE).float()
    stripes = (1.2 * (line * angle.cos() + line[:, None] * angle.sin()) + phase).sin()
    return uniform(-0.35, -0.05) + 0.12 * grain + 0.12 * stripes, uniform(0.5, 0.75), uniform(0.15, 0.35)


def two_looks(seed: int, rows: int = 1000) -> dict[str, Tensor]:
    """Labelled scenes of look "a", and others of look "b" without labels."""
    x, y = scenes(seed, "a", rows=rows)
    return {"x": x, "y": y, "x_b": scenes(seed + 50, "b", rows=rows)[0]}


def mean_iou(found: Tensor, true: Tensor, labels: int = LABELS) -> float:
    """Intersection over union of each class over all pixels, mean of the classes that are found or true somewhere."""
    values = list[float]()
    for label in range(labels):
        one, other = found == label, true == label
        if union := int((one | other).sum()):
            values.append(int((one & other).sum()) / union)
    return sum(values) / len(values)


@torch.no_grad()
def segmented(segment: Callable[[Tensor], Tensor], seed: int, look: str = "b") -> float:
    """Mean intersection over union on held-out scenes."""
    x, y = scenes(seed + 100, look, "test", 300)
    return mean_iou(segment(x), y)
