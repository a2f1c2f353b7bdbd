"""Kinds of data: what one named field of an example is. A new kind is a new class here.

Each class states its ``kind``, the ``shape`` of one example (no batch axis), and checks a batch of values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ganlib.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

BlockKind = Literal["number", "binary", "category"]
# Rounding may carry pixels this far beyond [-1, 1].
SLACK = 0.01


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


def runs(blocks: Sequence[Block]) -> list[tuple[str, list[Block]]]:
    """Neighbouring blocks of one kind, in order, so that a long run of numbers costs one operation."""
    found: list[tuple[str, list[Block]]] = []
    for block in sorted(blocks, key=lambda b: b.start):
        if found and found[-1][0] == block.kind:
            found[-1][1].append(block)
        else:
            found.append((block.kind, [block]))
    return found


class Field:
    """One named part of an example. Its sizes are whole numbers above 0; ConfigError is raised for others."""

    kind: ClassVar[str]
    integral: ClassVar[bool] = False  # whether its values are whole numbers, int64

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.name != "blocks" and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                name = type(self).__name__
                raise ConfigError(f"{field.name} of {name} must be a whole number above 0; got {value!r}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return tuple(getattr(self, size.name) for size in fields(self))  # type: ignore[arg-type]

    @property
    def dim(self) -> int:
        """Number of values in one example."""
        return math.prod(self.shape)

    def check(self, values: Tensor, name: str) -> None:
        """Raise DataError unless ``values (n, *shape)`` can be trained on as this field; ``name`` is for messages."""
        if not values.is_floating_point():
            raise DataError(f"training data {name!r} are {values.dtype}; give floating-point numbers, x.float()")
        if tuple(values.shape[1:]) != self.shape:
            raise DataError(
                f"the model was built for examples of shape {self.shape}, and {name!r} has {tuple(values.shape[1:])}: "
                "build it with a DataSpec of that shape (images are channels, height, width)"
            )
        if bad := int((~values.isfinite()).sum()):
            raise DataError(f"{bad} training values of {name!r} are NaN or infinite: fill or drop them")


@dataclass(frozen=True)
class Vector(Field):
    """``size`` numbers: a point, an embedding, attributes, or a table row whose columns are ``blocks``."""

    kind: ClassVar[str] = "vector"
    size: int
    blocks: tuple[Block, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.blocks, tuple) or not all(isinstance(block, Block) for block in self.blocks):
            raise ConfigError(f"blocks must be a tuple of Block, one or more for each column; got {self.blocks!r}")

    @property
    def shape(self) -> tuple[int, ...]:
        """``(size,)``."""
        return (self.size,)


def _check_varied(values: Tensor, name: str) -> None:
    """Rows of a table may all be equal; images and series that are have nothing to learn from."""
    if len(values) > 1 and bool((values == values[:1]).all()):
        raise DataError(f"all training examples of {name!r} are the same: there is nothing to learn from them")


@dataclass(frozen=True)
class Series(Field):
    """Windows of a multivariate series, ``(channels, length)``."""

    kind: ClassVar[str] = "series"
    channels: int
    length: int

    def check(self, values: Tensor, name: str) -> None:
        """As every field; examples must differ."""
        super().check(values, name)
        _check_varied(values, name)


@dataclass(frozen=True)
class Image(Field):
    """Images ``(channels, height, width)`` with pixels in [-1, 1]."""

    kind: ClassVar[str] = "image"
    channels: int
    height: int
    width: int

    def check(self, values: Tensor, name: str) -> None:
        """As every field; examples must differ, and pixels lie in [-1, 1]."""
        super().check(values, name)
        _check_varied(values, name)
        if float(values.abs().max()) > 1 + SLACK:
            raise DataError(
                f"pixels of {name!r} run from {float(values.min()):g} to {float(values.max()):g}, and networks "
                "generate images in [-1, 1]: convert them with ganlib.data.images.to_tensor"
            )


@dataclass(frozen=True)
class Tokens(Field):
    """Sequences of ``length`` token ids from ``0`` to ``vocabulary - 1``."""

    kind: ClassVar[str] = "tokens"
    integral: ClassVar[bool] = True
    length: int
    vocabulary: int

    @property
    def shape(self) -> tuple[int, ...]:
        """``(length,)``."""
        return (self.length,)

    def check(self, values: Tensor, name: str) -> None:
        """Whole numbers of the right length within the vocabulary."""
        if values.is_floating_point() or tuple(values.shape[1:]) != self.shape:
            found = f"{values.dtype} {tuple(values.shape)}"
            raise DataError(f"sequences {name!r} are token numbers, int64 of shape (n, {self.length}); got {found}")
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= self.vocabulary:
            raise DataError(f"tokens run from {low} to {high}; the model knows 0 to {self.vocabulary - 1}")


def _range(values: Tensor, what: str) -> tuple[int, int]:
    """The least and the largest of one whole number an example; raises DataError for other data."""
    if values.is_floating_point() or values.ndim != 1:
        raise DataError(f"{what}, int64 of shape (n,); these are {values.dtype} of {tuple(values.shape)}")
    return int(values.min()), int(values.max())


@dataclass(frozen=True)
class Classes(Field):
    """One of ``count`` classes, an index from 0."""

    kind: ClassVar[str] = "classes"
    integral: ClassVar[bool] = True
    count: int

    @property
    def shape(self) -> tuple[int, ...]:
        """``()``: one index an example."""
        return ()

    def check(self, values: Tensor, name: str) -> None:
        """Whole numbers from 0 to ``count - 1``."""
        low, high = _range(values, f"labels {name} are class indices")
        if low < 0 or high >= self.count:
            raise DataError(
                f"labels run from {low} to {high}, and the model has classes 0 to {self.count - 1}: number them from "
                f"0, or build it with classes={high + 1}"
            )


@dataclass(frozen=True)
class LabelMap(Field):
    """One of ``labels`` classes for each pixel of an image of ``height`` and ``width``, an index from 0.

    Its number of classes is not that of the example: ``DataSpec.classes`` does not count it.
    """

    kind: ClassVar[str] = "label_map"
    integral: ClassVar[bool] = True
    labels: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, ...]:
        """``(height, width)``."""
        return (self.height, self.width)

    def check(self, values: Tensor, name: str) -> None:
        """Whole numbers from 0 to ``labels - 1``, of the right sides."""
        if values.is_floating_point() or tuple(values.shape[1:]) != self.shape:
            found = f"{values.dtype} {tuple(values.shape)}"
            raise DataError(
                f"label maps {name!r} are class indices, int64 of shape (n, {self.height}, {self.width}); got {found}"
            )
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= self.labels:
            raise DataError(
                f"labels of {name!r} run from {low} to {high}, and the model has 0 to {self.labels - 1}: number them "
                f"from 0, give pixels without a label one of their own, or build the model with labels={high + 1}"
            )


@dataclass(frozen=True)
class Lengths(Field):
    """How much of a padded sequence is data: a number from 1 to ``most``, the length of the padded one."""

    kind: ClassVar[str] = "lengths"
    integral: ClassVar[bool] = True
    most: int

    @property
    def shape(self) -> tuple[int, ...]:
        """``()``: one number an example."""
        return ()

    def check(self, values: Tensor, name: str) -> None:
        """Whole numbers from 1 to ``most``."""
        low, high = _range(values, f"lengths {name!r} are whole numbers")
        if low < 1 or high > self.most:
            raise DataError(
                f"lengths {name!r} run from {low} to {high}, and sequences have from 1 to {self.most} steps"
            )

    def mask(self, lengths: Tensor) -> Tensor:
        """1 where a padded sequence is data and 0 where it is padding, ``(n, most)``, from ``lengths (n,)``."""
        return (lengths.new_ones(self.most).cumsum(0) <= lengths.unsqueeze(1)).float()


@dataclass(frozen=True)
class Mask(Field):
    """1 where a field is data and 0 where it is missing or padding, of that field's ``sides``."""

    kind: ClassVar[str] = "mask"
    sides: tuple[int, ...]

    def __post_init__(self) -> None:
        wrong = not isinstance(self.sides, tuple) or not self.sides
        if wrong or not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in self.sides):
            raise ConfigError(f"sides of Mask must be a tuple of whole numbers above 0; got {self.sides!r}")

    @property
    def shape(self) -> tuple[int, ...]:
        """``sides``."""
        return self.sides

    def check(self, values: Tensor, name: str) -> None:
        """As every field; nothing but 0 and 1."""
        super().check(values, name)
        if bool(((values != 0) & (values != 1)).any()):
            raise DataError(f"mask {name!r} holds other values than 0 and 1: give mask.float() of a boolean mask")


KINDS: dict[str, type[Any]] = {
    field.kind: field for field in (Vector, Series, Image, Tokens, Classes, LabelMap, Lengths, Mask)
}
