"""Augmentation of batches of series ``(n, channels, length)``, with random numbers for each series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor

from ganlib.data.transform_options import Fraction, TransformOptions
from ganlib.errors import DataError

_KNOTS = 6


@dataclass(frozen=True, kw_only=True)
class RandomSeries(TransformOptions):
    """Jitter, scaling and time warping of series of about unit variance.

    ``jitter``: standard deviation of the noise of each reading; ``scale``: of the factor of each channel, around 1;
    ``warp``: of the logarithm of the speed, which is drawn at six moments and linear between them. First and last
    moments stay. Source: Um et al., 1706.00527, section 3 (there the speed is a spline). The call raises DataError for
    anything but float series.
    """

    jitter: Annotated[float, Ge(0), Le(10)] = 0.05
    scale: Fraction = 0.1
    warp: Fraction = 0.2

    def __call__(self, series: Tensor, generator: torch.Generator) -> Tensor:
        """The series, moved."""
        if series.ndim != 3 or not series.is_floating_point():
            raise DataError(f"series are floats of shape (n, channels, length), not {tuple(series.shape)}")
        n, channels, length = series.shape

        def noise(*size: int) -> Tensor:
            return torch.randn(size, generator=generator, device=generator.device).to(series)

        moved = _read(series, self._moments(noise(n, 1, _KNOTS), length))
        return moved * (1 + self.scale * noise(n, channels, 1)) + self.jitter * noise(n, channels, length)

    def _moments(self, speeds: Tensor, length: int) -> Tensor:
        """Where each step is read, ``(n, length)`` from 0 to ``length - 1``."""
        speed = torch.nn.functional.interpolate((self.warp * speeds).exp(), length, mode="linear", align_corners=True)
        passed = speed[:, 0].cumsum(1)
        passed = passed - passed[:, :1]
        return passed / passed[:, -1:].clamp_min(1e-12) * (length - 1)


def _read(series: Tensor, moments: Tensor) -> Tensor:
    """Values between steps, linear."""
    first = moments.floor().long().clamp(0, series.shape[2] - 1)
    second = (first + 1).clamp_max(series.shape[2] - 1)
    share = (moments - first).unsqueeze(1)
    low, high = (series.gather(2, at.unsqueeze(1).expand_as(series)) for at in (first, second))
    return low + share * (high - low)
