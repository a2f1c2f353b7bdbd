"""Networks: plain modules that know nothing of losses or training."""

from ganlib.nn.mlp import MLP

__all__ = ["MLP"]
