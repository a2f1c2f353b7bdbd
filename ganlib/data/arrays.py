"""Converts arrays of images and series to network inputs, and back."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganlib.data.fields import Field, Image, Series
from ganlib.data.images import Channels, ImageFolder, to_tensor, to_uint8
from ganlib.errors import DataError

SERIES, IMAGES = 3, 4
LEAST_STEPS = 4
IN_MEMORY = "ImageFolder(path).load()['x'], and ['y'] for their classes (from ganlib.data.images)"


def examples_of(X: Any) -> np.ndarray | None:
    """Convert an array, tensor or list to one array of images or series (three or four axes); None for tables.

    Raises DataError for examples of different sizes and for a path.
    """
    if isinstance(X, str | Path | ImageFolder):
        raise DataError(f"got {X!r}; give the rows (pandas.read_csv) or the images themselves, {IN_MEMORY}")
    if isinstance(X, Mapping):
        raise DataError(
            f"X is one array or frame, not arrays by name ({', '.join(map(str, X))}): fit(data['x'], data['y'])"
        )
    if hasattr(X, "columns") or hasattr(X, "to_pandas") or hasattr(X, "tocsr"):
        return None
    X = X.detach().cpu() if isinstance(X, Tensor) else X
    try:
        array = np.asarray(X)
    except ValueError as error:
        raise _mixed(X) from error
    if array.dtype == object and array.ndim == 1 and len(array) and all(np.ndim(item) > 1 for item in array):
        if len({np.shape(item) for item in array}) > 1:
            raise _mixed(array)
        array = np.stack(list(array))
    return array if array.ndim >= SERIES else None


def _mixed(examples: Any) -> DataError:
    sizes = sorted({" x ".join(map(str, np.shape(item))) or "a number" for item in examples})
    return DataError(
        f"the examples differ in size ({', '.join(sizes[:4])}): bring them to one, for images with "
        "ganlib.data.images.ImageFolder(..., size=64) or the crops of ganlib.data.transforms"
    )


class ArrayReader:
    """Stores the axes, type and range of an array, to convert similar arrays and to restore results in this format.

    Images are ``(n, h, w)``, ``(n, h, w, c)`` or ``(n, c, h, w)``, as bytes or floats in [0, 1] or [-1, 1]. Series are
    ``(n, channels, length)``. ``modality`` is "image" or "series". It may be None for four axes and for bytes (images),
    for squares (images, with a warning), and if one side is more than twice the other (series). ``scale`` is the mean
    and standard deviation of each channel of series, None for images; ``field`` describes one example to a model.
    Raises DataError for other shapes or ranges, for constant channels, and if the array could be either.
    """

    def __init__(self, X: np.ndarray, modality: str | None = None) -> None:
        self.modality = _modality(X, modality)
        self.axes, self.kind = X.shape[1:], X.dtype
        self.scale: tuple[Tensor, Tensor] | None = None
        if self.modality == "image":
            shape = tuple(self._first_image(X, modality).shape[1:])
            self.field: Field = Image(*shape)
            self._first, self._signed = X.ndim == IMAGES and shape == X.shape[1:], bool(X.min() < 0)
        else:
            self.field = Series(*X.shape[1:])
            self._mean, self._deviation = _scale_of(X)
            self.scale = torch.as_tensor(self._mean[0]).float(), torch.as_tensor(self._deviation[0]).float()

    def _first_image(self, X: np.ndarray, stated: str | None) -> Tensor:
        try:
            return to_tensor(X[:1])
        except DataError as error:
            if stated == "image" or X.ndim == IMAGES:
                raise
            raise DataError(
                f"{error} (shape {X.shape} was read as grey images; say modality='series' if it is not)"
            ) from error

    def read(self, X: Any) -> Tensor:
        """Convert examples for the network, float32 ``(n, channels, ...)``; raises DataError for another format."""
        X = np.asarray(X.detach().cpu() if isinstance(X, Tensor) else X)
        if X.shape[1:] != self.axes or (X.dtype == np.uint8) != (self.kind == np.uint8):
            wanted = ", ".join(["n", *map(str, self.axes)])
            raise DataError(f"got {X.dtype} of shape {X.shape}; fitted on {self.kind} of shape ({wanted})")
        if self.modality == "series":
            _check_numbers(X)
            return torch.as_tensor((X - self._mean) / self._deviation, dtype=torch.float32)
        channels: Channels | None = None if X.ndim == SERIES else "first" if self._first else "last"
        if X.dtype == np.uint8:
            return to_tensor(X, channels)
        return to_tensor(X, channels, "signed" if self._signed else "unit")

    def restore(self, made: Tensor) -> np.ndarray:
        """Convert generated images, or series in their own units, to the axes and type of the fitted array.

        Raises DataError for non-finite values.
        """
        if not bool(made.isfinite().all()):
            raise DataError("the generated examples are not finite: the model has diverged; try a lower learning_rate")
        if self.modality == "series":
            values = made.numpy()
            return (np.rint(values) if self.kind.kind in "iu" else values).astype(self.kind)
        if self.kind == np.uint8:
            arrays = to_uint8(made)
        else:
            arrays = made.clamp(-1, 1).permute(0, 2, 3, 1).numpy()
            arrays = arrays if self._signed else (arrays + 1) / 2
            arrays = arrays > 0.5 if self.kind.kind == "b" else arrays.astype(self.kind)
        if self._first:
            return np.ascontiguousarray(arrays.transpose(0, 3, 1, 2))
        return arrays[..., 0] if len(self.axes) + 1 == SERIES else arrays


def _modality(X: np.ndarray, stated: str | None) -> str:
    """``stated``, or what the array can only be."""
    if X.ndim not in (SERIES, IMAGES) or (stated == "series" and X.ndim == IMAGES):
        raise DataError(f"series have three axes and images three or four; got shape {X.shape}")
    if stated is not None:
        return stated
    if X.ndim == IMAGES or X.dtype == np.uint8:
        return "image"
    rows, columns = X.shape[1:]
    if rows == columns:
        warnings.warn(
            f"{rows} x {columns} numbers were read as grey images; say modality='series' if not", stacklevel=5
        )
        return "image"
    if 0.5 <= rows / columns <= 2:
        raise DataError(
            f"an array of shape {X.shape} could be grey images of {rows} x {columns} pixels, or series of {rows} "
            f"channels and {columns} steps: say modality='image' or modality='series'"
        )
    return "series"


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
