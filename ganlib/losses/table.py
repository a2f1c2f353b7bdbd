"""Likelihood of encoded table rows: Gaussian numbers, Bernoulli flags, categorical one-hots."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ganlib.data.fields import Block, runs
from ganlib.data.spec import DataSpec
from ganlib.losses.divergence import gaussian_nll, wide


def positions(blocks: Sequence[Block], kind: str, dim: int) -> Tensor:
    """Indices of the positions in blocks of a kind; without blocks, every position is a number."""
    if not blocks:
        return torch.arange(dim if kind == "number" else 0)
    chosen = [i for block in blocks if block.kind == kind for i in range(block.start, block.stop)]
    return torch.tensor(chosen, dtype=torch.long)


def row_nll(blocks: Sequence[Block], output: Tensor, log_variance: Tensor, x: Tensor) -> Tensor:
    """-log p(x | output) per raw block in nats: ``(n, number of blocks)``; without blocks ``(n, d)``.

    ``output`` and ``x`` are ``(n, d)``: means for numbers, logits for flags and categories. ``log_variance``
    broadcasts to ``(n, d)`` and is used at the numbers only.
    """
    output, log_variance = wide(output), wide(log_variance).expand_as(x)
    if not blocks:
        return gaussian_nll(x, output, log_variance)
    parts = []
    for kind, run in runs(blocks):
        if kind == "number":
            part = slice(run[0].start, run[-1].stop)
            parts.append(gaussian_nll(x[:, part], output[:, part], log_variance[:, part]))
        elif kind == "binary":
            part = slice(run[0].start, run[-1].stop)
            # Cross-entropy of a logit, in a form that stays finite in an exported graph.
            parts.append(F.softplus(output[:, part]) - x[:, part] * output[:, part])
        else:
            for block in run:
                log_p = F.log_softmax(output[:, block.slice], dim=1)
                parts.append(-(log_p * x[:, block.slice]).sum(1, keepdim=True))
    return torch.cat(parts, 1)


def example_nll(spec: DataSpec, output: Tensor, log_variance: Tensor, x: Tensor) -> Tensor:
    """-log p(x | output) in nats, ``(n, terms)``: by column for table rows, by value for images and series.

    Images are Gaussian around tanh(output), series around output; ``log_variance`` broadcasts to ``(n, d)``.
    """
    if len(spec.shape) == 1:
        return row_nll(spec.blocks, output, log_variance, x)
    mean = torch.tanh(output) if spec.kind == "image" else output
    return gaussian_nll(x.flatten(1), mean.flatten(1), log_variance.expand(len(x), spec.dim))
