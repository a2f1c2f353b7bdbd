"""Pixel values: images as tensors ``(n, channels, height, width)`` in [-1, 1], from arrays and back."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError, DataError

MIN_SIDE, MAX_SIDE = 8, 256
# Rounding may carry a value a little beyond its range.
_SLACK = 1e-5
_log = logging.getLogger("ganlib.data.images")

Channels = Literal["first", "last"]
Values = Literal["unit", "signed"]


def image_spec(images: Tensor, classes: int = 0) -> DataSpec:
    """The specification of ``images`` ``(n, c, h, w)``: shape ``(c, h, w)`` and the number of classes.

    Raises DataError unless they are floating point with 1 or 3 channels and sides of 8 to 256 pixels.
    """
    if images.ndim != 4 or not images.is_floating_point():
        raise DataError(
            f"images are floats of shape (n, channels, height, width); got {_shape(images.shape)} of "
            f"{str(images.dtype).removeprefix('torch.')}. Convert them with to_tensor"
        )
    return spec_of_sides(images.shape[1], images.shape[2], images.shape[3], classes)


def to_tensor(array: np.ndarray | Tensor, channels: Channels | None = None, values: Values | None = None) -> Tensor:
    """Convert images to float32 ``(n, c, h, w)`` in [-1, 1].

    ``array`` is ``(n, h, w)`` (grey), ``(n, h, w, c)`` or ``(n, c, h, w)``; ``channels`` decides between the last two
    if both fit. Bytes 0..255 map to [-1, 1] linearly. Floats are "unit" (in [0, 1]) or "signed" (in [-1, 1]); without
    ``values`` they are unit if none is negative, and the choice is logged. Booleans are 0 and 1. Raises DataError for
    other shapes, types or ranges.
    """
    pixels = array.detach().cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)
    if pixels.size == 0:
        raise DataError(f"there is no image in an array of shape {_shape(pixels.shape)}")
    pixels = _channels_first(pixels, channels)
    if pixels.dtype == np.uint8:
        return from_bytes(torch.from_numpy(np.array(pixels, order="C")))
    return torch.from_numpy(_signed(pixels, values))


def from_bytes(pixels: Tensor) -> Tensor:
    """Bytes 0..255 as float32 in [-1, 1], of the same shape and on the same device."""
    return pixels.to(torch.float32).div_(127.5).sub_(1)


def to_uint8(images: Tensor) -> np.ndarray:
    """Convert images ``(n, c, h, w)`` in [-1, 1] to bytes ``(n, h, w, c)``; the exact inverse of ``to_tensor``.

    Values outside [-1, 1] are clipped. Raises DataError for other shapes and for non-finite values.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise DataError(f"images have the shape (n, 1 or 3, height, width); got {_shape(images.shape)}")
    pixels = images.detach().to("cpu", torch.float32)
    if not torch.isfinite(pixels).all():
        raise DataError("the images hold values that are not finite; the model that generated them has diverged")
    scaled = pixels.add(1).mul_(127.5).round_().clamp_(0, 255)
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "a single number"


def spec_of_sides(channels: int, height: int, width: int, classes: int) -> DataSpec:
    """The specification of images of this size; raises DataError for unsupported sizes."""
    if channels not in (1, 3):
        raise DataError(f"images have 1 (grey) or 3 (colour) channels, not {channels}")
    if not (MIN_SIDE <= height <= MAX_SIDE and MIN_SIDE <= width <= MAX_SIDE):
        raise DataError(
            f"images of {width} x {height} pixels are outside {MIN_SIDE}..{MAX_SIDE}; resize them, e.g. with "
            "ImageFolder(..., size=64)"
        )
    return DataSpec.image(channels, height, width, classes)


def _channels_first(pixels: np.ndarray, channels: Channels | None) -> np.ndarray:
    shape = _shape(pixels.shape)
    if pixels.ndim == 3:
        if pixels.shape[2] in (1, 3, 4) and pixels.shape[1] >= MIN_SIDE:  # else many small ones
            raise DataError(f"shape {shape} looks like a single image; give several, or array[None]")
        return pixels[:, None]
    if pixels.ndim != 4:
        raise DataError(f"images have the shape (n, h, w), (n, h, w, c) or (n, c, h, w); got {shape}")
    axes = {"first": 1, "last": 3}
    fitting = [name for name, axis in axes.items() if pixels.shape[axis] in (1, 3)]
    if channels is None and len(fitting) == 2:
        raise DataError(f"in shape {shape} either axis may hold the channels; say channels='first' or 'last'")
    chosen = channels or (fitting[0] if fitting else None)
    if chosen not in fitting:
        where = f" in its {chosen} axis" if chosen in axes else ""
        raise DataError(f"shape {shape} has not 1 or 3 channels{where}; drop an alpha channel with array[..., :3]")
    return pixels if chosen == "first" else np.moveaxis(pixels, 3, 1)


def _signed(pixels: np.ndarray, values: Values | None) -> np.ndarray:
    """Floats or booleans as a fresh, contiguous float32 array in [-1, 1]."""
    if values not in (None, "unit", "signed"):
        raise ConfigError(f"values must be 'unit' or 'signed', not {values!r}")
    if pixels.dtype.kind not in "fb":
        raise DataError(f"pixels are bytes (uint8) or floats, not {pixels.dtype}; use array.astype('uint8') for 0..255")
    floats = np.array(pixels, dtype=np.float32, order="C")
    low, high = float(floats.min()), float(floats.max())
    if not np.isfinite(floats).all():
        raise DataError(f"{np.count_nonzero(~np.isfinite(floats))} pixel values are not finite; fix or drop them")
    unit = values == "unit" or (values is None and low >= -_SLACK)
    if values is None and pixels.dtype.kind == "f":
        _log.info("pixels from %.4g to %.4g are taken as %s", low, high, "[0, 1]" if unit else "[-1, 1]")
    if low < (0 if unit else -1) - _SLACK or high > 1 + _SLACK:
        wanted = "[0, 1]" if unit else "[-1, 1]"
        fix = "scale them to it"
        if low >= 0:
            fix = "divide them by the largest value that a pixel can have" + (", 255 for bytes" if high > 100 else "")
        raise DataError(
            f"float pixels must lie in [0, 1] or [-1, 1]; taken as {wanted}, they run from {low:g} to {high:g}; {fix}"
        )
    return np.clip(floats * 2 - 1 if unit else floats, -1, 1)
