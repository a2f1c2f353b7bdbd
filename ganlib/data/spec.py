"""What a model may know of its data: the named fields of one example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from ganlib.data.fields import (
    KINDS,
    Block,
    BlockKind,
    Classes,
    Field,
    Image,
    LabelMap,
    Lengths,
    Mask,
    Series,
    Tokens,
    Vector,
)
from ganlib.errors import ConfigError

__all__ = [
    "Block", "BlockKind", "Classes", "DataSpec", "Field", "Image", "LabelMap", "Lengths", "Mask", "Series", "Tokens",
    "Vector",
]  # fmt: skip
F = TypeVar("F", bound=Field)
_LABELLED = "labelled_"


@dataclass(frozen=True, init=False)
class DataSpec:
    """The fields of one example by name, such as ``DataSpec({"x": Image(1, 28, 28), "y": Classes(10)})``.

    ``x`` is what a model learns to detect, generate or translate; every spec has it. By convention ``y`` is the class,
    of the example (``Classes``) or of each pixel (``LabelMap``), ``c`` a vector of attributes (or of an embedded text)
    that examples are described by, ``x_b`` the second domain of a translator, and ``NAME_length`` or ``NAME_mask`` how
    much of field NAME is data rather than padding. Other names are free: a model reads the fields it knows (``need``).
    The kind of a field is stated, never inferred from a shape. Raises ConfigError if ``x`` is missing or a value is not
    a field.
    """

    fields: Mapping[str, Field]

    def __init__(self, fields: Mapping[str, Field]) -> None:
        if not isinstance(fields, Mapping):
            raise ConfigError(
                f"a DataSpec names its fields; got {fields!r}. Use DataSpec.image(1, 28, 28), DataSpec.vector(2), "
                'DataSpec.series(3, 50) or DataSpec({"x": ...})'
            )
        if wrong := [name for name, field in fields.items() if not isinstance(field, Field)]:
            raise ConfigError(
                f"field {wrong[0]!r} is {fields[wrong[0]]!r}; give a kind of data, such as Image(1, 28, 28)"
            )
        if "x" not in fields:
            raise ConfigError(f"a DataSpec has a field x, the data itself; got {', '.join(fields) or 'no field'}")
        object.__setattr__(self, "fields", dict(fields))

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.fields.items(), key=lambda item: item[0])))

    # ---------------------------------------------------------------- building one
    @classmethod
    def of(cls, x: Field, classes: int = 0, attributes: int = 0) -> DataSpec:
        """Data ``x``, with a class and attributes unless their number is 0."""
        given: dict[str, Field] = {"x": x}
        if classes:
            given["y"] = Classes(classes)
        if attributes:
            given["c"] = Vector(attributes)
        return cls(given)

    @classmethod
    def vector(cls, dim: int, classes: int = 0, attributes: int = 0) -> DataSpec:
        """``dim`` plain numbers per example."""
        return cls.of(Vector(dim, tuple(Block(f"x{i}", "number", i) for i in range(dim))), classes, attributes)

    @classmethod
    def table(cls, blocks: tuple[Block, ...], classes: int = 0) -> DataSpec:
        """Encoded table rows whose columns are ``blocks``."""
        return cls.of(Vector(max((block.stop for block in blocks), default=0), blocks), classes)

    @classmethod
    def image(cls, channels: int, height: int, width: int, classes: int = 0, attributes: int = 0) -> DataSpec:
        """Images with pixels in [-1, 1]."""
        return cls.of(Image(channels, height, width), classes, attributes)

    @classmethod
    def series(cls, channels: int, length: int, classes: int = 0, attributes: int = 0) -> DataSpec:
        """Windows of a series."""
        return cls.of(Series(channels, length), classes, attributes)

    @classmethod
    def tokens(cls, length: int, vocabulary: int) -> DataSpec:
        """Sequences of token ids."""
        return cls.of(Tokens(length, vocabulary))

    # ---------------------------------------------------------------- reading it
    def field_of(self, name: str) -> Field | None:
        """The field that training data of this name belong to; None if the spec has none.

        ``labelled_x`` and ``labelled_y``, the few examples with labels, are as ``x`` and ``y``. A second domain that
        is not described is like the first.
        """
        name = name.removeprefix(_LABELLED)
        return self.fields.get(name) or (self.fields["x"] if name == "x_b" else None)

    def need(self, name: str, *kinds: type[F]) -> F:
        """The field of this name, for a model that cannot do without it; ConfigError if it is missing or of a kind that
        is not among ``kinds``."""
        field, wanted = self.fields.get(name), " or ".join(kind.__name__ for kind in kinds)
        if not isinstance(field, kinds):
            found = "this spec has none" if field is None else f"this spec has {field!r}"
            raise ConfigError(
                f'this model needs a field {name!r} of kind {wanted}, and {found}: give DataSpec({{"x": ..., '
                f"{name!r}: {kinds[0].__name__}(...)}})"
            )
        return field

    @property
    def x(self) -> Field:
        """The field of the data itself."""
        return self.fields["x"]

    @property
    def kind(self) -> str:
        """Kind of ``x``: ``vector`` (a table row or a point), ``series``, ``image`` or ``tokens``."""
        return self.x.kind

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one ``x``."""
        return self.x.shape

    @property
    def dim(self) -> int:
        """Number of values in one ``x``."""
        return self.x.dim

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Columns of a table row; empty for other data."""
        return getattr(self.x, "blocks", ())

    @property
    def vocabulary(self) -> int:
        """Number of different tokens in ``x``; 0 for other data."""
        return getattr(self.x, "vocabulary", 0)

    @property
    def classes(self) -> int:
        """Number of classes ``y``, 0 if there are none."""
        return getattr(self.fields.get("y"), "count", 0)

    @property
    def attributes(self) -> int:
        """Width of the attributes ``c (n, attributes)``, 0 if there are none or ``c`` is not a Vector."""
        found = self.fields.get("c")
        return found.dim if isinstance(found, Vector) else 0

    @property
    def condition(self) -> int:
        """Width of the condition: one-hot class and attributes."""
        return self.classes + self.attributes

    # ---------------------------------------------------------------- persistence
    def to_dict(self) -> dict[str, Any]:
        """JSON values: each field's kind and sizes."""
        return {name: {"kind": field.kind} | _plain(asdict(field)) for name, field in self.fields.items()}  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, values: Mapping[str, Mapping[str, Any]]) -> DataSpec:
        """Inverse of ``to_dict``; raises ConfigError for unknown kinds or sizes."""
        return cls({name: _field(name, dict(given)) for name, given in values.items()})


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Lists for tuples, as JSON gives them back; no blocks if there are none."""
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items() if v != ()}


def _field(name: str, given: dict[str, Any]) -> Field:
    kind = given.pop("kind", None)
    if kind not in KINDS:
        raise ConfigError(f"field {name!r} is of kind {kind!r}; choose {', '.join(KINDS)}")
    try:
        if "blocks" in given:
            given["blocks"] = tuple(Block(**block) for block in given["blocks"])
        given = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
        made: Field = KINDS[kind](**given)
    except TypeError as error:
        raise ConfigError(f"field {name!r} of kind {kind}: {error}") from error
    return made
