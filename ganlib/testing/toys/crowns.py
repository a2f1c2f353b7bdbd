"""Height maps of a prepared surface, an opposing one, and a crown between them that touches it at a required gap."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import interpolate

REQUIRED = 0.1  # the least gap of every crown, reached where it would otherwise be higher
_CUSPS, _RADIUS, _HEIGHT, _SEED = 4, 0.5, 0.6, 10_000


def crowns(seed: int, part: str = "train", rows: int = 800, side: int = 16) -> dict[str, Tensor]:
    """``x (n, 3, side, side)``: prepared surface, opposing surface and the gap between them; ``x_b``: the crown.

    A crown's four cusps are turned by an angle that x does not show, so that many crowns fit each x, with nearly one
    distribution of gaps. Heights are in [-1, 1].
    """
    g = torch.Generator().manual_seed(seed + (0 if part == "train" else _SEED))
    line = torch.linspace(-1, 1, side)
    down, across = line.view(1, 1, side, 1), line.view(1, 1, 1, side)

    def rough(size: float) -> Tensor:
        return interpolate(size * torch.randn(rows, 1, 4, 4, generator=g), (side, side), mode="bilinear")

    prepared = -0.5 + rough(0.1)
    opposing = 0.35 + rough(0.15)
    crown = prepared + 0.5 * (1 - (down**2 + across**2)).clamp(min=0)
    angle = torch.rand(rows, 1, 1, 1, generator=g) * torch.pi
    for cusp in range(_CUSPS):
        turn = angle + 2 * torch.pi * cusp / _CUSPS
        squared = (down - _RADIUS * turn.sin()) ** 2 + (across - _RADIUS * turn.cos()) ** 2
        crown = crown + _HEIGHT * torch.exp(-squared / 0.04)
    crown = torch.minimum(crown, opposing - REQUIRED).clamp(-1, 1)
    return {"x": torch.cat([prepared, opposing, opposing - prepared], 1).clamp(-1, 1), "x_b": crown}


def gap_error(x: Tensor, crown: Tensor, true: Tensor) -> Tensor:
    """Earth mover's distance between the gaps of two crowns, exactly, from sorted values: ``(n,)``."""
    first, second = ((x[:, 1:2] - one).flatten(1).sort(1).values for one in (crown, true))
    return (first - second).abs().mean(1)


@torch.no_grad()
def gaps_kept(translate: Callable[[Tensor], Tensor], seed: int) -> float:
    """1 less the distance of designed crowns' gaps from the true ones, over that of the mean crown's gaps."""
    held, mean = crowns(seed, "test", 200), crowns(seed)["x_b"].mean(0, keepdim=True)
    made = translate(held["x"])
    plain = gap_error(held["x"], mean.expand_as(held["x_b"]), held["x_b"])
    return 1 - float(gap_error(held["x"], made, held["x_b"]).mean() / plain.mean())
