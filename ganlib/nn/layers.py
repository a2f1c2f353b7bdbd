"""Layers from the literature: self-attention, minibatch discrimination, virtual batch norm, weight norms."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from ganlib.errors import ConfigError

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)
CONV = {1: nn.Conv1d, 2: nn.Conv2d}
NORMS = ("none", "batch", "layer", "instance", "virtual")


class SelfAttention(nn.Module):
    """y = x + gamma · v(attention(f(x), g(x)) h(x)) over positions of ``(n, c, *sides)``; gamma starts at 0.

    Queries and keys have c/8 channels, values c/2. Source: Zhang et al., arXiv 1805.08318, equations 1 to 3 (c/2 as in
    the authors' code, without its pooling of keys). Memory grows with the square of the number of positions.
    """

    def __init__(self, channels: int, dims: int = 2) -> None:
        super().__init__()
        conv, narrow, half = cast("Any", CONV[dims]), max(1, channels // 8), max(1, channels // 2)
        self.query, self.key = conv(channels, narrow, 1), conv(channels, narrow, 1)
        self.value, self.output = conv(channels, half, 1), conv(half, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Attend."""
        query, key, value = (net(x).flatten(2) for net in (self.query, self.key, self.value))
        attention = torch.softmax(query.transpose(1, 2) @ key, dim=2)
        mixed = value @ attention.transpose(1, 2)
        return x + self.gamma * self.output(mixed.unflatten(2, x.shape[2:]))


class MinibatchDiscrimination(nn.Module):
    """Appends the closeness of the other examples in the batch to the features: ``(n, f) -> (n, f + kernels)``.

    Source: Salimans et al., arXiv 1606.03498, section 3.2. It couples the examples of a batch.
    """

    def __init__(self, features: int, kernels: int, dimensions: int = 8) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features, kernels, dimensions) * 0.1)

    def forward(self, features: Tensor) -> Tensor:
        """Append closeness."""
        m = torch.einsum("nf,fkd->nkd", features, self.weight)
        distance = (m.unsqueeze(0) - m.unsqueeze(1)).abs().sum(3)
        return torch.cat([features, torch.exp(-distance).sum(1) - 1], 1)


class VirtualNorm(nn.Module):
    """Normalises by the statistics of a fixed reference batch and the example itself.

    The reference occupies the first ``reference`` rows of every forward (``WithReference`` puts it there), which are
    normalised by their own statistics. Source: Salimans et al., arXiv 1606.03498, section 3.4.
    """

    def __init__(self, channels: int, reference: int) -> None:
        super().__init__()
        self.reference = reference
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, in full precision: the variance is a difference of large numbers."""
        given, x = x.dtype, x if x.dtype == torch.float64 else x.float()
        over = tuple(range(2, x.dim()))
        first, square = x, x.square()
        if over:
            first, square = first.mean(over), square.mean(over)
        r = self.reference
        mean, second = first[:r].mean(0, keepdim=True), square[:r].mean(0, keepdim=True)
        share = 1 / (r + 1)
        means = torch.cat([mean.expand(r, -1), (1 - share) * mean + share * first[r:]])
        seconds = torch.cat([second.expand(r, -1), (1 - share) * second + share * square[r:]])
        deviation = (seconds - means.square()).clamp(min=0).add(1e-5).sqrt()
        shape = (len(x), -1, *(1 for _ in over))
        scaled = (x - means.view(shape)) / deviation.view(shape)
        per_channel = (1, -1, *(1 for _ in over))
        return (scaled * self.weight.view(per_channel) + self.bias.view(per_channel)).to(given)


class WithReference(nn.Module):
    """A network with ``VirtualNorm`` layers and its reference batch of inputs, set once by ``remember``."""

    inputs: Tensor
    conditions: Tensor

    def __init__(self, net: nn.Module, inputs: int, condition: int, rows: int) -> None:
        super().__init__()
        self.net, self.rows = net, rows
        self.register_buffer("inputs", torch.zeros(rows, inputs))
        self.register_buffer("conditions", torch.zeros(rows, condition))

    def remember(self, inputs: Tensor, condition: Tensor | None) -> None:
        """Take the reference from a batch, repeating it if it is too small."""
        index = torch.arange(self.rows, device=inputs.device) % len(inputs)
        self.inputs.copy_(inputs[index])
        if condition is not None:
            self.conditions.copy_(condition[index])

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Run with the reference prepended, and remove its outputs."""
        joined = None if condition is None else torch.cat([self.conditions, condition])
        return self.net(torch.cat([self.inputs, z]), joined)[self.rows :]


def norm_layer(name: str, channels: int, dims: int, reference: int = 64) -> nn.Module:
    """A normalisation of ``(n, channels, ...)`` with ``dims`` sides, by name; raises ConfigError on an unknown one."""
    if name == "batch":
        return {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d}[dims](channels)
    if name == "layer":
        return nn.GroupNorm(1, channels) if dims else nn.LayerNorm(channels)
    if name == "instance" and dims:
        return nn.GroupNorm(channels, channels)
    if name == "virtual":
        return VirtualNorm(channels, reference)
    if name == "none":
        return nn.Identity()
    raise ConfigError(f"no normalisation is called {name!r} here; choose {', '.join(NORMS)} (instance: images, series)")


def has_batch_norm(module: nn.Module) -> bool:
    """Whether any layer normalises by the batch's statistics."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules())


class FixedNorm(nn.Module):
    """A weight ``s · v / ||v||`` per output unit whose scale s is set, not learned."""

    scale: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(len(weight), *(1,) * (weight.ndim - 1)))

    def forward(self, v: Tensor) -> Tensor:
        """The weight."""
        return self.scale * v / v.flatten(1).norm(dim=1).view_as(self.scale)


@torch.no_grad()
def standardise_outputs(module: nn.Module, *inputs: Tensor) -> None:
    """Set scales and biases of ``fixed`` layers so that their outputs on these inputs have mean 0 and variance 1.

    Source: Salimans & Kingma, Weight Normalization, arXiv 1602.07868, section 3.
    """

    def standardise(layer: Any, _: Any, output: Tensor) -> Tensor:
        axes = tuple(axis for axis in range(output.ndim) if axis != 1)
        mean, deviation = output.mean(axes), output.std(axes).clamp(min=1e-6)
        layer.parametrizations.weight[0].scale /= deviation.view_as(layer.parametrizations.weight[0].scale)
        layer.bias.copy_((layer.bias - mean) / deviation)
        shape = (1, -1, *(1,) * (output.ndim - 2))
        return (output - mean.view(shape)) / deviation.view(shape)

    layers: list[Any] = [layer for layer in module.modules() if parametrize.is_parametrized(layer, "weight")]
    fixed = [layer for layer in layers if isinstance(layer.parametrizations.weight[0], FixedNorm)]
    handles = [layer.register_forward_hook(standardise) for layer in fixed]
    module(*inputs)
    for handle in handles:
        handle.remove()


def parametrise(module: nn.Module, how: str) -> None:
    """Apply ``spectral``, ``weight`` or ``fixed`` norm to every linear and convolutional layer, in place.

    Spectral norm (arXiv 1802.05957, algorithm 1) makes one power iteration per forward pass. It starts with 100,
    because random weights have no dominant direction and one iteration per pass would lag behind by 3%.
    """
    for layer in list(module.modules()):
        if isinstance(layer, WEIGHTED):
            if how == "spectral":
                spectral_norm(layer, dim=1 if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d) else 0)
                with torch.no_grad():
                    for _ in range(100):
                        _ = layer.weight
            elif how == "weight":
                weight_norm(layer)
            else:
                nn.init.normal_(layer.weight, 0.0, 0.1)
                parametrize.register_parametrization(layer, "weight", FixedNorm(layer.weight))


def bake(module: nn.Module) -> nn.Module:
    """A copy of the module with parametrised weights replaced by their values; for export."""
    module = copy.deepcopy(module)
    for layer in list(module.modules()):
        if parametrize.is_parametrized(layer, "weight"):
            # A copied layer shares its class with the original, and removing a parametrisation changes the class.
            shared = type(layer)
            layer.__class__ = type(shared.__name__, shared.__bases__, dict(vars(shared)))
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return module
