"""Multilayer perceptrons."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ganlib.errors import ConfigError

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh, "elu": nn.ELU, "softplus": nn.Softplus}
NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


def activation(name: str) -> nn.Module:
    """An activation by name; ``leaky_relu`` has slope 0.2. Raises ConfigError on an unknown name."""
    if name == "leaky_relu":
        return nn.LeakyReLU(0.2)
    if name not in ACTIVATIONS:
        raise ConfigError(f"no activation is called {name!r}; choose {', '.join(sorted([*ACTIVATIONS, 'leaky_relu']))}")
    return ACTIVATIONS[name]()


class MLP(nn.Module):
    """``(n, inputs) -> (n, outputs)`` through hidden layers of the given widths; the last layer is linear.

    ``norm`` is none, batch or layer, placed before the activation; ``dropout`` follows it.
    """

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        outputs: int,
        activation_name: str = "relu",
        norm: str = "none",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in hidden:
            layers.append(nn.Linear(inputs, width))
            if norm != "none":
                layers.append(NORMS[norm](width))
            layers.append(activation(activation_name))
            if dropout:
                layers.append(nn.Dropout(dropout))
            inputs = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x``."""
        return self.head(self.body(x))

    def features(self, x: Tensor) -> Tensor:
        """Activations of the last hidden layer, ``(n, hidden[-1])``."""
        return self.body(x)
