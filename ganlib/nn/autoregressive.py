"""Autoregressive networks over grids of codes: PixelCNN for two sides, WaveNet-type for one.

Sources: van den Oord et al., Pixel Recurrent Neural Networks, arXiv 1601.06759 (masks A and B); Conditional Image
Generation with PixelCNN Decoders, arXiv 1606.05328 (gates); WaveNet, arXiv 1609.03499 (dilated causal convolutions).
One masked stack, so the 2-D receptive field has the blind spot that the second paper's two stacks remove.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from ganlib.nn.layers import CONV


class MaskedConv(nn.Module):
    """A convolution that sees earlier positions of ``(n, c, *sides)`` in raster order, and its own if ``own``."""

    mask: Tensor

    def __init__(self, inputs: int, outputs: int, dims: int, kernel: int, own: bool, dilation: int = 1) -> None:
        super().__init__()
        self.conv = cast("Any", CONV[dims])(inputs, outputs, kernel, padding=kernel // 2 * dilation, dilation=dilation)
        places = torch.arange(kernel**dims).view([kernel] * dims)
        middle = kernel**dims // 2
        self.register_buffer("mask", (places <= middle if own else places < middle).float())

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        convolve = nn.functional.conv2d if self.mask.ndim == 2 else nn.functional.conv1d
        conv = self.conv
        return convolve(x, conv.weight * self.mask, conv.bias, 1, conv.padding, conv.dilation)


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

        The loop has a fixed length, so that its export is unrolled.
        """
        positions = uniform.shape[1]
        upto = torch.ones(self.codes, self.codes, device=uniform.device, dtype=uniform.dtype).triu()
        found = torch.zeros_like(uniform).unsqueeze(1).expand(-1, self.codes, -1).reshape(-1, self.codes, *self.grid)
        for i in range(positions):
            below = torch.softmax(self(found).flatten(2)[:, :, i], 1) @ upto
            passed = (uniform[:, i : i + 1] > below[:, :-1]).to(uniform.dtype)
            first, none = torch.ones_like(passed[:, :1]), torch.zeros_like(passed[:, :1])
            chosen = torch.cat([first, passed], 1) - torch.cat([passed, none], 1)
            here = (torch.arange(positions, device=uniform.device) == i).to(uniform.dtype)
            found = found + (chosen.unsqueeze(2) * here).reshape(-1, self.codes, *self.grid)
        return found
