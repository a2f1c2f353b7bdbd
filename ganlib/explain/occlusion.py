"""Contributions: non-negative shares of the anomaly score, one per column, that sum to the score.

The weight of a column is the drop in score when the column takes the best of a few usual values (training median or
mode, quantiles, categories, missing if training rows had missing values). The score is divided by these weights.

Source: Zeiler & Fergus, arXiv 1311.2901, section 4.1 (occlusion of image regions), applied to table columns.
Deviations: the best of several values is used, because one usual value may not fit the row. Above 384 columns (128 if
they are encoded in more than 4,096 positions), a scorer with ``residual(x) -> (n, d)`` (the non-negative part of each
position in the score) is weighted by its residuals; other scorers are occluded in blocks of neighbouring columns, by
the reference row, and the columns of a block share its drop by their distances from the reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ganlib.calibrate import Calibration
from ganlib.data.encoder import UNEXPECTED_WEIGHT, TableEncoder
from ganlib.data.schema import Column
from ganlib.data.values import NO_DATE

CANDIDATES = 384  # rows scored to explain one row
WIDE, BLOCKS = 4096, 128  # beyond so many positions a table is occluded in so few blocks: their cost is limited
HIGHEST = 1e38  # larger scores are capped, so that the shares stay finite
LARGEST_WEIGHT = 1e30
EVEN_PART = 1e-3  # part of the score that is divided evenly, so that a row without any drop avoids 0 / 0
LEAST_WEIGHT = 1e-30
LEAST_DISTANCE = 1e-6
_POINTS = 5  # quantiles in a schema


def by_residual(scorer: nn.Module, encoder: TableEncoder) -> bool:
    """Whether columns are explained by residual shares instead of occlusion."""
    return in_blocks(encoder) and callable(getattr(scorer, "residual", None))


def in_blocks(encoder: TableEncoder) -> bool:
    """Whether there are too many columns to replace each by itself."""
    return len(encoder.codes) > most_blocks(encoder)


def most_blocks(encoder: TableEncoder) -> int:
    """How many columns, or blocks of columns, are replaced at most."""
    return CANDIDATES if encoder.width <= WIDE else BLOCKS


def block_of_column(encoder: TableEncoder) -> np.ndarray:
    """Index of the block that each feature column is occluded with: int64 ``(features,)``."""
    size = -(-len(encoder.codes) // most_blocks(encoder))
    return np.arange(len(encoder.codes)) // size


def column_blocks(encoder: TableEncoder) -> np.ndarray:
    """0/1 matrix ``(features, blocks)``, float32: which block each column is occluded with."""
    blocks = block_of_column(encoder)
    return np.eye(int(blocks[-1]) + 1, dtype=np.float32)[blocks]


def position_columns(encoder: TableEncoder) -> np.ndarray:
    """0/1 matrix ``(width, features)``, float32: which positions belong to which column."""
    matrix = np.zeros((encoder.width, len(encoder.codes)), dtype=np.float32)
    for index, code in enumerate(encoder.codes):
        matrix[code.start : code.start + code.width, index] = 1.0
    return matrix


def block_masks(encoder: TableEncoder) -> np.ndarray:
    """Which positions each block replaces: bool ``(blocks, width)``."""
    blocks = block_of_column(encoder)
    masks = np.zeros((int(blocks[-1]) + 1, encoder.width), dtype=bool)
    for block, column in zip(blocks, position_columns(encoder).T, strict=True):
        masks[block] |= column > 0
    return masks


def unexpected_missing(encoder: TableEncoder, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
    """Missing values in columns that had none in training, float32 0/1 ``(n, features)``."""
    columns = []
    for code, column in zip(encoder.codes, encoder.columns(), strict=True):
        feed = feeds[code.input]
        if column.missing or code.kind == "text" or encoder.unexpected_position is None:
            lacks = np.zeros(len(feed), dtype=bool)
        elif code.kind == "category":
            lacks = feed == ""
        else:
            lacks = feed == NO_DATE if code.kind == "date" else ~np.isfinite(feed)
        columns.append(np.asarray(lacks, dtype=np.float32))
    return np.stack(columns, 1)


@dataclass(frozen=True)
class Replacements:
    """The replacements to score for one row: ``masks`` and ``values`` ``(k, width)``, and replaced ``blocks`` ``(k,)``.

    ``choices`` ``(features, most)`` are the replacements of each column, padded by repeating the first one.
    """

    masks: np.ndarray
    values: np.ndarray
    blocks: np.ndarray
    choices: np.ndarray


def replacements(encoder: TableEncoder) -> Replacements:
    """The values by which each column, or block of columns, is replaced."""
    masks = block_masks(encoder)
    if in_blocks(encoder):
        values = np.broadcast_to(encoder.reference, masks.shape).copy()
        return Replacements(masks, values, np.arange(len(masks)), block_of_column(encoder)[:, None])
    most = max(1, CANDIDATES // len(encoder.codes))
    parts = [_usual_values(encoder, index, most) for index in range(len(encoder.codes))]
    blocks = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    rows = np.concatenate(parts).astype(np.float32)
    longest, first = max(map(len, parts)), np.cumsum([0, *map(len, parts)])[:-1]
    choices = [
        [start + (i if i < len(part) else 0) for i in range(longest)] for start, part in zip(first, parts, strict=True)
    ]
    return Replacements(masks[blocks], rows, blocks, np.array(choices, dtype=np.int64))


def _usual_values(encoder: TableEncoder, index: int, most: int) -> np.ndarray:
    """Reference rows in which one column takes its usual values, encoded: ``(k <= most, width)``."""
    code, column = encoder.codes[index], encoder.columns()[index]
    rows = [encoder.reference]
    for feed in _usual_feeds(column, code.categories, most - 1):
        row = encoder.reference
        row[code.start : code.start + code.width] = encoder.encode_values(index, feed)[0]
        rows.append(row)
    return np.stack(rows)


def _usual_feeds(column: Column, categories: tuple[str, ...], most: int) -> list[np.ndarray]:
    """Up to ``most`` usual raw values, each as a feed of one row."""
    dtype: Any = np.float64
    values: list[Any] = []
    if column.kind == "category":
        dtype, values = object, list(categories) + [""] * column.missing
    elif column.kind == "boolean":
        values = [0.0, 1.0] + [np.nan] * column.missing
    elif column.kind != "text" and len(column.quantiles) == _POINTS:
        low, middle, high = column.quantiles[1:4]
        values = [low, high, (low + middle) / 2, (middle + high) / 2]
        dtype, lack = (np.int64, NO_DATE) if column.kind == "date" else (np.float64, np.nan)
        values = [lack] * column.missing + ([int(v) for v in values] if column.kind == "date" else values)
    if len(values) > most:
        values = [values[i] for i in np.linspace(0, len(values) - 1, most).round().astype(int)]
    return [np.array([value], dtype=dtype) for value in values]


@torch.no_grad()
def contributions(
    scorer: nn.Module,
    encoder: TableEncoder,
    x: Tensor,
    unexpected: Tensor | None = None,
    base: float = 0.0,
    median: float = 0.0,
    chunk: int = 64,
) -> Tensor:
    """Shares of the score above ``base``: ``(n, features)``, never negative, finite, dtype as ``x``.

    Each row sums to ``clip(score - base, 0, 1e38)``. ``x`` are encoded rows; ``unexpected`` is the result of
    ``unexpected_missing``; ``base`` is ``score_base`` of the calibration and ``median`` its ``median_score``.
    """
    weights = column_weights(scorer, encoder, x, unexpected, median, chunk)
    scores = torch.cat([_finite_or_worst(scorer(part)) for part in x.split(chunk)])
    return (scores - base).clamp(0.0, HIGHEST)[:, None] * (weights / weights.sum(1, keepdim=True))


@torch.no_grad()
def column_weights(
    scorer: nn.Module,
    encoder: TableEncoder,
    x: Tensor,
    unexpected: Tensor | None = None,
    median: float = 0.0,
    chunk: int = 64,
) -> Tensor:
    """The positive weights ``(n, features)`` by which a score is divided, in score units."""
    lacks = torch.zeros(len(x), len(encoder.codes)) if unexpected is None else unexpected
    weigh = _residuals if by_residual(scorer, encoder) else _drops
    result = []
    for part, lack in zip(x.split(chunk), lacks.split(chunk), strict=True):
        scores = _finite_or_worst(scorer(part))[:, None]
        weights = weigh(scorer, encoder, part, lack, scores).nan_to_num(0.0, LARGEST_WEIGHT)
        even = scores.abs().clamp(median, LARGEST_WEIGHT) * (EVEN_PART / len(encoder.codes))
        result.append(weights.clamp(0.0, LARGEST_WEIGHT) + even.clamp_min(LEAST_WEIGHT))
    return torch.cat(result)


def _drops(scorer: nn.Module, encoder: TableEncoder, x: Tensor, lacks: Tensor, scores: Tensor) -> Tensor:
    """How much the score drops with the best replacement of each column."""
    plan = replacements(encoder)
    masks, values = torch.from_numpy(plan.masks), torch.from_numpy(plan.values).to(x.dtype)
    replaced = torch.where(masks[None], values, x[:, None])
    if encoder.unexpected_position is not None:
        columns = torch.from_numpy(block_of_column(encoder))
        each = torch.zeros(len(x), int(columns[-1]) + 1, dtype=lacks.dtype).index_add_(1, columns, lacks)
        replaced[:, :, encoder.unexpected_position] -= UNEXPECTED_WEIGHT * each[:, torch.from_numpy(plan.blocks)]
    rescored = _finite_or_worst(scorer(replaced.flatten(0, 1))).view(len(x), len(masks))
    drops = scores - rescored[:, torch.from_numpy(plan.choices)].amin(2)
    return drops * _parts_of_blocks(encoder, x, lacks) if in_blocks(encoder) else drops


def _parts_of_blocks(encoder: TableEncoder, x: Tensor, lacks: Tensor) -> Tensor:
    """The part of each column in its block, ``(n, features)``: by distance from the reference, summing to 1 a block."""
    reference, columns = (torch.from_numpy(a).to(x.dtype) for a in (encoder.reference, position_columns(encoder)))
    distances = (x - reference).abs() @ columns + UNEXPECTED_WEIGHT * lacks + LEAST_DISTANCE
    sums = distances @ torch.from_numpy(column_blocks(encoder)).to(x.dtype)
    return distances / sums[:, torch.from_numpy(block_of_column(encoder))]


def _residuals(scorer: nn.Module, encoder: TableEncoder, x: Tensor, lacks: Tensor, scores: Tensor) -> Tensor:
    """The residuals of each column; that of unexpected missing values is divided among the columns that have some."""
    residual = scorer.residual(x)  # type: ignore[operator]
    weights = residual @ torch.from_numpy(position_columns(encoder)).to(x.dtype)
    if (position := encoder.unexpected_position) is not None:
        weights = weights + residual[:, position, None] * lacks / lacks.sum(1, keepdim=True).clamp_min(1.0)
    return weights


def score_base(calibration: Calibration) -> float:
    """The score with nothing to explain: 0, or the lowest calibration score if that is negative."""
    scores = calibration.pooled.scores
    return min(0.0, float(scores[0])) if len(scores) else 0.0


def _finite_or_worst(scores: Tensor) -> Tensor:
    """Treat non-finite scores as most anomalous, as in calibration."""
    return torch.where(scores.isfinite(), scores, float("inf"))
