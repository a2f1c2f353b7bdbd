"""Networks that sample an implicit distribution of codes: a function of the example and of noise, without a density."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ganlib.nn.mlp import MLP

_MOMENT_ROWS, _BASIS_WIDTH = 256, 32


class NoisyEncoder(nn.Module):
    """``(x (n, d), noise (n, noise)) -> (n, outputs)``: an MLP of the example beside the noise."""

    def __init__(self, inputs: int, noise: int, hidden: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.net = MLP(inputs + noise, hidden, outputs)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Sample codes."""
        return self.net(torch.cat([x, noise], 1))


class BasisEncoder(nn.Module):
    """Codes whose first two moments are known: z_k = sum_i v_ik(noise_i) · a_ik(x).

    The functions v have one number of noise each, so that their terms are independent. The moments of v are means over
    a fixed table of noise, and those of z follow in closed form.
    Source: Mescheder et al., Adversarial Variational Bayes, arXiv 1701.04722, supplement.
    """

    table: Tensor

    def __init__(self, inputs: int, noise: int, hidden: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.noise, self.outputs = noise, outputs
        self.weights = MLP(inputs, hidden, noise * outputs)
        self.first, self.offset = nn.Parameter(torch.randn(noise, _BASIS_WIDTH)), nn.Parameter(torch.zeros(noise, 1))
        self.second = nn.Parameter(torch.randn(noise, _BASIS_WIDTH, outputs) / _BASIS_WIDTH**0.5)
        self.shift = nn.Parameter(0.5 * torch.randn(noise, outputs))
        half = torch.randn(_MOMENT_ROWS // 2, noise, generator=torch.Generator().manual_seed(1701))
        self.register_buffer("table", torch.cat([half, -half]))

    def basis(self, noise: Tensor) -> Tensor:
        """The functions v of the noise, ``(n, noise, outputs)``."""
        inner = torch.tanh(noise.unsqueeze(2) * self.first + self.offset)
        return (inner.unsqueeze(2) @ self.second).squeeze(2) + self.shift

    def _mixing(self, x: Tensor) -> Tensor:
        return self.weights(x).view(-1, self.noise, self.outputs)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Sample codes."""
        return (self.basis(noise) * self._mixing(x)).sum(1)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (at least 1e-3) of the codes of examples, each ``(n, outputs)``."""
        basis, mixing = self.basis(self.table), self._mixing(x)
        mean = basis.mean(0)
        variance = (basis - mean).square().mean(0)
        deviation = ((variance * mixing.square()).sum(1) + 1e-6).sqrt()
        return (mean * mixing).sum(1), deviation
