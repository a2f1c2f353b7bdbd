"""A small problem on which a model is trained and measured by the laws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ganlib.data.spec import DataSpec


@dataclass(frozen=True)
class Toy:
    """A small problem and the level that a model must reach on it.

    ``data(seed)`` returns training tensors by name; ``spec`` describes them; ``level(algorithm, seed)`` measures the
    trained model (higher is better) and must reach ``at_least`` for the worst of three seeds; ``baseline(seed)`` is
    the same measure for the trivial answer, which must stay below; ``measure`` says in words what is measured.
    ``config`` and ``trainer`` override the model's options and the TrainerConfig. ``two_of_five`` requires the level of
    two seeds out of five instead: for trainings that settle in one of several states, whichever the model.
    """

    data: Callable[[int], Mapping[str, Any]]
    spec: DataSpec
    level: Callable[[Any, int], float]
    at_least: float
    measure: str
    baseline: Callable[[int], float]
    config: Mapping[str, Any] = field(default_factory=dict)
    trainer: Mapping[str, Any] = field(default_factory=dict)
    two_of_five: bool = False
