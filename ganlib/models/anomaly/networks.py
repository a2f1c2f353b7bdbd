"""Encoders, decoders and critics of the anomaly models: MLPs for vectors, pyramids of convolutions for other data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.nn.architecture import LEAST_SIDE, Headed, NetOptions, architecture, dcgan_weights
from ganlib.nn.mlp import MLP
from ganlib.training.algorithm import Batch

VECTOR_LATENTS, LATENTS = 8, 100


def check_patches(spec: DataSpec, least: int = 8) -> tuple[int, int, int]:
    """Channels, height and width of images; raises ConfigError if they are too small to be looked at in patches."""
    channels, height, width = spec.shape
    if min(height, width) < least:
        raise ConfigError(f"images of {height} x {width} pixels are too small for patches; {least} are needed")
    return channels, height, width


@dataclass(frozen=True)
class Parts:
    """Networks for data of ``spec``.

    ``hidden`` are the widths of an MLP, mirrored in the decoder; ``width`` is the number of channels of the first
    convolution, ``norm`` the normalisation after the others. Raises ConfigError on sides below 4.
    """

    spec: DataSpec
    hidden: Sequence[int]
    width: int
    norm: str = "batch"

    @property
    def flat(self) -> bool:
        """Whether examples are vectors."""
        return self.spec.kind == "vector"

    @property
    def _options(self) -> NetOptions:
        return NetOptions(hidden=tuple(self.hidden), width=self.width, norm=self.norm)

    def latents(self, given: int | None) -> int:
        """The code's width: as given, else 8 for vectors, for others 100 but at most a quarter of their values."""
        return given or (VECTOR_LATENTS if self.flat else max(1, min(LATENTS, self.spec.dim // 4)))

    def check(self) -> None:
        """Raise ConfigError on images or series that are too small for two halvings."""
        if not self.flat and min(self.spec.shape[1:]) < LEAST_SIDE:
            raise ConfigError(
                f"this model halves the sides of images and series, and these of shape {self.spec.shape} are below "
                f"{LEAST_SIDE}: enlarge or pad them, or give their values as a table"
            )

    def encoder(self, outputs: int) -> MLP | Headed:
        """Examples ``(n, *shape)`` to ``(n, outputs)``; also a critic, with ``features``."""
        self.check()
        if self.flat:
            return MLP(self.spec.dim, self.hidden, outputs, "leaky_relu")
        trunk = architecture("dcgan", self.spec).trunk(self.spec.shape, 0, self._options)
        net = Headed(trunk, outputs)
        dcgan_weights(net)
        return net

    def decoder(self, inputs: int) -> nn.Module:
        """Codes ``(n, inputs)`` to examples; the output is linear."""
        if self.flat:
            return MLP(inputs, self.hidden[::-1], self.spec.dim, "leaky_relu")
        net = architecture("dcgan", self.spec).generator(inputs, self.spec.shape, 0, self._options)
        dcgan_weights(net)
        return net


@torch.no_grad()
def restart(critic: nn.Module, lost: Tensor, batch: Batch) -> None:
    """Initialise a critic again where ``lost``, a boolean scalar, is true: linear layers as torch does, convolutions
    and norms as DCGAN does.

    The noise is sampled at every step, used or not, because the CPU would wait for the device to know.
    """

    def set_to(parameter: nn.Parameter, start: Tensor) -> None:
        parameter.copy_(torch.where(lost, start, parameter))

    for layer in critic.modules():
        for parameter in layer.parameters(recurse=False):
            if isinstance(layer, nn.Linear):
                noise = torch.rand(parameter.shape, generator=batch.generator, device=parameter.device)
                set_to(parameter, (2 * noise - 1) * layer.in_features**-0.5)
            elif parameter is layer.bias:
                set_to(parameter, torch.zeros_like(parameter))
            else:
                noise = torch.randn(parameter.shape, generator=batch.generator, device=parameter.device)
                set_to(parameter, 0.02 * noise + (1.0 if parameter.ndim == 1 else 0.0))
