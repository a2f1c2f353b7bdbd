"""Small problems with known answers, for the conformance suite and the documentation."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ganlib.data.spec import Block, DataSpec


def ring(n: int, seed: int, modes: int = 8, radius: float = 2.0, deviation: float = 0.02) -> tuple[Tensor, Tensor]:
    """A mixture of Gaussians on a circle: points float32 ``(n, 2)`` and their mode int64 ``(n,)``."""
    rng = np.random.default_rng(seed)
    mode = rng.integers(modes, size=n)
    angle = 2 * math.pi * mode / modes
    centre = radius * np.stack([np.cos(angle), np.sin(angle)], 1)
    points = centre + deviation * rng.standard_normal((n, 2))
    return torch.tensor(points, dtype=torch.float32), torch.tensor(mode)


def modes_found(points: Tensor, modes: int = 8, radius: float = 2.0, deviation: float = 0.02) -> tuple[int, float]:
    """Modes that hold at least 1 % of the points within three deviations, and the share of points within three."""
    from ganlib.metrics.mixtures import mode_report, ring_centres

    report = mode_report(points, ring_centres(modes, radius), deviation, least_share=0.01)
    return report.found, report.high_quality


def factor_table(n: int, seed: int, dim: int = 8, factors: int = 2, shift: float = 0.0) -> Tensor:
    """Rows ``(n, dim)`` near a curved surface of few factors: ``W f + V f² + 0.1 noise``, standardised.

    ``shift`` generates anomalies: it adds independent noise of that size, which breaks the dependence of the columns.
    """
    fixed = np.random.default_rng(12345)
    linear, curved = fixed.standard_normal((2, factors, dim))
    rng = np.random.default_rng(seed)
    f = rng.standard_normal((n, factors))
    rows = f @ linear + f**2 @ curved + 0.1 * rng.standard_normal((n, dim))
    scale = np.sqrt((linear**2).sum(0) + 2 * (curved**2).sum(0))
    rows = rows / scale + shift * rng.standard_normal((n, dim))
    return torch.tensor(rows, dtype=torch.float32)


def labelled_table(n: int, seed: int) -> tuple[Tensor, Tensor, DataSpec]:
    """Three classes in four numbers and a three-way category that depends on the class: rows, labels, spec."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n)
    means = np.array([[2.0, 0.0, 1.0, 0.0], [-2.0, 1.0, 0.0, 0.0], [0.0, -2.0, 0.0, 1.5]])
    numbers = means[y] + 0.5 * rng.standard_normal((n, 4))
    numbers[:, 3] += 0.8 * numbers[:, 0]
    table = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    category = (rng.random((n, 1)) > table[y].cumsum(1)).sum(1).clip(max=2)
    x = np.concatenate([numbers, np.eye(3)[category]], 1)
    blocks = (*(Block(f"x{i}", "number", i) for i in range(4)), Block("c", "category", 4, 3))
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y), DataSpec.table(blocks, 3)


def digits(seed: int, part: str = "train") -> tuple[Tensor, Tensor]:
    """scikit-learn's 8x8 digits as images ``(n, 1, 8, 8)`` in [-1, 1] and labels: 60 % train, the rest test."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    order = np.random.default_rng(seed).permutation(len(loaded.target))
    cut = round(0.6 * len(order))
    rows = order[:cut] if part == "train" else order[cut:]
    x = torch.tensor(loaded.images[rows] / 8 - 1, dtype=torch.float32).unsqueeze(1)
    return x, torch.tensor(loaded.target[rows])


def twin_blobs(n: int, seed: int, side: int = 16) -> Tensor:
    """Images ``(n, 1, side, side)`` in [-1, 1] with a bright blob in two opposite corners: both tall, or both wide."""
    rng = np.random.default_rng(seed)
    tall = rng.random(n) < 0.5
    rows, columns = np.mgrid[:side, :side]
    images = np.zeros((n, side, side))
    for corner in (0.22, 0.78):
        centre = corner * (side - 1) + 0.6 * rng.standard_normal((n, 2))
        along, across = np.where(tall, 2.4, 0.9), np.where(tall, 0.9, 2.4)
        down = (rows[None] - centre[:, :1, None]) / along[:, None, None]
        right = (columns[None] - centre[:, 1:, None]) / across[:, None, None]
        images += np.exp(-0.5 * (down**2 + right**2))
    return torch.tensor(2 * images.clip(0, 1) - 1, dtype=torch.float32).unsqueeze(1)


def blobs_agree(images: Tensor) -> float:
    """Cohen's kappa of the orientations of the two blobs in ``twin_blobs`` images.

    1 for the data; 0 if the blobs are independent or one never changes.
    """
    weight = (images.squeeze(1) + 1).clamp(min=0)
    half = images.shape[-1] // 2
    position = torch.arange(half, dtype=weight.dtype)
    tall = []
    for corner in (weight[:, :half, :half], weight[:, half:, half:]):
        share = corner / corner.sum((1, 2), keepdim=True).clamp(min=1e-6)
        spreads = []
        for axis in (2, 1):
            marginal = share.sum(axis)
            mean = (marginal * position).sum(1, keepdim=True)
            spreads.append((marginal * (position - mean).square()).sum(1))
        tall.append(spreads[0] > spreads[1])
    same = float((tall[0] == tall[1]).float().mean())
    first, second = (float(one.float().mean()) for one in tall)
    chance = first * second + (1 - first) * (1 - second)
    return (same - chance) / (1 - chance) if chance < 1 else 0.0


def stroke(images: Tensor) -> Tensor:
    """Thickness and slant of digits ``(n, 1, h, w)`` in [-1, 1], as ``(n, 2)``.

    Thickness is the mean ink in [0, 1]; slant the shift of the ink to the right, in columns per row upwards.
    """
    ink = (images.squeeze(1) + 1) / 2
    rows, columns = torch.meshgrid(*(torch.arange(side, dtype=ink.dtype) for side in ink.shape[1:]), indexing="ij")
    weight = ink / ink.sum((1, 2), keepdim=True).clamp(min=1e-6)
    down = rows - (weight * rows).sum((1, 2), keepdim=True)
    right = columns - (weight * columns).sum((1, 2), keepdim=True)
    slant = -(weight * down * right).sum((1, 2)) / (weight * down.square()).sum((1, 2)).clamp(min=1e-6)
    return torch.stack([ink.mean((1, 2)), slant], 1)


NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEMPLATES = ("a {0} {1}", "the digit {1}, {0}", "{0} {1}", "this {1} is {0}")


def digit_caption(digit: int, thickness: str, template: int = 0) -> str:
    """A caption for a digit; ``thickness`` is thin, plain or thick."""
    return _TEMPLATES[template % len(_TEMPLATES)].format(thickness, NUMERALS[digit])


def digit_captions(images: Tensor, y: Tensor, seed: int) -> list[str]:
    """A caption for each image: its numeral, and thin, plain or thick by the tercile of its thickness."""
    thickness = stroke(images)[:, 0].contiguous()
    third = torch.bucketize(thickness, thickness.quantile(torch.tensor([1 / 3, 2 / 3])))
    template = np.random.default_rng(seed).integers(len(_TEMPLATES), size=len(y))
    return [
        digit_caption(digit, ("thin", "plain", "thick")[level], which)
        for digit, level, which in zip(y.tolist(), third.tolist(), template, strict=True)
    ]


def rule_bits(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rows ``(n, 64)`` of flags that obey 16 rules, and a property float32 ``(n, 1)``, standardised.

    48 flags come from thresholds of four factors, of which the first raises all flags. Flag 48 + i is (flag 3i and
    flag 3i + 1). The property is ``rule_property``.
    """
    fixed = np.random.default_rng(2016)
    weights, thresholds = fixed.standard_normal((4, 48)), 0.5 * fixed.standard_normal(48)
    weights[0] = np.abs(weights[0])
    rng = np.random.default_rng(seed)
    free = rng.standard_normal((n, 4)) @ weights + 0.5 * rng.standard_normal((n, 48)) > thresholds
    bits = np.concatenate([free, free[:, :48:3] & free[:, 1:48:3]], 1)
    x = torch.tensor(bits, dtype=torch.float32)
    return x, rule_property(x)


def rule_property(bits: Tensor) -> Tensor:
    """The property of ``rule_bits`` rows, ``(n, 1)``: how many pairs 3i, 3i + 1 are both set, standardised."""
    return ((bits[:, :48:3] * bits[:, 1:48:3]).sum(1, keepdim=True) - 3.4) / 2.7


def rules_kept(bits: Tensor) -> float:
    """Share of the rules of ``rule_bits`` that rows obey, from 0 to 1."""
    return float((bits[:, 48:] == bits[:, :48:3] * bits[:, 1:48:3]).float().mean())
