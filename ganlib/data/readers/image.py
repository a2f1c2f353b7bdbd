"""Reads images: bytes or floats, grey or in colour, channels first or last."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ganlib.data.fields import Image
from ganlib.data.images import Channels, to_tensor, to_uint8
from ganlib.data.readers.arrays import IMAGES, SERIES, ArrayReader
from ganlib.errors import DataError


class ImageReader(ArrayReader):
    """Images ``(n, h, w)``, ``(n, h, w, c)`` or ``(n, c, h, w)``, as bytes or floats in [0, 1] or [-1, 1].

    After ``fit``, beside what ``ArrayReader`` states: ``channels_first``, and ``signed``, whether floats lie in
    [-1, 1]. Raises DataError for other shapes or ranges.
    """

    modality = "image"
    plural = "images"
    dimensions = (SERIES, IMAGES)
    channels_first: bool
    signed: bool

    def _learn(self, examples: np.ndarray) -> None:
        shape = tuple(self._first(examples).shape[1:])
        self.field = Image(*shape)
        self.channels_first = examples.ndim == IMAGES and shape == examples.shape[1:]
        self.signed = bool(examples.min() < 0)

    def _first(self, examples: np.ndarray) -> Tensor:
        try:
            return to_tensor(examples[:1])
        except DataError as error:
            if examples.ndim == IMAGES:
                raise
            raise DataError(
                f"{error} (shape {examples.shape} was read as grey images; say modality='series' if it is not)"
            ) from error

    def _encode(self, examples: np.ndarray) -> Tensor:
        channels: Channels | None = None if examples.ndim == SERIES else "first" if self.channels_first else "last"
        if examples.dtype == np.uint8:
            return to_tensor(examples, channels)
        return to_tensor(examples, channels, "signed" if self.signed else "unit")

    def _decode(self, made: Tensor) -> np.ndarray:
        if self.kind == np.uint8:
            arrays = to_uint8(made)
        else:
            arrays = made.clamp(-1, 1).permute(0, 2, 3, 1).numpy()
            arrays = arrays if self.signed else (arrays + 1) / 2
            arrays = arrays > 0.5 if self.kind.kind == "b" else arrays.astype(self.kind)
        if self.channels_first:
            return np.ascontiguousarray(arrays.transpose(0, 3, 1, 2))
        return arrays[..., 0] if len(self.axes) + 1 == SERIES else arrays
