"""The order of rows in training: fixed by a seed and an epoch, so that a resumed run reads the same batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor

from ganlib.errors import ConfigError


@dataclass(frozen=True)
class Order:
    """Batches of ``batch_size`` row numbers out of ``rows``.

    With ``shuffle``, an epoch's smaller rest is dropped, because statistics of a few rows harm batch norm.
    """

    rows: int
    batch_size: int
    seed: int = 0
    shuffle: bool = True

    def __len__(self) -> int:
        """Batches per epoch."""
        return max(1, self.rows // self.batch_size) if self.shuffle else -(-self.rows // self.batch_size)

    def of(self, epoch: int) -> Tensor:
        """All row numbers in the epoch's order."""
        if not self.shuffle:
            return torch.arange(self.rows)
        return torch.randperm(self.rows, generator=torch.Generator().manual_seed(epoch_seed(self.seed, epoch)))

    def batches(self, epoch: int) -> Iterator[Tensor]:
        """The row numbers of each batch of an epoch."""
        order = self.of(epoch)
        for index in range(len(self)):
            yield order[index * self.batch_size : (index + 1) * self.batch_size]


def epoch_seed(seed: int, epoch: int, stream: int = 0) -> int:
    """Seed of an epoch's random numbers; use another ``stream`` for each independent purpose."""
    return ((seed * 1_000_003 + epoch) ^ stream) % 2**63


def check_batch_size(batch_size: int) -> None:
    """Raise ConfigError unless it is a whole number of at least 1."""
    if not isinstance(batch_size, Integral) or batch_size < 1:
        raise ConfigError(f"batch_size must be a whole number, at least 1, not {batch_size!r}")
