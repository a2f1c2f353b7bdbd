"""Optimisers by name, fused if torch supports it, and the schedules of their learning rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from ganlib.errors import ConfigError
from ganlib.training.algorithm import Optimiser

SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda share: 1.0,
    "linear": lambda share: 1.0 - share,
    "cosine": lambda share: 0.5 * (1.0 + math.cos(math.pi * share)),
}


def rate_factor(schedule: str, step: int, steps: int, warm_up: int = 0, decay_from: float = 0.0) -> float:
    """The factor of all learning rates at ``step`` (from 0) of a stage's ``steps``, in (0, 1].

    Rates rise over ``warm_up`` steps; after the share ``decay_from`` of the stage they fall to 0 by ``schedule``.
    """
    rise = min(1.0, (step + 1) / (warm_up + 1))
    share = max(0.0, (step / steps - decay_from) / (1.0 - decay_from))
    return rise * SCHEDULES[schedule](share)


def set_rates(optimisers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Set every learning rate to its first value times ``factor``."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["initial_lr"] * factor


def build_optimiser(spec: Optimiser, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """A torch optimiser of these parameters, with ``initial_lr`` set; raises ConfigError for an unknown name."""
    optimiser = _build(spec, parameters)
    for group in optimiser.param_groups:
        group["initial_lr"] = group["lr"]
    return optimiser


def _build(spec: Optimiser, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    common: dict[str, Any] = {"lr": spec.learning_rate, "weight_decay": spec.weight_decay}
    if spec.name == "adam":
        return torch.optim.Adam(parameters, betas=spec.betas, eps=spec.epsilon, fused=True, **common)
    if spec.name == "adamw":
        return torch.optim.AdamW(parameters, betas=spec.betas, eps=spec.epsilon, fused=True, **common)
    if spec.name == "adamax":
        return torch.optim.Adamax(parameters, betas=spec.betas, eps=spec.epsilon, foreach=True, **common)
    if spec.name == "rmsprop":
        return torch.optim.RMSprop(parameters, alpha=0.99, eps=spec.epsilon, foreach=True, **common)
    if spec.name == "sgd":
        return torch.optim.SGD(parameters, momentum=spec.betas[0], foreach=True, **common)
    raise ConfigError(f"no optimiser is called {spec.name!r}; choose adam, adamw, adamax, rmsprop or sgd")
