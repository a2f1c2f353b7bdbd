"""What readers of images and series share: opening arrays, telling their kinds apart, comparing their format."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ganlib.data.content import row_hash
from ganlib.data.fields import Field
from ganlib.data.images import ImageFolder
from ganlib.data.readers.protocol import Feeds
from ganlib.data.spec import DataSpec
from ganlib.errors import DataError

SERIES, IMAGES = 3, 4  # axes of an array of examples; grey images may have three
_AXES = "series have three axes and images three or four; got {}"
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
    array = _array(X)
    if array.dtype == object and array.ndim == 1 and len(array) and all(np.ndim(item) > 1 for item in array):
        if len({np.shape(item) for item in array}) > 1:
            raise _mixed(array)
        array = np.stack(list(array))
    return array if array.ndim >= SERIES else None


def _array(X: Any) -> np.ndarray:
    try:
        return np.asarray(X.detach().cpu() if isinstance(X, Tensor) else X)
    except ValueError as error:
        raise _mixed(X) from error


def _mixed(examples: Any) -> DataError:
    sizes = sorted({" x ".join(map(str, np.shape(item))) or "a number" for item in examples})
    return DataError(
        f"the examples differ in size ({', '.join(sizes[:4])}): bring them to one, for images with "
        "ganlib.data.images.ImageFolder(..., size=64) or the crops of ganlib.data.transforms"
    )


def kind_of(data: Any, able: Sequence[str] = ()) -> str:
    """What data of no stated modality are: a table, or images or series; a square is an image, with a warning.

    If ``able``, the kinds of arrays that a model reads, is one kind, an array is that. Raises DataError for another
    number of axes, and for an array that could be either.
    """
    if (X := examples_of(data)) is None:
        return "table"
    if X.ndim not in (SERIES, IMAGES):
        raise DataError(_AXES.format(f"shape {X.shape}"))
    if len(able) == 1:
        return able[0]
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


class ArrayReader(ABC):
    """Base of the readers of arrays ``(n, ...)``: one input ``x``, no labels, columns or groups.

    After ``fit``: ``axes`` is the shape of one example, ``kind`` the dtype, ``field`` describes an example to a model.
    Subclasses define ``_learn``, ``_encode`` and ``_decode``.
    """

    modality: ClassVar[str]
    plural: ClassVar[str]
    tabular: ClassVar[bool] = False
    dimensions: ClassVar[tuple[int, ...]]  # possible numbers of axes, that of the examples included
    field: Field
    scale: tuple[Tensor, Tensor] | None = None

    @property
    def spec(self) -> DataSpec:
        """One example."""
        return DataSpec.of(self.field)

    def open(self, X: Any) -> np.ndarray:
        """One array of all examples."""
        examples = examples_of(X)
        if examples is None or examples.ndim not in self.dimensions:
            raise DataError(_AXES.format("a table" if examples is None else f"shape {examples.shape}"))
        return examples

    def take(self, examples: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """The chosen examples."""
        return examples[chosen]

    def labels(self, examples: np.ndarray) -> None:
        """None: arrays hold no labels."""
        return None

    def select(self, examples: np.ndarray) -> np.ndarray:
        """The examples themselves."""
        return examples

    def content(self, examples: np.ndarray) -> np.ndarray:
        """Hashes of the examples' bytes, uint64 ``(n,)``."""
        return row_hash(pd.DataFrame({"content": [np.ascontiguousarray(example).tobytes() for example in examples]}))

    def fit(self, examples: np.ndarray) -> ArrayReader:
        """Learn axes, type and range."""
        self.axes, self.kind = examples.shape[1:], examples.dtype
        self._learn(examples)
        return self

    def features(self, examples: np.ndarray) -> np.ndarray:
        """The examples themselves."""
        return examples

    def again(self, X: Any) -> np.ndarray:
        """Examples of the axes and the type that were fitted; raises DataError for others."""
        found = examples_of(X)
        X = _array(X) if found is None else found
        if X.shape[1:] != self.axes or (X.dtype == np.uint8) != (self.kind == np.uint8):
            wanted = ", ".join(["n", *map(str, self.axes)])
            raise DataError(f"got {X.dtype} of shape {X.shape}; fitted on {self.kind} of shape ({wanted})")
        return X

    def feeds(self, examples: np.ndarray) -> dict[str, np.ndarray]:
        """The examples, as the input ``x``."""
        return {"x": self.again(examples)}

    def encode(self, feeds: Feeds) -> np.ndarray:
        """Examples for the network, float32 ``(n, *spec.shape)``."""
        return self._encode(feeds["x"]).numpy()

    def read(self, examples: Any) -> Tensor:
        """Examples for the network, as a tensor; raises DataError for another format."""
        return self._encode(self.again(examples))

    def groups(self, feeds: Feeds) -> None:
        """None: arrays name no groups."""
        return None

    def restore(self, made: Tensor) -> np.ndarray:
        """Generated examples, float32 ``(n, *spec.shape)``, in the axes and type of the fitted array.

        Series are given in their own units (``scale``). Raises DataError for non-finite values.
        """
        if not bool(made.isfinite().all()):
            raise DataError("the generated examples are not finite: the model has diverged; try a lower learning_rate")
        return self._decode(made)

    @abstractmethod
    def _learn(self, examples: np.ndarray) -> None:
        """Learn ``field`` and the scales of examples."""

    @abstractmethod
    def _encode(self, examples: np.ndarray) -> torch.Tensor:
        """Examples for the network."""

    @abstractmethod
    def _decode(self, made: Tensor) -> np.ndarray:
        """Generated examples in the fitted axes and type."""
