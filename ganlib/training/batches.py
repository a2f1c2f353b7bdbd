"""Mini-batches of tensors in memory or on the device, in an order determined by seed and epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ganlib.data.order import Order
from ganlib.errors import ConfigError, DataError
from ganlib.training.algorithm import Batch
from ganlib.training.ranks import ALONE, Ranks, digests


class TensorBatches:
    """Shuffled mini-batches of equally long tensors, without a DataLoader (an index is 10 times cheaper).

    The order depends only on (seed, epoch), so a resumed run gets the same batches. The last, smaller batch of an
    epoch is dropped unless it is the only one, because statistics of a few rows harm batch norm. With ``ranks``,
    ``batch_size`` is that of the global batch, and each rank gets its slice.

    Raises DataError if the tensors differ in length or are empty, and ConfigError if batches cannot be split evenly.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        ranks: Ranks = ALONE,
    ) -> None:
        lengths = {name: len(value) for name, value in tensors.items()}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise DataError(f"training tensors must be equally long and not empty; lengths: {lengths}")
        self.tensors, self.seed, self.shuffle = dict(tensors), seed, shuffle
        self.rows = next(iter(lengths.values()))
        self.batch_size, self.ranks = min(batch_size, self.rows), ranks
        self._order = Order(self.rows, self.batch_size, seed, shuffle)
        self._check_split(batch_size)

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self._order)

    def _check_split(self, requested: int) -> None:
        size, ranks = self.batch_size, self.ranks.size
        if size % ranks:
            what = f"batch_size {size}"
            if size < requested:
                what = f"the data's {size} rows, fewer than batch_size {requested},"
            below, above = size - size % ranks, size - size % ranks + ranks
            choices = " or ".join(str(n) for n in (below, above) if 0 < n <= self.rows) or "one process"
            raise ConfigError(f"{what} cannot be split evenly over {ranks} processes: choose batch_size {choices}")
        if not self.shuffle and (left := self.rows % size) % ranks:
            raise ConfigError(
                f"the last {left} of {self.rows} rows cannot be split evenly over {ranks} processes: shuffle, or leave "
                f"{left % ranks} out"
            )

    def digests(self) -> dict[str, str]:
        """A digest of each tensor."""
        return digests(self.tensors)

    def to(self, device: torch.device, ranks: Ranks | None = None) -> TensorBatches:
        """The same batches with the data on a device, and sliced for these ranks if given."""
        moved = {name: value.to(device) for name, value in self.tensors.items()}
        return TensorBatches(moved, self.batch_size, self.seed, self.shuffle, self.ranks if ranks is None else ranks)

    def epoch(self, number: int) -> Iterator[dict[str, Tensor]]:
        """The batches of one epoch, or this rank's slices of them; only one batch is copied at a time."""
        device = next(iter(self.tensors.values())).device
        order = self._order.of(number).to(device) if self.shuffle else None
        for i in range(len(self)):
            part = slice(i * self.batch_size, (i + 1) * self.batch_size)
            if order is None:
                yield {name: self.ranks.own(value[part]) for name, value in self.tensors.items()}
            else:
                rows = self.ranks.own(order[part])
                yield {name: value.index_select(0, rows) for name, value in self.tensors.items()}


class Stream:
    """The batches of one epoch: iterating gives one per step, ``more`` further ones that a step needs.

    Both take from the same epoch, and iteration ends with it. ``more`` then goes through the data again, in another
    order. ``batches`` has ``epoch(number)``, and ``wrap`` converts its tensors to a Batch.
    """

    def __init__(self, batches: Any, number: int, wrap: Callable[[dict[str, Tensor]], Batch]) -> None:
        self._batches, self._number, self._wrap, self._refills = batches, number, wrap, 0
        self._tensors = iter(batches.epoch(number))

    def __iter__(self) -> Iterator[Batch]:
        """At most as many batches as an epoch has, fewer if ``more`` took some."""
        for _ in range(len(self._batches)):
            tensors = next(self._tensors, None)
            if tensors is None:
                return
            yield self._wrap(tensors)

    def more(self) -> Batch:
        """A further batch inside a step."""
        tensors = next(self._tensors, None)
        if tensors is None:
            self._refills += 1
            self._tensors = iter(self._batches.epoch(self._number + 1_000_000 * self._refills))
            tensors = next(self._tensors)
        batch = self._wrap(tensors)
        batch.further = True
        return batch
