"""Autoregressive networks over grids of codes: PixelCNN for two sides, WaveNet-type for one.

Sources: van den Oord et al., Pixel Recurrent Neural Networks, arXiv 1601.06759 (masks A and B); Conditional Image
Generation with PixelCNN Decoders, arXiv 1606.05328 (gates); WaveNet, arXiv 1609.03499 (dilated causal convolutions).
One masked stack, so the 2-D receptive field has the blind spot that the second paper's two stacks remove.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ganlib.nn.layers import CONV


class MaskedConv(nn.Module):
    """A convolution that sees earlier positions of ``(n, c, *sides)`` in raster order, and its own if ``own``."""

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, dims: int, kernel: int, own: bool, dilation: int = 1) -> None:
        super().__init__()
        self.conv = cast("Any", CONV[dims])(inputs, outputs, kernel, padding=kernel // 2 * dilation, dilation=dilation)
        places = torch.arange(kernel**dims).view([kernel] * dims)
        self.reach = kernel**dims // 2 + own  # of the kernel's places, in raster order
        self.register_buffer("mask", (places < self.reach).float())

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        convolve = nn.functional.conv2d if self.mask.ndim == 2 else nn.functional.conv1d
        conv = self.conv
        return convolve(x, conv.weight * self.mask, conv.bias, 1, conv.padding, conv.dilation)

    def neighbours(self, grid: tuple[int, ...]) -> list[list[int | None]]:
        """For each position of a grid, in raster order, the positions that it sees; None for those outside."""
        kernel, dilation = self.conv.kernel_size[0], self.conv.dilation[0]
        steps = [dilation * (step - kernel // 2) for step in range(kernel)]
        seen = list(itertools.product(steps, repeat=len(grid)))[: self.reach]
        return [
            [_flat([place + step for place, step in zip(here, by, strict=True)], grid) for by in seen]
            for here in itertools.product(*map(range, grid))
        ]

    def matrix(self) -> Tensor:
        """The weights of what a position sees, ``(outputs, places · inputs)``."""
        return self.conv.weight.flatten(2)[:, :, : self.reach].transpose(1, 2).flatten(1)

    def at(self, columns: Sequence[Tensor], seen: Sequence[int | None], matrix: Tensor) -> Tensor:
        """The output at one position, ``(n, outputs)``, from the inputs ``(n, inputs)`` of the positions it sees."""
        nothing = torch.zeros_like(columns[0])
        given = torch.cat([nothing if place is None else columns[place] for place in seen], 1)
        return linear(given, matrix, self.conv.bias)


def _flat(place: Sequence[int], grid: tuple[int, ...]) -> int | None:
    """The number of a place in raster order; None outside the grid."""
    if any(not 0 <= step < side for step, side in zip(place, grid, strict=True)):
        return None
    return sum(step * math.prod(grid[axis + 1 :]) for axis, step in enumerate(place))


def _point(conv: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a pointwise convolution, for one position."""
    layer = cast("Any", conv)
    return layer.weight.flatten(1), layer.bias


class CausalNet(nn.Module):
    """One-hot codes ``(n, codes, *grid)`` to logits of each position's code given those before it, same shape."""

    def __init__(self, codes: int, grid: tuple[int, ...], width: int, blocks: int) -> None:
        super().__init__()
        dims = len(grid)
        point = cast("Any", CONV[dims])
        self.codes, self.grid = codes, grid
        self.enter = MaskedConv(codes, width, dims, 5 if dims == 2 else 3, own=False)
        reach = [1 if dims == 2 else 2**i for i in range(blocks)]
        self.gates = nn.ModuleList(MaskedConv(width, 2 * width, dims, 3, own=True, dilation=d) for d in reach)
        self.mixes = nn.ModuleList(point(width, width, 1) for _ in reach)
        self.head = nn.Sequential(nn.ReLU(), point(width, width, 1), nn.ReLU(), point(width, codes, 1))

    def forward(self, given: Tensor) -> Tensor:
        """Logits."""
        x = self.enter(given)
        for gate, mix in zip(self.gates, self.mixes, strict=True):
            value, opened = gate(x).chunk(2, 1)
            x = x + mix(torch.tanh(value) * torch.sigmoid(opened))
        return self.head(x)

    def log_prob(self, given: Tensor) -> Tensor:
        """Log-probability of one-hot codes at each position in nats, ``(n, positions)``."""
        logits = self(given)
        with torch.autocast(given.device.type, enabled=False):
            log_p = torch.log_softmax(logits.float() if logits.dtype != torch.float64 else logits, 1)
            return (log_p * given).sum(1).flatten(1)

    def draw(self, uniform: Tensor) -> Tensor:
        """One-hot codes by inverting the distribution function at ``uniform (n, positions)``, one after the other.

        Each position's features are computed once, from the kept features of the positions that it sees. The loop has a
        fixed length, so that its export is unrolled.
        """
        upto = torch.ones(self.codes, self.codes, device=uniform.device, dtype=uniform.dtype).triu()
        gates = cast("Sequence[MaskedConv]", self.gates)
        matrices, mixes = [gate.matrix() for gate in gates], [_point(mix) for mix in self.mixes]
        enter, (middle, last) = self.enter.matrix(), (_point(self.head[i]) for i in (1, 3))
        first, later = self.enter.neighbours(self.grid), [gate.neighbours(self.grid) for gate in gates]
        chosen = [torch.zeros_like(uniform[:, :1]).expand(-1, self.codes)]  # what is outside the grid
        kept: list[list[Tensor]] = [[] for _ in gates]
        for i in range(uniform.shape[1]):
            x = self.enter.at(chosen, [None if place is None else place + 1 for place in first[i]], enter)
            for k, gate in enumerate(gates):
                kept[k].append(x)
                value, opened = gate.at(kept[k], later[k][i], matrices[k]).chunk(2, 1)
                x = x + linear(torch.tanh(value) * torch.sigmoid(opened), *mixes[k])
            x = linear(linear(x.relu(), *middle).relu(), *last)
            below = torch.softmax(x, 1) @ upto
            passed = (uniform[:, i : i + 1] > below[:, :-1]).to(uniform.dtype)
            one, none = torch.ones_like(passed[:, :1]), torch.zeros_like(passed[:, :1])
            chosen.append(torch.cat([one, passed], 1) - torch.cat([passed, none], 1))
        return torch.stack(chosen[1:], 2).unflatten(2, self.grid)
