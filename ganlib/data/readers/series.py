"""Reads windows of series, each channel on its own scale."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ganlib.data.fields import Series
from ganlib.data.readers.arrays import SERIES, ArrayReader
from ganlib.errors import DataError

LEAST_STEPS = 4


class SeriesReader(ArrayReader):
    """Series ``(n, channels, length)`` of finite numbers; each channel is centred and scaled to deviation 1.

    After ``fit``, beside what ``ArrayReader`` states: ``scale``, mean and standard deviation of each channel, two
    float32 tensors ``(channels, 1)``, and ``mean`` and ``deviation``, the same in the examples' own precision. Raises
    DataError for constant channels and values that are not finite.
    """

    modality = "series"
    plural = "series"
    dimensions = (SERIES,)

    def _learn(self, examples: np.ndarray) -> None:
        self.field = Series(*examples.shape[1:])
        self.mean, self.deviation = _scale_of(examples)
        self.scale = torch.as_tensor(self.mean[0]).float(), torch.as_tensor(self.deviation[0]).float()

    def _encode(self, examples: np.ndarray) -> Tensor:
        _check_numbers(examples)
        return torch.as_tensor((examples - self.mean) / self.deviation, dtype=torch.float32)

    def _decode(self, made: Tensor) -> np.ndarray:
        values = made.numpy()
        if self.kind.kind in "iu":
            kept = np.iinfo(self.kind)
            values = np.rint(values.astype(np.float64)).clip(kept.min, kept.max)  # else they would wrap around
        return values.astype(self.kind)


def _check_numbers(X: np.ndarray) -> None:
    if not np.issubdtype(X.dtype, np.number) or np.iscomplexobj(X) or not np.isfinite(X).all():
        raise DataError(
            "series must be finite real numbers of shape (n, channels, length); fill or drop the missing ones"
        )


def _scale_of(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each channel."""
    _check_numbers(X)
    if X.shape[2] < LEAST_STEPS:
        raise DataError(
            f"shape {X.shape} would be series of {X.shape[2]} steps, but {LEAST_STEPS} are needed; give one colour "
            "image as array[None]"
        )
    # In float32 at least: half precision would overflow, and round values that its scale was learned from.
    kind = np.result_type(X.dtype, np.float32)
    mean, deviation = (measure((0, 2), keepdims=True, dtype=kind) for measure in (X.mean, X.std))
    if not np.isfinite(deviation).all():
        raise DataError(f"values up to {np.abs(X).max():g} are too large to be computed with: scale them down")
    constant = X.max((0, 2)) == X.min((0, 2))  # deviations of equal values may round to more than 0
    if constant.any():
        channel = int(np.flatnonzero(constant)[0])
        raise DataError(f"channel {channel} of the series is constant; leave it out")
    return mean, deviation
