"""Occlusion: how much the score drops when one column takes its reference value.

Source: Zeiler & Fergus, arXiv 1311.2901, section 4.1 (occlusion of image regions), applied to table columns.
Deviation: above 128 columns a scorer that offers ``residual(x) -> (n, d)`` (what each position adds to the score, not
negative) gives its residual shares scaled to the score; other scorers are occluded in blocks of neighbouring columns.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ganlib.data.encoder import UNEXPECTED_WEIGHT, TableEncoder
from ganlib.data.values import NO_DATE

BLOCKS = 128


def by_residual(scorer: nn.Module, encoder: TableEncoder) -> bool:
    """Whether columns are explained by residual shares instead of occlusion."""
    return len(encoder.codes) > BLOCKS and callable(getattr(scorer, "residual", None))


def block_of_column(encoder: TableEncoder) -> np.ndarray:
    """Index of the block that each feature column is occluded with: int64 ``(features,)``."""
    size = -(-len(encoder.codes) // BLOCKS)
    return np.arange(len(encoder.codes)) // size


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
    """Where a column that never lacked a value in training lacks one now: float32 0/1 ``(n, features)``."""
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


@torch.no_grad()
def contributions(
    scorer: nn.Module, encoder: TableEncoder, x: Tensor, unexpected: Tensor | None = None, chunk: int = 256
) -> Tensor:
    """``score(x) - score(x with the column at its reference)``: ``(n, features)`` in score units, dtype as ``x``.

    ``x`` are encoded rows; ``unexpected`` (from ``unexpected_missing``) lets the reference value also take back what a
    value missing against all training rows adds to the row's last position. Columns of one block share its drop.
    A row whose score is infinite has infinite contributions where the column is to blame, and zeros elsewhere.
    """
    if by_residual(scorer, encoder):
        return torch.cat([_residual_shares(scorer, encoder, part) for part in x.split(chunk)])
    masks, reference = torch.from_numpy(block_masks(encoder)), torch.from_numpy(encoder.reference)
    blocks = torch.from_numpy(block_of_column(encoder))
    extra = torch.zeros(len(x), len(blocks)) if unexpected is None else unexpected
    extra = torch.zeros(len(x), len(masks)).index_add_(1, blocks, extra)
    out = []
    for part, lacks in zip(x.split(chunk), extra.split(chunk), strict=True):
        replaced = torch.where(masks[None], reference, part[:, None])
        if encoder.unexpected_position is not None:
            replaced[:, :, encoder.unexpected_position] -= UNEXPECTED_WEIGHT * lacks
        scores = scorer(replaced.flatten(0, 1)).view(len(part), len(masks))
        out.append((_finite_or_worst(scorer(part))[:, None] - scores)[:, blocks])
    result = torch.cat(out)
    return result.masked_fill(result.isnan(), 0.0)


def _finite_or_worst(scores: Tensor) -> Tensor:
    """A score that is not finite counts as most anomalous, as in calibration."""
    return torch.where(scores.isfinite(), scores, float("inf"))


def _residual_shares(scorer: nn.Module, encoder: TableEncoder, x: Tensor) -> Tensor:
    """The score, divided among columns as their residuals are."""
    columns = torch.from_numpy(position_columns(encoder)).to(x.dtype)
    shares = scorer.residual(x) @ columns  # type: ignore[operator]
    return shares / shares.sum(1, keepdim=True).clamp_min(1e-12) * _finite_or_worst(scorer(x))[:, None]
