"""Mini-batches of images that are decoded on demand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ganlib.data.delivery import delivered
from ganlib.data.image_values import from_bytes
from ganlib.data.order import Order, check_batch_size, epoch_seed
from ganlib.data.transforms import check_transform
from ganlib.errors import ConfigError, DataError

_TRANSFORMS = 0x6175676D  # the stream of random numbers of transforms


class ImageSource(Protocol):
    """The data source of LazyImages: an ImageFolder, or any object that loads rows by index.

    If it has ``labels`` (the class index of each row), a trainer checks them all before the first step. If it has
    ``digests()`` (strings by name that identify the data), a trainer rejects checkpoints of other data.
    """

    def __len__(self) -> int: ...

    def load(self, indices: Sequence[int] | Tensor | None = None) -> dict[str, Tensor]:
        """Tensors by name of these rows."""


@runtime_checkable
class ByteSource(Protocol):
    """An ImageSource that also loads ``x`` as bytes."""

    def load_bytes(self, indices: Sequence[int] | Tensor | None = None) -> dict[str, Tensor]:
        """Tensors by name of these rows, ``x`` as uint8."""


class LazyImages:
    """Shuffled mini-batches that are decoded on demand; a drop-in replacement for TensorBatches.

    The order depends only on (seed, epoch), as in TensorBatches, and an incomplete last batch is dropped.
    ``transform(images, generator)`` augments the ``x`` of each batch; its generator also depends only on (seed, epoch).
    ``labels`` are the source's, or None. Raises DataError for an empty source, and ConfigError for an object that is
    not a source and for wrong options.
    """

    def __init__(
        self,
        source: ImageSource,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        transform: Callable[[Tensor, torch.Generator], Tensor] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if not callable(getattr(source, "load", None)):
            raise ConfigError(f"LazyImages needs a folder, LazyImages(ImageFolder(path), 32), not {source!r}")
        check_batch_size(batch_size)
        if transform is not None:
            check_transform(transform, "LazyImages takes")
        if not len(source):
            raise DataError("there are no images to load")
        self._order = Order(len(source), min(batch_size, len(source)), seed, shuffle)
        self.source, self.seed, self.shuffle, self.transform = source, seed, shuffle, transform
        self.rows, self.batch_size, self.device = self._order.rows, self._order.batch_size, torch.device(device)
        self.labels: Sequence[int] | Tensor | None = getattr(source, "labels", None)

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self._order)

    def digests(self) -> dict[str, str]:
        """The digests of the source, if it has any, with the number of images and the sampling options.

        A transform is identified by its repr without addresses, and thus a function by its name.
        """
        options = {name: str(getattr(self, name)) for name in ("batch_size", "seed", "shuffle")}
        options["transform"] = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(self.transform))
        digests = getattr(self.source, "digests", dict)
        return {"images": str(len(self.source)), **options, **digests()}

    def to(self, device: torch.device | str) -> LazyImages:
        """The same batches, delivered on a device."""
        return LazyImages(self.source, self.batch_size, self.seed, self.shuffle, self.transform, device)

    def epoch(self, number: int) -> Iterator[dict[str, Tensor]]:
        """The batches of one epoch, on the device; see ``ganlib.data.delivery`` for how many are in memory."""
        for tensors in delivered(self._decoded(number), self.device):
            yield {name: from_bytes(value) if _is_pixels(name, value) else value for name, value in tensors.items()}

    def _decoded(self, number: int) -> Iterator[dict[str, Tensor]]:
        """The batches in main memory, as bytes where no transform needs floats."""
        source = self.source
        load = source.load_bytes if self.transform is None and isinstance(source, ByteSource) else source.load
        # A separate random stream from the one that shuffles the rows.
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, number, _TRANSFORMS))
        for rows in self._order.batches(number):
            tensors = load(rows)
            if self.transform is not None:
                tensors["x"] = self.transform(tensors["x"], generator)
            yield tensors


def _is_pixels(name: str, value: Tensor) -> bool:
    return name == "x" and value.dtype == torch.uint8
