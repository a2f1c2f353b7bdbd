"""Penalties on a critic's slope, as rows of one table. All are per example, so no layer may couple the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganlib.errors import ConfigError

if TYPE_CHECKING:
    from ganlib.training.algorithm import Batch

Score = Callable[[Tensor], Tensor]


def slopes(score: Score, at: Tensor) -> Tensor:
    """Norm of the critic's gradient at each point of ``(n, *shape)``, ``(n,)``; differentiable."""
    at = at.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(_of_examples(score, at).sum(), at, create_graph=True)
    # The gradient of the norm is infinite at 0.
    return (slope.flatten(1).square().sum(1) + 1e-16).sqrt()


def _of_examples(score: Score, at: Tensor) -> Tensor:
    """One score an example, ``(n,)``: the mean over a patch critic's."""
    return score(at).reshape(len(at), -1).mean(1)


def _between(x: Tensor, generated: Tensor, batch: Batch) -> Tensor:
    mix = batch.rand(*(1 for _ in x.shape[1:]))
    return mix * x + (1 - mix) * generated


def _two_sided(score: Score, x: Tensor, generated: Tensor, batch: Batch) -> Tensor:
    return (slopes(score, _between(x, generated, batch)) - 1).square().mean()


def _one_sided(score: Score, x: Tensor, generated: Tensor, batch: Batch) -> Tensor:
    return (slopes(score, _between(x, generated, batch)) - 1).relu().square().mean()


def _difference_quotient(score: Score, x: Tensor, generated: Tensor, batch: Batch) -> Tensor:
    points, other = _between(x, generated, batch).detach(), batch.permutation()
    # One forward scores both ends of all chords, so that this is cheaper than a slope.
    scores = _of_examples(score, points)
    rise, run = (scores - scores[other]).abs(), (points - points[other]).flatten(1).norm(dim=1)
    return (rise / (run + 1e-6) - 1).square().mean()


def _dragan(score: Score, x: Tensor, generated: Tensor, batch: Batch) -> Tensor:
    reach = batch.rand(*(1 for _ in x.shape[1:]))
    at = x + reach * 0.5 * x.std() * batch.rand(*x.shape[1:])
    return (slopes(score, at) - 1).square().mean()


def _zero_centred(score: Score, x: Tensor, generated: Tensor, batch: Batch) -> Tensor:
    return 0.5 * slopes(score, x).square().mean()


@dataclass(frozen=True)
class Penalty:
    """``value(score, x, generated, batch)``: a scalar without its weight; ``batch`` is the source of noise."""

    name: str
    value: Callable[[Score, Tensor, Tensor, Batch], Tensor]
    source: str

    def __call__(self, score: Score, x: Tensor, generated: Tensor, batch: Batch) -> Tensor:
        """The value in float32, also under autocast, where second derivatives would lose too much precision."""
        with torch.autocast(x.device.type, enabled=False):
            return self.value(score, x.float(), generated.float(), batch)


PENALTIES: dict[str, Penalty] = {
    row.name: row
    for row in (
        Penalty("two_sided", _two_sided, "Gulrajani et al., arXiv 1704.00028, equation 3"),
        Penalty("one_sided", _one_sided, "Gulrajani et al., arXiv 1704.00028, section 4"),
        Penalty(
            "difference_quotient",
            _difference_quotient,
            "slopes of chords between interpolates, whatever their condition; no paper known. It does not aim at slope "
            "1, since a random chord is nearly orthogonal to the gradient: on chords in all directions of d dimensions "
            "the linear critic of least penalty has slope d·Γ(d/2)/(√π·Γ((d+1)/2)), 1.27 for 2 and 22 for 784",
        ),
        Penalty("dragan", _dragan, "Kodali et al., arXiv 1705.07215, algorithm 1 (points around the data)"),
        Penalty("zero_centred", _zero_centred, "Mescheder et al., arXiv 1801.04406, equation 9 (R1)"),
    )
}


def penalty(name: str) -> Penalty:
    """The row of this name; raises ConfigError, listing the names, if there is none."""
    if name not in PENALTIES:
        raise ConfigError(f"no penalty is called {name!r}; choose none, {', '.join(sorted(PENALTIES))}")
    return PENALTIES[name]
