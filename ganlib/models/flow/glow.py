"""Glow for vectors: an invertible network with exact likelihood.

Paper: Kingma & Dhariwal, Glow: Generative Flow with Invertible 1x1 Convolutions, arXiv 1807.03039, 2018.

Idea: x is mapped to z = f(x) by invertible steps, each ActNorm -> invertible linear map -> affine coupling, and

    log p(x) = log N(f(x); 0, I) + sum over steps log |det df_i|                              (equation 6)

ActNorm is initialised from the first batch to zero mean and unit variance (section 3.1).
Shapes: x, z ``(n, d)``, d >= 2.
Deviations: fully connected couplings for vectors; the linear map is a dense matrix with its log-determinant by LU
(the paper's option, table 1); coupling scales are bounded by tanh for safety; Adam (the authors use Adamax); noise on
flags and one-hots, and the score, as in ``flow``.

Use it for: exact densities of tables and points whose columns should be mixed freely: its linear maps learn which
values change which, where `realnvp` only reverses their order.

Not for: images: the paper's model is convolutional, this one is for vectors; use `glow_images`. Hundreds of columns:
each step holds a dense matrix; use `realnvp`. Anomalies more likely than usual rows: ``score="typicality"``.

Symbols:
    ActNorm            ActNorm
    linear map         Rotation
    affine coupling    Coupling
    log |det df_i|     second result of Layer.forward
    log p(x)           Flow.log_prob
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganlib.models.flow.flow import ActNorm, Coupling, Flow, FlowConfig, Layer
from ganlib.registry import register


class Rotation(Layer):
    """A dense invertible matrix, orthogonal at first."""

    def __init__(self, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        rotation, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator))
        self.weight = nn.Parameter(rotation.contiguous())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Towards the latent."""
        return x @ self.weight.T, torch.linalg.slogdet(self.weight).logabsdet

    def inverse(self, y: Tensor) -> Tensor:
        """Back to the data."""
        return torch.linalg.solve(self.weight, y.T).T

    def fixed(self) -> Layer:
        """The matrix with its inverse and its log-determinant."""
        return FixedRotation(self.weight.detach())


class FixedRotation(Layer):
    """A trained matrix: neither its determinant nor its inverse has an operator in a sealed graph."""

    weight: Tensor
    undo: Tensor
    log_det: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        exact = weight.double()
        for name, value in (
            ("weight", weight.clone()),
            ("undo", torch.linalg.inv(exact).to(weight.dtype)),
            ("log_det", torch.linalg.slogdet(exact).logabsdet.to(weight.dtype)),
        ):
            self.register_buffer(name, value)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Towards the latent."""
        return x @ self.weight.T, self.log_det

    def inverse(self, y: Tensor) -> Tensor:
        """Back to the data."""
        return y @ self.undo.T


@register(
    "glow",
    config=FlowConfig,
    modalities=("points", "table"),
    paper="Kingma & Dhariwal, Glow: Generative Flow with Invertible 1x1 Convolutions, arXiv 1807.03039, 2018",
)
class Glow(Flow):
    """ActNorm, dense linear map and affine coupling."""

    def build(self) -> list[Layer]:
        """The layers."""
        dim, hidden, generator = self.spec.dim, self.config.hidden, torch.Generator().manual_seed(1807)
        steps = range(self.config.flow_steps)
        return [layer for _ in steps for layer in (ActNorm(dim), Rotation(dim, generator), Coupling(dim, hidden))]
