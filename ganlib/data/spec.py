"""What a model may know of its data: the shape of one example and what its positions mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ganlib.errors import ConfigError

BlockKind = Literal["number", "binary", "category"]


@dataclass(frozen=True)
class Block:
    """A run of positions in an encoded table row.

    ``number`` and ``binary`` have width 1 (a scaled value, a 0/1 flag); ``category`` is one-hot of ``width``.
    ``column`` is the raw column the block belongs to.
    """

    column: str
    kind: BlockKind
    start: int
    width: int = 1

    @property
    def stop(self) -> int:
        """One past the last position."""
        return self.start + self.width

    @property
    def slice(self) -> slice:
        """The block's positions."""
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class DataSpec:
    """Shape of one encoded example (no batch axis), its blocks if it is a table row, and the number of classes.

    ``classes`` is 0 for data without labels; labels are int64 class indices ``0..classes-1``.
    ``vocabulary`` is the number of tokens where examples are sequences of token ids, else 0. ``attributes`` is the
    number of continuous attributes ``c (n, attributes)`` that examples are described by, else 0. Raises ConfigError
    on sides, blocks or counts that cannot be.
    """

    shape: tuple[int, ...]
    blocks: tuple[Block, ...] = ()
    classes: int = 0
    vocabulary: int = 0
    attributes: int = 0

    def __post_init__(self) -> None:
        shape = (self.shape,) if isinstance(self.shape, int) else tuple(self.shape)
        counts = (self.classes, self.vocabulary, self.attributes)
        if not shape or any(not isinstance(side, int) or side < 1 for side in shape):
            raise ConfigError(f"a shape is a tuple of whole numbers above 0, such as (1, 28, 28); got {self.shape!r}")
        if any(not isinstance(count, int) or count < 0 for count in counts):
            raise ConfigError(f"classes, vocabulary and attributes are whole numbers, 0 or more; got {counts}")
        if not isinstance(self.blocks, tuple) or not all(isinstance(block, Block) for block in self.blocks):
            raise ConfigError(
                f"blocks are a tuple of Block, a table row's columns; got {self.blocks!r}: name the number of classes, "
                "DataSpec((1, 28, 28), classes=10)"
            )
        object.__setattr__(self, "shape", shape)

    @property
    def dim(self) -> int:
        """Number of values in one example."""
        size = 1
        for side in self.shape:
            size *= side
        return size

    @property
    def kind(self) -> str:
        """``vector`` (a table row or a point), ``series`` (channels, length) or ``image`` (channels, height, width)."""
        return {2: "series", 3: "image"}.get(len(self.shape), "vector")

    @property
    def condition(self) -> int:
        """Width of the condition: one-hot class and attributes."""
        return self.classes + self.attributes

    @classmethod
    def vector(cls, dim: int, classes: int = 0) -> DataSpec:
        """``dim`` plain numbers per example."""
        return cls((dim,), tuple(Block(f"x{i}", "number", i) for i in range(dim)), classes)
