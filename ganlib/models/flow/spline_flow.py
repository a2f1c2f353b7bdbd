"""Rational-quadratic spline flow for vectors: couplings whose value is bent by a monotone spline.

Paper: Durkan, Bekasov, Murray & Papamakarios, Neural Spline Flows, arXiv 1906.04032, NeurIPS 2019.

Idea: a coupling transforms each value of the second half, within [-B, B], by K pieces. A network of the first half
gives their widths w, heights h and the slopes d at the inner knots (x_k, y_k). With s = h_k / w_k and
t = (x - x_k) / w_k in piece k,

    y = y_k + h_k (s t² + d_k t (1 - t)) / (s + (d_k+1 + d_k - 2 s) t (1 - t))                       (equation 4)
    dy/dx = s² (d_k+1 t² + 2 s t (1 - t) + d_k (1 - t)²) / (s + (d_k+1 + d_k - 2 s) t (1 - t))²      (equation 5)

and t is the root of a quadratic equation of y (equations 6 to 8). Outside [-B, B] a value is unchanged, so slopes at
the ends are 1. Between couplings stand ActNorm and a dense linear map.
Shapes: x, z ``(n, d)``, d >= 2; widths, heights ``(n, m, bins)``, slopes ``(n, m, bins + 1)``.
Defaults: 8 bins, 4 couplings of two layers of 64 units (the paper: 8 bins, residual networks and more couplings),
B = 4 for values of deviation 1 (the paper: 3); other options as in ``flow``.
Deviations: only half of the values are bent in a step, the others by the next ones (the paper's coupling also bends the
first half by a spline without condition); the linear map is dense as in ``glow``, where the paper's is an LU product.

Use it for: densities of tables and points with several modes or sharp edges, which affine couplings fit slowly.
Not for: single columns, or a few thousand points in the plane: ``gaussian_mixture`` and ``kernel_density`` fit these as
well, and train in a second.
Symbols:
    w, h, d     RationalSpline.widths, RationalSpline.heights, RationalSpline.slopes
    K, B        SplineFlowConfig.bins, SplineFlowConfig.bound
    t           t in RationalSpline.forward and RationalSpline.inverse
    f           Flow.flow
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn
from torch.nn.functional import softmax, softplus

from ganlib.config import Count, Rate
from ganlib.models.flow.flow import ActNorm, Flow, FlowConfig, Layer, Reverse
from ganlib.models.flow.glow import Rotation
from ganlib.nn.mlp import MLP
from ganlib.registry import register

LEAST = 1e-3  # least width and height, as a share of all, and least slope


@dataclass(frozen=True, kw_only=True)
class SplineFlowConfig(FlowConfig):
    """``bins``: pieces of a spline; ``bound``: beyond it values are unchanged; ``mixing``: between couplings a
    ``linear`` map after ActNorm, or the values in ``reverse`` order, which keeps edges along single columns."""

    flow_steps: Count = 4
    bins: Annotated[int, Ge(2), Le(128)] = 8
    bound: Rate = 4.0
    mixing: Literal["linear", "reverse"] = "linear"


class RationalSpline:
    """Monotone splines of the raw parameters ``(n, m, 3 · bins - 1)``; zeros give the identity."""

    def __init__(self, raw: Tensor, before: Tensor, bound: float) -> None:
        bins, self.bound = before.shape[0], bound
        shares = (softmax(part, -1) for part in raw[..., : 2 * bins].split(bins, -1))
        self.widths, self.heights = (2 * bound * (LEAST + (1 - LEAST * bins) * share) for share in shares)
        inner = LEAST + softplus(raw[..., 2 * bins :] + math.log(math.expm1(1 - LEAST)))
        end = torch.ones_like(inner[..., :1])
        self.slopes = torch.cat([end, inner, end], -1)
        self.lefts, self.floors = self.widths @ before - bound, self.heights @ before - bound

    def _at(self, values: Tensor, edges: Tensor) -> tuple[Tensor, ...]:
        """Left edge, floor, width, height and the two slopes of each value's piece, ``(n, m)``."""
        passed = (values[..., None] >= edges).to(values.dtype)
        later = torch.cat([passed[..., 1:], torch.zeros_like(passed[..., :1])], -1)
        piece = (passed - later).unsqueeze(-1)  # one-hot: exactly one piece, however edges are rounded
        parts = (self.lefts, self.floors, self.widths, self.heights, self.slopes[..., :-1], self.slopes[..., 1:])
        return (torch.stack(parts, -2) @ piece).squeeze(-1).unbind(-1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``(y, log dy/dx)``, each ``(n, m)``."""
        inner = x.clamp(-self.bound, self.bound)
        left, floor, width, height, low, high = self._at(inner, self.lefts)
        t, s = (inner - left) / width, height / width
        both = t * (1 - t)
        below = s + (high + low - 2 * s) * both
        y = floor + height * (s * t.square() + low * both) / below
        slope = s.square() * (high * t.square() + 2 * s * both + low * (1 - t).square())
        within = x.abs() < self.bound
        return torch.where(within, y, x), torch.where(within, slope.log() - 2 * below.log(), 0.0)

    def inverse(self, y: Tensor) -> Tensor:
        """x of ``forward(x)[0] == y``."""
        inner = y.clamp(-self.bound, self.bound)
        left, floor, width, height, low, high = self._at(inner, self.floors)
        s, up = height / width, inner - floor
        bend = up * (high + low - 2 * s)
        a, b, c = height * (s - low) + bend, height * low - bend, -s * up
        t = 2 * c / (-b - (b.square() - 4 * a * c).clamp_min(0).sqrt())
        return torch.where(y.abs() < self.bound, left + t * width, y)


class SplineCoupling(Layer):
    """The second half of the values bent by splines, whose parameters are a network of the first; starts as the
    identity."""

    before: Tensor

    def __init__(self, dim: int, config: SplineFlowConfig) -> None:
        super().__init__()
        self.first, self.bins, self.bound = dim // 2, config.bins, config.bound
        self.net = MLP(self.first, config.hidden, (dim - self.first) * (3 * config.bins - 1))
        nn.init.zeros_(self.net.head.weight)
        nn.init.zeros_(self.net.head.bias)
        self.register_buffer("before", torch.ones(config.bins, config.bins).triu(1), persistent=False)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, RationalSpline]:
        first, second = x[:, : self.first], x[:, self.first :]
        raw = self.net(first).unflatten(1, (second.shape[1], 3 * self.bins - 1))
        return first, second, RationalSpline(raw, self.before, self.bound)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Towards the latent."""
        first, second, spline = self._split(x)
        bent, log_slope = spline.forward(second)
        return torch.cat([first, bent], 1), log_slope.sum(1)

    def inverse(self, y: Tensor) -> Tensor:
        """Back to the data."""
        first, second, spline = self._split(y)
        return torch.cat([first, spline.inverse(second)], 1)


@register(
    "spline_flow",
    config=SplineFlowConfig,
    modalities=("points", "table"),
    paper="Durkan, Bekasov, Murray & Papamakarios, Neural Spline Flows, arXiv 1906.04032, NeurIPS 2019",
)
class SplineFlow(Flow):
    """ActNorm, dense linear map and spline coupling."""

    config: SplineFlowConfig

    def build(self) -> list[Layer]:
        """The layers."""
        dim, generator = self.spec.dim, torch.Generator().manual_seed(1906)
        steps = range(self.config.flow_steps)
        if self.config.mixing == "reverse":
            bent = [layer for _ in steps for layer in (SplineCoupling(dim, self.config), Reverse(dim))]
            return [ActNorm(dim), *bent]
        return [
            layer for _ in steps for layer in (ActNorm(dim), Rotation(dim, generator), SplineCoupling(dim, self.config))
        ]
