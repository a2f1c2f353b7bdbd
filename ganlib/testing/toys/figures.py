"""Stick figures of two bars before a smooth background, in two poses."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import interpolate

JOINTS, PARTS = 3, ((0, 1), (1, 2))
SIDE, _LENGTH, _HALF, _SPREAD = 16, 0.62, 0.17, 0.16


def figures(seed: int, part: str = "train", rows: int = 1500) -> dict[str, Tensor]:
    """Pairs of images of one figure and background: ``x (n, 3 + 6, 16, 16)`` and ``x_b (n, 3, 16, 16)``.

    x holds the source image, and for each joint a bump in the source's pose, then in the target's. Each bar has two
    colours, side by side, that differ from figure to figure. Also ``mask (n, 1, 16, 16)``: 1 where the target's figure
    is. Images are in [-1, 1]; bumps too, -1 far from the joint.
    """
    g = torch.Generator().manual_seed(seed + (0 if part == "train" else 10_000))
    ground = interpolate(0.5 * torch.randn(rows, 3, 3, 3, generator=g), (SIDE, SIDE), mode="bilinear").clamp(-1, 1)
    colours = (2 * torch.rand(rows, len(PARTS), 2, 3, generator=g) - 1).sign() * (
        0.6 + 0.4 * torch.rand(rows, len(PARTS), 2, 3, generator=g)
    )
    shown = []
    for _ in range(2):
        joints = _pose(rows, g)
        image, covered = _drawn(ground, joints, colours)
        shown.append((image, covered, _bumps(joints)))
    (source, _, first), (target, mask, second) = shown
    return {"x": torch.cat([source, first, second], 1), "x_b": target, "mask": mask}


def _pose(rows: int, g: torch.Generator) -> Tensor:
    """Positions of the joints ``(n, 3, 2)``, right and down in [-1, 1]."""
    middle = 0.5 * torch.rand(rows, 2, generator=g) - 0.25
    first = 2 * math.pi * torch.rand(rows, generator=g)
    second = first + math.pi + 2.0 * (torch.rand(rows, generator=g) - 0.5)
    ends = [middle + _LENGTH * torch.stack([angle.cos(), angle.sin()], 1) for angle in (first, second)]
    return torch.stack([ends[0], middle, ends[1]], 1)


def _drawn(ground: Tensor, joints: Tensor, colours: Tensor) -> tuple[Tensor, Tensor]:
    """The figure before its background, and 1 where it covers it."""
    down, right = _grid()
    image, covered = ground, torch.zeros(len(ground), 1, SIDE, SIDE)
    for bar, (a, b) in enumerate(PARTS):
        start, along = joints[:, a, :, None, None], (joints[:, b] - joints[:, a])[:, :, None, None]
        length = along.square().sum(1).sqrt()
        place = ((right - start[:, 0]) * along[:, 0] + (down - start[:, 1]) * along[:, 1]) / length
        aside = ((down - start[:, 1]) * along[:, 0] - (right - start[:, 0]) * along[:, 1]) / length
        inside = ((aside.abs() < _HALF) & (place > 0) & (place < length)).float().unsqueeze(1)
        two = colours[:, bar].unflatten(2, (3, 1, 1))
        paint = torch.where(aside.unsqueeze(1) < 0, two[:, 0], two[:, 1])
        image, covered = inside * paint + (1 - inside) * image, torch.maximum(covered, inside)
    return image, covered


def _bumps(joints: Tensor) -> Tensor:
    down, right = _grid()
    squared = (right - joints[:, :, 0, None, None]) ** 2 + (down - joints[:, :, 1, None, None]) ** 2
    return 2 * torch.exp(-squared / (2 * _SPREAD**2)) - 1


def _grid() -> tuple[Tensor, Tensor]:
    line = (2 * torch.arange(SIDE) + 1) / SIDE - 1
    return line.view(1, SIDE, 1), line.view(1, 1, SIDE)


def overlap(found: Tensor, true: Tensor) -> float:
    """Intersection over union of masks of 0 and 1, over all pixels of all images."""
    both = torch.minimum(found, true).sum()
    return float(both / torch.maximum(found, true).sum())


@torch.no_grad()
def posed(translate: Callable[[Tensor], Tensor], seed: int) -> float:
    """Minus the mean absolute difference of translations of held-out pairs from the true images."""
    held = figures(seed, "test", 200)
    return -float((translate(held["x"]) - held["x_b"]).abs().mean())


def copied(seed: int) -> float:
    """The same of the unchanged source."""
    return posed(lambda x: x[:, :3], seed)
