"""Networks by name: a ``trunk`` (data to features) and a ``generator`` (latents to data) for any shape of data.

A critic, classifier or encoder is a trunk with a linear head; an auto-encoder is a trunk followed by a generator. A new
architecture, one row of ``ARCHITECTURES``, thus works with every model. Both networks take an optional condition
``(n, k)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.nn.layers import CONV, MinibatchDiscrimination, SelfAttention, norm_layer, parametrise
from ganlib.nn.resize import beside
from ganlib.nn.table import activate

TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}
LEAST_SIDE = 4
MOST_ATTENDED = 32 * 32  # positions: memory grows with their square


@dataclass(frozen=True)
class NetOptions:
    """The options of an architecture.

    - ``hidden``: widths of an MLP; ``width``: channels of the first convolution.
    - ``norm``: one of ``layers.NORMS``; ``reference``: rows of the reference batch of virtual batch norm.
    - ``noise``: standard deviations of Gaussian noise before each layer or block in training; the last one is repeated.
    - ``dropout``: after each layer (not in residual blocks).
    """

    hidden: tuple[int, ...] = (128, 128)
    width: int = 32
    norm: str = "none"
    activation: str = "leaky_relu"
    dropout: float = 0.0
    noise: tuple[float, ...] = ()
    reference: int = 64

    def noises(self, layers: int) -> tuple[float, ...]:
        """The standard deviation before each layer."""
        return (*self.noise, *(self.noise[-1:] or (0.0,)) * layers)[:layers]


class Trunk(nn.Module):
    """Data ``(n, *shape)`` and a condition to features ``(n, width)``."""

    width: int


class Noise(nn.Module):
    """Adds Gaussian noise of the given standard deviation in training."""

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, x: Tensor) -> Tensor:
        """Add noise."""
        return x + self.deviation * torch.randn_like(x) if self.training and self.deviation else x


def _activation(name: str) -> nn.Module:
    from ganlib.nn.mlp import activation

    return activation(name)


def _dense(inputs: int, options: NetOptions) -> nn.Sequential:
    """Hidden layers of an MLP."""
    layers: list[nn.Module] = []
    for deviation, width in zip(options.noises(len(options.hidden)), options.hidden, strict=True):
        if deviation:
            layers.append(Noise(deviation))
        layers.append(nn.Linear(inputs, width))
        if options.norm != "none":
            layers.append(norm_layer(options.norm, width, 0, options.reference))
        layers.append(_activation(options.activation))
        if options.dropout:
            layers.append(nn.Dropout(options.dropout))
        inputs = width
    return nn.Sequential(*layers)


class MLPTrunk(Trunk):
    """Fully connected layers over the flattened example and its condition."""

    def __init__(self, shape: tuple[int, ...], condition: int, options: NetOptions) -> None:
        super().__init__()
        self.body = _dense(math.prod(shape) + condition, options)
        self.width = options.hidden[-1] if options.hidden else math.prod(shape) + condition

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Features."""
        flat = x.flatten(1)
        return self.body(flat if condition is None else torch.cat([flat, condition.flatten(1)], 1))


class MLPGenerator(nn.Module):
    """Fully connected layers from latents and condition to an example; the output is linear."""

    def __init__(self, inputs: int, shape: tuple[int, ...], condition: int, options: NetOptions) -> None:
        super().__init__()
        self.shape = shape
        self.body = _dense(inputs + condition, options)
        self.head = nn.Linear(options.hidden[-1] if options.hidden else inputs + condition, math.prod(shape))

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Generate."""
        out = self.head(self.body(z if condition is None else torch.cat([z, condition], 1)))
        return out.unflatten(1, self.shape)


def pyramid(side: Sequence[int]) -> list[tuple[int, ...]]:
    """Sides at each level, halved (upwards) while the shorter one stays at least 4; at least twice."""
    levels = [tuple(side)]
    while min(levels[-1]) >= 2 * LEAST_SIDE - 1 or len(levels) < 3:
        levels.append(tuple(-(-s // 2) for s in levels[-1]))
    return levels


def _attended(levels: Sequence[tuple[int, ...]]) -> list[int]:
    """The two largest levels below the first that are small enough for attention."""
    return [level for level in range(1, len(levels)) if math.prod(levels[level]) <= MOST_ATTENDED][:2]


def check_sides(shape: tuple[int, ...]) -> None:
    """Raise ConfigError unless convolutions can halve the sides of ``(channels, *sides)`` twice."""
    if len(shape) not in (2, 3) or min(shape[1:]) < LEAST_SIDE:
        raise ConfigError(
            f"convolutions need examples of (channels, length) or (channels, height, width), sides from {LEAST_SIDE}; "
            f"these are {shape}: use networks='mlp'"
        )


class ResidualBlock(nn.Module):
    """Pre-activation block that halves (``down``) or doubles every side; the shortcut pools or repeats."""

    def __init__(self, inputs: int, outputs: int, dims: int, down: bool, options: NetOptions) -> None:
        super().__init__()
        conv = cast("Any", CONV[dims])
        self.down, self.dims = down, dims
        self.norms = nn.ModuleList(norm_layer(options.norm, c, dims, options.reference) for c in (inputs, outputs))
        self.first, self.second = conv(inputs, outputs, 3, padding=1), conv(outputs, outputs, 3, padding=1)
        self.short = conv(inputs, outputs, 1)

    def _resize(self, x: Tensor) -> Tensor:
        if self.down:
            pool = nn.functional.avg_pool2d if self.dims == 2 else nn.functional.avg_pool1d
            return pool(x, 2, ceil_mode=True)
        for axis in range(2, 2 + self.dims):
            x = x.repeat_interleave(2, axis)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Transform."""
        h = self.norms[0](x).relu()
        h = self.first(h if self.down else self._resize(h))
        h = self.second(self.norms[1](h).relu())
        return (self._resize(h) if self.down else h) + self.short(self._resize(x))


class ConvTrunk(Trunk):
    """Halving layers, channels doubling up to eight times ``width``; a condition enters as constant planes."""

    def __init__(
        self, shape: tuple[int, ...], condition: int, options: NetOptions, residual: bool, attention: bool
    ) -> None:
        super().__init__()
        check_sides(shape)
        dims, levels = len(shape) - 1, pyramid(shape[1:])
        conv = cast("Any", CONV[dims])
        layers: list[nn.Module] = []
        inputs, attended = shape[0] + condition, _attended(levels) if attention else []
        for level, deviation in zip(range(len(levels) - 1), options.noises(len(levels) - 1), strict=True):
            outputs = options.width * min(8, 2**level)
            if deviation:
                layers.append(Noise(deviation))
            if residual:
                layers.append(ResidualBlock(inputs, outputs, dims, True, options))
            else:
                layers.append(
                    conv(inputs, outputs, 4, 2, 1) if _even(levels[level]) else conv(inputs, outputs, 3, 2, 1)
                )
                if level:  # the paper leaves the first layer without
                    layers.append(norm_layer(options.norm, outputs, dims, options.reference))
                layers.append(_activation(options.activation))
            if options.dropout:
                layers.append(nn.Dropout(options.dropout))
            if level + 1 in attended:
                layers.append(SelfAttention(outputs, dims))
            inputs = outputs
        if residual:
            layers.append(nn.ReLU())
        self.body = nn.Sequential(*layers)
        self.width = inputs * math.prod(levels[-1])

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Features."""
        return self.body(beside(x, condition)).flatten(1)


def _even(sides: tuple[int, ...]) -> bool:
    return all(side % 2 == 0 for side in sides)


class ConvGenerator(nn.Module):
    """The mirror image of the trunk: projects latents to the smallest level, then doubles; sides are cut to fit."""

    def __init__(
        self,
        inputs: int,
        shape: tuple[int, ...],
        condition: int,
        options: NetOptions,
        residual: bool,
        attention: bool,
    ) -> None:
        super().__init__()
        check_sides(shape)
        dims, self.levels = len(shape) - 1, pyramid(shape[1:])
        depth = len(self.levels) - 1
        channels = [options.width * min(8, 2**level) for level in range(depth)][::-1]
        self.base = (channels[0], *self.levels[-1])
        self.project = nn.Linear(inputs + condition, math.prod(self.base))
        self.enter = nn.Sequential(*self._entry(channels[0], dims, residual, options))
        stages, attended = [], _attended(self.levels) if attention else []
        for index, (before, after) in enumerate(zip(channels, [*channels[1:], shape[0]], strict=True)):
            last = index == depth - 1
            if residual:
                stages.append(self._residual(before, after, dims, last, options))
            else:
                stages.append(self._plain(before, after, dims, last, options))
            if depth - 1 - index in attended:
                stages[-1].append(SelfAttention(after, dims))
        self.stages = nn.ModuleList(stages)

    @staticmethod
    def _entry(channels: int, dims: int, residual: bool, options: NetOptions) -> list[nn.Module]:
        return [] if residual else [norm_layer(options.norm, channels, dims, options.reference), nn.ReLU()]

    @staticmethod
    def _plain(before: int, after: int, dims: int, last: bool, options: NetOptions) -> nn.Sequential:
        transposed = cast("Any", TRANSPOSED[dims])
        layers: list[nn.Module] = [transposed(before, after, 4, 2, 1)]
        if not last:
            layers += [norm_layer(options.norm, after, dims, options.reference), nn.ReLU()]
        return nn.Sequential(*layers)

    @staticmethod
    def _residual(before: int, after: int, dims: int, last: bool, options: NetOptions) -> nn.Sequential:
        if not last:
            return nn.Sequential(ResidualBlock(before, after, dims, False, options))
        norm = norm_layer(options.norm, before, dims, options.reference)
        output = cast("Any", CONV[dims])(before, after, 3, padding=1)
        return nn.Sequential(ResidualBlock(before, before, dims, False, options), norm, nn.ReLU(), output)

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Generate; the output is linear."""
        x = self.project(z if condition is None else torch.cat([z, condition], 1))
        x = self.enter(x.unflatten(1, self.base))
        for stage, sides in zip(self.stages, self.levels[-2::-1], strict=True):
            x = stage(x)
            x = x[..., : sides[-1]] if len(sides) == 1 else x[..., : sides[0], : sides[1]]
        return x


@dataclass(frozen=True)
class Architecture:
    """``trunk(shape, condition, options)`` and ``generator(inputs, shape, condition, options)``."""

    name: str
    trunk: Callable[[tuple[int, ...], int, NetOptions], Trunk]
    generator: Callable[[int, tuple[int, ...], int, NetOptions], nn.Module]
    source: str


def _convolutional(name: str, source: str, residual: bool = False, attention: bool = False) -> Architecture:
    return Architecture(
        name,
        lambda shape, condition, options: ConvTrunk(shape, condition, options, residual, attention),
        lambda inputs, shape, condition, options: ConvGenerator(inputs, shape, condition, options, residual, attention),
        source,
    )


ARCHITECTURES: dict[str, Architecture] = {
    row.name: row
    for row in (
        Architecture("mlp", MLPTrunk, MLPGenerator, "fully connected layers; any shape"),
        _convolutional("dcgan", "Radford et al., arXiv 1511.06434, figure 1: strided convolutions; images and series"),
        _convolutional("resnet", "Gulrajani et al., arXiv 1704.00028, appendix: pre-activation residual blocks", True),
        _convolutional("attention", "Zhang et al., arXiv 1805.08318: dcgan with self-attention", attention=True),
        _convolutional("resnet_attention", "Zhang et al., arXiv 1805.08318: resnet with self-attention", True, True),
    )
}
_SHIPPED = frozenset(ARCHITECTURES)


def add_architecture(row: Architecture) -> Architecture:
    """Add or replace an architecture; raises ConfigError for the name of a built-in one."""
    if row.name in (*_SHIPPED, "auto"):
        raise ConfigError(f"{row.name!r} is the name of a built-in architecture: choose another name")
    ARCHITECTURES[row.name] = row
    return row


def architecture(name: str, spec: DataSpec) -> Architecture:
    """The architecture of this name; ``auto`` is dcgan for images and series, otherwise mlp. Raises ConfigError."""
    if name == "auto":
        name = "dcgan" if len(spec.shape) > 1 and min(spec.shape[1:]) >= LEAST_SIDE else "mlp"
    if name not in ARCHITECTURES:
        raise ConfigError(f"no networks are called {name!r}; choose auto, {', '.join(sorted(ARCHITECTURES))}")
    return ARCHITECTURES[name]


class Headed(nn.Module):
    """A trunk with a linear head: ``(n, *shape) -> (n, outputs)``.

    ``kernels`` > 0 puts minibatch discrimination between them. ``projection`` > 0 is the width of a condition whose
    embedding's product with the features is added to the outputs (Miyato & Koyama, arXiv 1802.05637, equation 3).
    """

    def __init__(self, trunk: Trunk, outputs: int, kernels: int = 0, projection: int = 0) -> None:
        super().__init__()
        self.trunk = trunk
        self.projection = nn.Linear(projection, trunk.width, bias=False) if projection else None
        self.discrimination = MinibatchDiscrimination(trunk.width, kernels) if kernels else None
        self.head: nn.Module = nn.Linear(trunk.width + kernels, outputs)

    def features(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The trunk's features ``(n, width)``."""
        return self.trunk(x, condition)

    def from_features(self, features: Tensor) -> Tensor:
        """Outputs from the trunk's features."""
        return self.head(features if self.discrimination is None else self.discrimination(features))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Outputs."""
        features = self.features(x, condition)
        outputs = self.from_features(features)
        if self.projection is None or condition is None:
            return outputs
        projected = (self.projection(condition) * features).sum(1, keepdim=True)
        return outputs + projected / self.trunk.width**0.5


class Energy(nn.Module):
    """An auto-encoder as a critic: the score ``(n, 1)`` is minus the mean of |x - rebuilt|^power."""

    def __init__(self, encoder: Headed, decoder: nn.Module, spec: DataSpec, power: float) -> None:
        super().__init__()
        self.encoder, self.decoder, self.spec, self.power = encoder, decoder, spec, power

    def features(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The code."""
        return self.encoder(x, condition)

    def rebuild(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Reconstruction."""
        return activate_output(self.spec, self.decoder(self.features(x, condition), condition))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The score."""
        gap = (x - self.rebuild(x, condition)).flatten(1).abs()
        return -(gap if self.power == 1 else gap.pow(self.power)).mean(1, keepdim=True)


def activate_output(spec: DataSpec, output: Tensor) -> Tensor:
    """Map a generator's linear output to the data's range: tanh for images, the links of the blocks for table rows."""
    if spec.kind == "image":
        return torch.tanh(output)
    return activate(spec.blocks, output) if spec.blocks else output


def finish(module: nn.Module, parametrisation: str) -> nn.Module:
    """Apply the weight parametrisation to a finished network."""
    if parametrisation != "none":
        parametrise(module, parametrisation)
    return module


def dcgan_weights(module: nn.Module) -> None:
    """N(0, 0.02) for convolutions, N(1, 0.02) for batch norm (Radford et al., arXiv 1511.06434), in place."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(layer.weight, 1.0, 0.02)
