"""A translator as a module, one for each direction."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ganlib.nn.layers import bake


class Translation(nn.Module):
    """A copy of a model's ``translate``, or with ``back`` its ``translate_back``, in evaluation mode: examples of one
    domain ``(n, *shape)`` to the other."""

    def __init__(self, model: Any, back: bool = False) -> None:
        super().__init__()
        self.model, self.back = bake(model).eval(), back

    def forward(self, x: Tensor) -> Tensor:
        """Translate."""
        model: Any = self.model
        return model.translate_back(x) if self.back else model.translate(x)
