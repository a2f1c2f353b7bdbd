"""Outputs of networks as encoded table rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ganlib.data.fields import Block, runs


def activate(blocks: Sequence[Block], output: Tensor) -> Tensor:
    """Bring a network's output ``(n, d)`` into the encoding's range: sigmoid for flags, softmax for categories.

    Numbers are unchanged.
    """
    if all(block.kind == "number" for block in blocks):
        return output
    parts = []
    for kind, run in runs(blocks):
        part = slice(run[0].start, run[-1].stop)
        if kind == "number":
            parts.append(output[:, part])
        elif kind == "binary":
            parts.append(torch.sigmoid(output[:, part]))
        else:
            parts.extend(torch.softmax(output[:, block.slice], dim=1) for block in run)
    return torch.cat(parts, 1)
