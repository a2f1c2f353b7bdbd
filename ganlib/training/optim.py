"""Optimisers by name, fused where torch can."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ganlib.errors import ConfigError
from ganlib.training.algorithm import Optimiser


def build_optimiser(spec: Optimiser, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """A torch optimiser for these parameters; raises ConfigError on an unknown name."""
    common: dict[str, Any] = {"lr": spec.learning_rate, "weight_decay": spec.weight_decay}
    if spec.name == "adam":
        return torch.optim.Adam(parameters, betas=spec.betas, fused=True, **common)
    if spec.name == "adamw":
        return torch.optim.AdamW(parameters, betas=spec.betas, fused=True, **common)
    if spec.name == "adamax":
        return torch.optim.Adamax(parameters, betas=spec.betas, foreach=True, **common)
    if spec.name == "rmsprop":
        return torch.optim.RMSprop(parameters, alpha=0.99, foreach=True, **common)
    if spec.name == "sgd":
        return torch.optim.SGD(parameters, momentum=spec.betas[0], foreach=True, **common)
    raise ConfigError(f"no optimiser is called {spec.name!r}; choose adam, adamw, adamax, rmsprop or sgd")
