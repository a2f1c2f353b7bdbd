"""A model's log-density as a module."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ganlib.nn.layers import bake


class LogDensity(nn.Module):
    """A copy of a model's ``log_prob``, in evaluation mode: examples ``(n, *shape)`` to nats ``(n,)``."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = bake(model).eval()

    def forward(self, x: Tensor) -> Tensor:
        """Log-densities of examples."""
        model: Any = self.model
        return model.log_prob(x)


def log_density(model: Any) -> nn.Module:
    """The log-density of a trained model as a module on the CPU: its own ``density()`` if it defines one."""
    own = getattr(model, "density", None)
    return (LogDensity(model) if own is None else own()).cpu().eval()
