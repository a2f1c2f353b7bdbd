"""Invertible layers of images: mixes of channels, couplings by convolutions, and scales.

Paper: Kingma & Dhariwal, Glow: Generative Flow with Invertible 1x1 Convolutions, arXiv 1807.03039, 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from ganlib.models.flow.flow import ActNorm, Coupling, Layer


class Mix(Layer):
    """An invertible matrix over the last axis, as P L (U + diag(s)); a rotation at first."""

    order: Tensor
    sign: Tensor

    def __init__(self, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        rotation, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator))
        order, lower, upper = torch.linalg.lu(rotation)
        size = upper.diagonal()
        self.register_buffer("order", order.contiguous())
        self.register_buffer("sign", size.sign())
        self.lower, self.upper = nn.Parameter(lower.tril(-1).contiguous()), nn.Parameter(upper.triu(1).contiguous())
        self.log_size = nn.Parameter(size.abs().log())

    def weight(self) -> Tensor:
        """W ``(dim, dim)``."""
        ones = torch.ones_like(self.sign).diag()
        diagonal = (self.sign * self.log_size.exp()).diag()
        return self.order @ (self.lower.tril(-1) + ones) @ (self.upper.triu(1) + diagonal)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Towards the latent."""
        return x @ self.weight().T, self.log_size.sum()

    def inverse(self, y: Tensor) -> Tensor:
        """Back to the data."""
        return y @ torch.linalg.inv(self.weight().double()).to(y.dtype).T


class EveryPixel(Layer):
    """ActNorm and a mix of the channels of every pixel of ``(n, c, h, w)``."""

    def __init__(self, channels: int, draw: torch.Generator) -> None:
        super().__init__()
        self.norm, self.mix = ActNorm(channels), Mix(channels, draw)

    def initialise(self, x: Tensor) -> None:
        """From the channels of all pixels."""
        self.norm.initialise(x.movedim(1, 3).flatten(0, 2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Towards the latent."""
        y, scaled = self.norm(x.movedim(1, 3))
        y, mixed = self.mix(y)
        return y.movedim(3, 1), (scaled + mixed) * (x.shape[2] * x.shape[3])

    def inverse(self, y: Tensor) -> Tensor:
        """Back to the data."""
        return self.norm.inverse(self.mix.inverse(y.movedim(1, 3))).movedim(3, 1)

    def fixed(self) -> Layer:
        """One convolution."""
        return FixedPixel(self)


class FixedPixel(Layer):
    """A trained ``EveryPixel`` as one 1x1 convolution, with its inverse and its log-determinant a pixel."""

    weight: Tensor
    bias: Tensor
    undo: Tensor
    log_det: Tensor

    def __init__(self, layer: EveryPixel) -> None:
        super().__init__()
        norm, exact = layer.norm, layer.mix.weight().detach().double()
        scale, shift = norm.log_scale.detach().double().exp(), norm.shift.detach().double()
        weight = exact * scale
        log_det = (layer.mix.log_size.sum() + norm.log_scale.sum()).detach()
        values = {"weight": weight, "bias": weight @ shift, "undo": torch.linalg.inv(weight), "log_det": log_det}
        for name, value in values.items():
            self.register_buffer(name, value.to(norm.shift.dtype))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Towards the latent."""
        return conv2d(x, self.weight[:, :, None, None], self.bias), self.log_det * (x.shape[2] * x.shape[3])

    def inverse(self, y: Tensor) -> Tensor:
        """Back to the data."""
        return conv2d(y - self.bias[:, None, None], self.undo[:, :, None, None])


class ConvNet(nn.Module):
    """Convolutions 3x3, 1x1 and 3x3; the last one is ``head``."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(inputs, width, 3, 1, 1), nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU())
        self.head = nn.Conv2d(width, outputs, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        return self.head(self.body(x))


class ConvCoupling(Coupling):
    """Half of the channels shifted and scaled by convolutions of the other half."""

    def network(self, inputs: int, hidden: tuple[int, ...], outputs: int) -> nn.Module:
        """Convolutions."""
        return ConvNet(inputs, hidden[0], outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Towards the latent."""
        y, log_det = super().forward(x)
        return y, log_det.flatten(1).sum(1)


def squeeze(x: Tensor) -> Tensor:
    """Each 2 x 2 block of pixels as channels: ``(n, c, h, w)`` to ``(n, 4 c, h / 2, w / 2)``."""
    height, width = x.shape[2] // 2, x.shape[3] // 2
    return x.unflatten(3, (width, 2)).unflatten(2, (height, 2)).permute(0, 1, 3, 5, 2, 4).flatten(1, 3)


def unsqueeze(x: Tensor) -> Tensor:
    """The inverse of ``squeeze``."""
    return x.unflatten(1, (x.shape[1] // 4, 2, 2)).permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)


class Scale(Layer):
    """One scale and those below it: ``(n, c, h, w)`` to ``(n, c · h · w)``."""

    def __init__(self, shape: tuple[int, ...], scales: int, steps: int, width: int, draw: torch.Generator) -> None:
        super().__init__()
        channels, *sides = shape
        inner, self.kept = (4 * channels, *(side // 2 for side in sides)), 2 * channels
        layers: list[Layer] = []
        for _ in range(steps):
            layers += [EveryPixel(inner[0], draw), ConvCoupling(inner[0], (width,))]
        if scales > 1:
            layers.append(ConvCoupling(inner[0], (width,)))
        self.steps, self.inner = nn.ModuleList(layers), inner
        self.rest = Scale((self.kept, *inner[1:]), scales - 1, steps, width, draw) if scales > 1 else None

    def initialise(self, x: Tensor) -> None:
        """Layer by layer, from what each receives."""
        x = squeeze(x)
        for step in cast("Sequence[Layer]", self.steps):
            step.initialise(x)
            x, _ = step(x)
        if self.rest is not None:
            self.rest.initialise(x[:, : self.kept])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Towards the latent."""
        x = squeeze(x)
        total = torch.zeros_like(x[:, 0, 0, 0])
        for step in self.steps:
            x, log_det = step(x)
            total = total + log_det
        if self.rest is None:
            return x.flatten(1), total
        z, log_det = self.rest(x[:, : self.kept])
        return torch.cat([z, x[:, self.kept :].flatten(1)], 1), total + log_det

    def inverse(self, y: Tensor) -> Tensor:
        """Back to the data."""
        if self.rest is None:
            x = y.unflatten(1, self.inner)
        else:
            cut = y.shape[1] // 2
            left = y[:, cut:].unflatten(1, (self.kept, *self.inner[1:]))
            x = torch.cat([self.rest.inverse(y[:, :cut]), left], 1)
        for step in reversed(cast("Sequence[Layer]", self.steps)):
            x = step.inverse(x)
        return unsqueeze(x)

    def fixed(self) -> Layer:
        """With the constants of its layers, in place."""
        self.steps = nn.ModuleList(step.fixed() for step in cast("Sequence[Layer]", self.steps))
        self.rest = None if self.rest is None else cast("Scale", self.rest.fixed())
        return self
