"""What a check is, and how checks train and draw."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ganlib.data.spec import DataSpec
from ganlib.registry import create
from ganlib.training import Trainer, TrainerConfig

Figures = tuple[float, float]


@dataclass(frozen=True)
class Check:
    """``run(seed)`` gives the figure and its baseline; ``need`` is a lower bound on the figure, or on the figure less
    its baseline where ``gain``; ``worst`` judges the worst seed instead of the mean. A ``finding`` is to be reported
    whatever it is: a gain, or none."""

    name: str
    model: str
    measure: str
    baseline: str
    need: float
    run: Callable[[int], Figures]
    gain: bool = False
    worst: bool = False
    finding: bool = False

    def value(self, figures: list[Figures]) -> float:
        """What is held against ``need``."""
        values = [f - b if self.gain else f for f, b in figures]
        # Rounded, so that a tie is a tie.
        return round(min(values) if self.worst else statistics.mean(values), 6)


def fit(
    name: str,
    spec: DataSpec,
    data: dict[str, Tensor],
    seed: int,
    steps: int,
    batch: int = 128,
    ema: float = 0.995,
    **options: Any,
) -> Any:
    """A trained model, and its history."""
    torch.manual_seed(seed)
    model = create(name, spec, **options)
    config = TrainerConfig(steps=steps, batch_size=batch, random_state=seed, ema=ema)
    return model, Trainer(config).fit(model, data)


@torch.no_grad()
def draw(model: Any, n: int, seed: int) -> Tensor:
    """Generated examples."""
    sampler = model.sampler()
    return sampler(torch.randn(n, sampler.latent_dim, generator=torch.Generator().manual_seed(seed + 1)))
