"""Optimisers by name, fused where torch can, and how their learning rates change over a stage."""

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
    """What learning rates are multiplied by at ``step`` (from 0) of a stage's ``steps``, in (0, 1].

    They rise over ``warm_up`` steps; after the share ``decay_from`` of the stage they fall to 0 as ``schedule`` says.
    """
    rise = min(1.0, (step + 1) / (warm_up + 1))
    share = max(0.0, (step / steps - decay_from) / (1.0 - decay_from))
    return rise * SCHEDULES[schedule](share)


def set_rates(optimisers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Every learning rate, times ``factor``."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["initial_lr"] * factor


def build_optimiser(spec: Optimiser, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """A torch optimiser for these parameters that knows its first rate; raises ConfigError on an unknown name."""
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
