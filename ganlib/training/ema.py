"""Exponential moving average of an algorithm's parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Average:
    """Moving average ``a <- decay·a + (1 - decay)·p`` of all parameters; buffers are copied.

    The decay is ``min(decay, (1 + t) / (10 + t))`` after t updates, so that early weights are soon forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.values: dict[str, Tensor] = {n: p.detach().clone() for n, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Update the averages with the current parameters."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        current = [p.detach() for _, p in module.named_parameters()]
        torch._foreach_lerp_(list(self.values.values()), current, 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Set the module's parameters to their averages."""
        for name, parameter in module.named_parameters():
            parameter.copy_(self.values[name])
