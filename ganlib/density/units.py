"""The units of a density: how raw values are placed for a model, and the change of variables between the two.

A model knows the density q of placed values u(v). The density of the raw values v is

    log p(v) = log q(u(v)) + log |du/dv|

Placing is smooth and strictly increasing, so p integrates to one over the raw values:

- Numbers of tables: (v - center) / scale; beyond ±10 it grows as the logarithm (``ganlib.data.codes.soft_clip``).
- Bytes of images: (v + 1/2) / 128 - 1, so that bytes with uniform noise in (-1/2, 1/2) fill [-1, 1]. The density is per
  level. Pixels as floats: their range to [-1, 1].
- Series: (v - mean) / deviation of each channel.

Values on a grid (whole numbers, columns rounded to a step, bytes) have no density of their own: many rows share a
value, and a model could raise its density there without bound. They are trained on with uniform noise of one step
(Theis, van den Oord & Bethge, A note on the evaluation of generative models, arXiv 1511.01844). Times the step, the
density is then about the probability of the value.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganlib.data.codes import LIMIT
from ganlib.data.column import Column
from ganlib.data.readers import ImageReader, SeriesReader, TableReader
from ganlib.errors import DataError

# A byte's place in the reader's [-1, 1] times this is (v + 1/2) / 128 - 1.
BYTES = 255 / 256
_TIED = 0.1  # share of rows with one value, off a grid, above which a density is not meaningful


class TableUnits:
    """Numeric columns of a table, read by an encoder that only centres and scales."""

    def __init__(self, reader: TableReader) -> None:
        self.reader = reader
        codes = reader.encoder.codes
        self.inputs = [code.input for code in codes]
        self.center, self.scale = (np.array([getattr(c, name) for c in codes], float) for name in ("center", "scale"))
        self.steps = np.array([_step(c) for c in reader.encoder.columns()])

    def values(self, examples: Any) -> np.ndarray:
        """Raw values, float64 ``(n, columns)``; raises DataError for missing and infinite ones."""
        feeds = self.reader.feeds(examples)
        raw = np.stack([np.asarray(feeds[name], np.float64) for name in self.inputs], 1)
        if not (whole := np.isfinite(raw)).all():
            row, column = (int(place[0]) for place in np.nonzero(~whole))
            raise DataError(
                f"column {self.inputs[column]!r}, row {row}: {raw[row, column]} has no density; fill the missing "
                "values or drop their rows"
            )
        return raw

    def place(self, values: np.ndarray) -> Tensor:
        """Raw values for the model, float32."""
        return torch.from_numpy(self.reader.encode(dict(zip(self.inputs, values.T, strict=True))))

    def log_volume(self, values: np.ndarray) -> np.ndarray:
        """log |du/dv|, float64 ``(n,)``."""
        size = np.abs((values - self.center) / self.scale)
        return np.log(LIMIT / np.maximum(size, LIMIT)).sum(1) - np.log(self.scale).sum()

    def restore(self, made: Tensor) -> Any:
        """Samples as a frame, or as an array where it was fitted on one."""
        frame = self.reader.restore(made)
        return frame if self.reader.named else frame.to_numpy()

    def check(self, examples: Any) -> None:
        """Raise DataError for columns without a density; warn of tied ones."""
        columns = {c.input: c for c in self.reader.encoder.columns()}
        values = self.values(examples)
        for index, name in enumerate(self.inputs):
            found, counts = np.unique(values[:, index], return_counts=True)
            if len(found) == 1:
                raise DataError(
                    f"column {columns[name].name!r} holds a single value, {found[0]:g}, and has no density: leave it "
                    "out, or give it role: dropped in the schema"
                )
            share = counts.max() / len(values)
            if not self.steps[index] and share > _TIED:
                warnings.warn(
                    f"column {columns[name].name!r} is {found[counts.argmax()]:g} in {share:.0%} of the rows: its "
                    "density has no bound there; split off those rows, or read likelihoods with care",
                    stacklevel=4,
                )


class ImageUnits:
    """Pixels, as bytes or as floats."""

    def __init__(self, reader: ImageReader) -> None:
        self.reader, self.bytes = reader, reader.kind == np.uint8
        self.shrink = BYTES if self.bytes else 1.0
        self.steps = np.array(1.0 if self.bytes else 0.0)

    def values(self, examples: Any) -> np.ndarray:
        """Images as they were fitted on; bytes as float64, so that noise can be added."""
        return self.reader.again(examples).astype(np.float64) if self.bytes else self.reader.again(examples)

    def place(self, values: np.ndarray) -> Tensor:
        """Pixels about [-1, 1], channels first."""
        if not self.bytes:
            return self.reader.read(values)
        whole = np.clip(np.floor(values + 0.5), 0, 255)
        rest = torch.as_tensor(values - whole, dtype=torch.float32)
        rest = _channels_first(rest, self.reader)
        return self.shrink * self.reader.read(whole.astype(np.uint8)) + rest / 128

    def log_volume(self, values: np.ndarray) -> np.ndarray:
        """log |du/dv|, float64 ``(n,)``."""
        each = -math.log(128) if self.bytes else 0.0 if self.reader.signed else math.log(2)
        return np.full(len(values), each * self.reader.field.dim)

    def restore(self, made: Tensor) -> np.ndarray:
        """Samples as images."""
        return self.reader.restore(made / self.shrink)

    def check(self, examples: Any) -> None:
        """Nothing: pixels may be constant in all images."""


class SeriesUnits:
    """Windows of series."""

    def __init__(self, reader: SeriesReader) -> None:
        self.reader = reader
        self.steps = np.array(1.0 if reader.kind.kind in "iu" else 0.0)

    def values(self, examples: Any) -> np.ndarray:
        """Series as they were fitted on; whole numbers as float64."""
        given = self.reader.again(examples)
        return given.astype(np.float64) if self.steps else given

    def place(self, values: np.ndarray) -> Tensor:
        """Values over the scale of their channel."""
        if self.steps:
            return torch.as_tensor((values - self.reader.mean) / self.reader.deviation, dtype=torch.float32)
        return self.reader.read(values)

    def log_volume(self, values: np.ndarray) -> np.ndarray:
        """log |du/dv|, float64 ``(n,)``."""
        each = np.log(np.asarray(self.reader.deviation, np.float64)).sum() * self.reader.field.shape[1]
        return np.full(len(values), -each)

    def restore(self, made: Tensor) -> np.ndarray:
        """Samples in their own units."""
        assert self.reader.scale is not None
        mean, deviation = self.reader.scale
        return self.reader.restore(made * deviation + mean)

    def check(self, examples: Any) -> None:
        """Nothing: constant channels are rejected by the reader."""


Units = TableUnits | ImageUnits | SeriesUnits


def units_of(reader: Any) -> Units:
    """The units of a fitted reader's data."""
    if isinstance(reader, TableReader):
        return TableUnits(reader)
    return ImageUnits(reader) if isinstance(reader, ImageReader) else SeriesUnits(reader)


def noisy(units: Units, values: np.ndarray, seed: int) -> np.ndarray:
    """The values, with uniform noise of one step where they lie on a grid."""
    if not units.steps.any():
        return values
    rng = np.random.Generator(np.random.Philox(seed))
    return values + units.steps * (rng.random(values.shape) - 0.5)


def _step(column: Column) -> float:
    return column.step or (1.0 if column.kind == "integer" else 0.0)


def _channels_first(values: Tensor, reader: ImageReader) -> Tensor:
    if values.ndim == 3:
        return values.unsqueeze(1)
    return values if reader.channels_first else values.permute(0, 3, 1, 2)
