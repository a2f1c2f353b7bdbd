"""Mini-batches from tensors held in memory (or on the device), in an order that a seed and an epoch fix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ganlib.errors import DataError


class TensorBatches:
    """Shuffled mini-batches of equally long tensors, without a DataLoader (an index is 10 times cheaper).

    The order depends on (seed, epoch) only, so a resumed run sees the same batches. The last, smaller batch of an
    epoch is dropped unless it is the only one: batch statistics of a handful of rows do more harm than good.
    Raises DataError where tensors differ in length or are empty.
    """

    def __init__(self, tensors: Mapping[str, Tensor], batch_size: int, seed: int = 0, shuffle: bool = True) -> None:
        lengths = {name: len(value) for name, value in tensors.items()}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise DataError(f"training tensors must be equally long and not empty; lengths: {lengths}")
        self.tensors, self.seed, self.shuffle = dict(tensors), seed, shuffle
        self.rows = next(iter(lengths.values()))
        self.batch_size = min(batch_size, self.rows)

    def __len__(self) -> int:
        """Batches per epoch."""
        return max(1, self.rows // self.batch_size) if self.shuffle else -(-self.rows // self.batch_size)

    def to(self, device: torch.device) -> TensorBatches:
        """The same batches with the data kept on a device."""
        moved = {name: value.to(device) for name, value in self.tensors.items()}
        return TensorBatches(moved, self.batch_size, self.seed, self.shuffle)

    def epoch(self, number: int) -> Iterator[dict[str, Tensor]]:
        """The batches of one epoch."""
        if self.shuffle:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + number) % 2**63)
            order = torch.randperm(self.rows, generator=generator).to(next(iter(self.tensors.values())).device)
            shuffled = {name: value[order] for name, value in self.tensors.items()}
        else:
            shuffled = self.tensors
        for i in range(len(self)):
            part = slice(i * self.batch_size, (i + 1) * self.batch_size)
            yield {name: value[part] for name, value in shuffled.items()}
