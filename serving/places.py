"""Scores of places in images and series, in words and as pictures. 1 is the limit that the model was sealed with."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from serving.table.examples import Layout
from serving.table.pictures import need_pillow

_NAMED = 3  # channels in words
LIMIT = 128  # grey level of the limit
_DOUBLING = 16  # grey levels


def places_in_words(
    maps: np.ndarray, flags: np.ndarray, layout: Layout, channels: Sequence[str] | None = None
) -> pa.Array:
    """Where each anomaly is anomalous, by its ``(rows, columns)`` of places; null for other rows.

    ``channels`` names those of series; without names they are numbered from 0.
    """

    def say(places: np.ndarray) -> str:
        if layout.modality == "image":
            return _pixel(places, layout.size)
        named = channels or [f"channel {number}" for number in range(layout.size[0])]
        return _stretches(places, layout.size[1], named)

    return pa.array([say(m) if flag else None for m, flag in zip(maps, flags, strict=True)], pa.string())


def _pixel(places: np.ndarray, size: tuple[int, int]) -> str:
    row, column = np.unravel_index(places.argmax(), places.shape)
    if not places[row, column] > 1:
        return "no place of it exceeds the limit alone"
    y, x = (int((at + 0.5) * side / parts) for at, side, parts in zip((row, column), size, places.shape, strict=True))
    return f"pixel row {y}, column {x} (of {size[0]} x {size[1]}): {_times(places[row, column])}"


def _stretches(places: np.ndarray, steps: int, names: Sequence[str]) -> str:
    """The highest stretch of each channel in which one exceeds the limit, highest first."""
    peaks = places.max(1)
    named = [channel for channel in np.argsort(-peaks, kind="stable")[:_NAMED] if peaks[channel] > 1]
    if not named:
        return "no stretch of a channel exceeds the limit alone"
    said, parts = [], places.shape[1]
    for channel in named:
        part = int(places[channel].argmax())
        first, last = -(-part * steps // parts), -(-(part + 1) * steps // parts) - 1
        said.append(f"{names[channel]}, steps {first} to {last} (of {steps}): {_times(peaks[channel])}")
    return "; ".join(said)


def _times(value: float) -> str:
    return f"{value:.3g} times the limit" if value < 1e6 else "over a million times the limit"


def map_column(maps: np.ndarray, flags: np.ndarray, layout: Layout) -> pa.Array:
    """The column ``map``: for anomalies a PNG (images) or the scores as lists (series), null for other rows.

    Raises UsageError for images if Pillow is not installed.
    """
    chosen = [m if flag else None for m, flag in zip(maps, flags, strict=True)]
    if layout.modality == "image":
        return pa.array([None if m is None else png(m, layout.size) for m in chosen], pa.binary())
    return pa.array([None if m is None else m.tolist() for m in chosen], pa.list_(pa.list_(pa.float32())))


def png(places: np.ndarray, size: tuple[int, int]) -> bytes:
    """Places as a grey PNG of ``size`` (height, width): 128 is the limit, and 16 levels more are twice as much.

    White is 256 times the limit or more, black a 256th or less.
    """
    from PIL import Image

    doublings = np.log2(np.maximum(enlarged(places, size), 1e-30))
    grey = np.rint(np.clip(LIMIT + _DOUBLING * doublings, 0, 255)).astype(np.uint8)
    held = io.BytesIO()
    Image.fromarray(grey).save(held, format="PNG")
    return held.getvalue()


def enlarged(places: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Places interpolated to ``size`` (height, width), float32. Raises UsageError if Pillow is not installed."""
    need_pillow()
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(places, dtype=np.float32))
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))
