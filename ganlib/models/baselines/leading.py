"""Leading directions of examples, which several models work in."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganlib.losses.divergence import wide
from ganlib.training.algorithm import Batch

_LEAST = 1e-6  # of a variance
_EXACT = 1024  # values of an example


class Leading(nn.Module):
    """The ``count`` directions V of most variance of flat examples ``(n, d)``, their mean m and common scale u.

    ``rest`` is the mean square of a value outside them.
    """

    directions: Tensor
    centre: Tensor
    scale: Tensor
    rest: Tensor

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        self.register_buffer("directions", torch.eye(count, dim))
        self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("rest", torch.ones(()))

    def __len__(self) -> int:
        return len(self.directions)

    @torch.no_grad()
    def learn(self, x: Tensor, generator: torch.Generator | None) -> None:
        """Set all from examples."""
        self.centre.copy_(x.mean(0))
        gap, count = x - self.centre, len(self)
        self.directions.copy_(_leading(gap, count, generator))
        held = (gap @ self.directions.T).square().mean(0)
        self.scale.copy_(held.mean().clamp_min(_LEAST).sqrt())
        if left := x.shape[1] - count:
            self.rest.copy_(((gap.square().mean(0).sum() - held.sum()) / left).clamp_min(_LEAST))

    def inside(self, batch: Batch) -> Batch:
        """A batch of examples as a batch of their components, in full precision."""
        with torch.autocast(batch.x.device.type, enabled=False):
            return Batch({"x": self(wide(batch.x).flatten(1))}, batch.generator, batch.ranks)

    def forward(self, x: Tensor) -> Tensor:
        """Components ``(n, count)``, V' (x - m) / u: their mean variance is near 1."""
        return (x - self.centre) @ self.directions.T / self.scale


def _leading(gap: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """The ``count`` directions of most variance of centred rows, ``(count, d)``; approximate for wide rows."""
    if gap.shape[1] <= _EXACT:
        vectors = torch.linalg.eigh(gap.double().T @ gap.double()).eigenvectors
        return vectors[:, -count:].T.flip(0).float()
    devices = [gap.device] if gap.device.type == "cuda" else []
    seed = int(torch.randint(2**31, (), generator=generator, device=gap.device))
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        found = torch.svd_lowrank(gap, min(count + 10, *gap.shape), niter=4)[2][:, :count].T
    return torch.cat([found, found.new_zeros(count - len(found), gap.shape[1])])
