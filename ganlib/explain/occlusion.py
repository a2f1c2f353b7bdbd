"""Occlusion: how much the score drops when one column takes its reference value.

Source: Zeiler & Fergus, arXiv 1311.2901, section 4.1 (occlusion of image regions), applied to table columns.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganlib.data.encoder import TableEncoder

BLOCKS = 128


def column_masks(encoder: TableEncoder) -> Tensor:
    """Which positions each explained block replaces: bool ``(features, d)``.

    With more than 128 columns, neighbours share a block and so a contribution.
    """
    masks = torch.zeros(len(encoder.codes), encoder.width, dtype=torch.bool)
    size = -(-len(encoder.codes) // BLOCKS)
    for index in range(len(encoder.codes)):
        first = index // size * size
        for code in encoder.codes[first : first + size]:
            masks[index, code.start : code.start + code.width] = True
    return masks


@torch.no_grad()
def contributions(scorer: nn.Module, encoder: TableEncoder, x: Tensor, chunk: int = 256) -> Tensor:
    """``score(x) - score(x with the column at its reference)``: float32 ``(n, features)`` in score units."""
    masks, reference = column_masks(encoder), torch.from_numpy(encoder.reference)
    out = []
    for part in x.split(chunk):
        replaced = torch.where(masks[None], reference, part[:, None])
        scores = scorer(replaced.flatten(0, 1)).view(len(part), len(masks))
        out.append(scorer(part)[:, None] - scores)
    return torch.cat(out)
