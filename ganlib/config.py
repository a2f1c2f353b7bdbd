"""Configurations: frozen dataclasses whose options state their types and ranges, with a strict round trip to JSON.

The types of the options are checked by pydantic. Use the aliases below, so that a range is written where the option is.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import types
import typing
from typing import Annotated, Any, Self

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from pydantic import AllowInfNan, ConfigDict, TypeAdapter, ValidationError

from ganlib.errors import ConfigError

Count = Annotated[int, Ge(1)]
"""A number of things: layers, units, steps."""
Whole = Annotated[int, Ge(0)]
"""A whole number; 0 turns something off."""
Weight = Annotated[float, Ge(0), AllowInfNan(False)]
"""A weight of a loss, a deviation, or another number of at least 0."""
Rate = Annotated[float, Gt(0), AllowInfNan(False)]
"""A learning rate, or another number above 0."""
Share = Annotated[float, Ge(0), Lt(1)]
"""A share, a decay or a probability in [0, 1)."""
Number = Annotated[float, AllowInfNan(False)]
"""Any finite number."""

_WORDING = {Ge: ("at least", "ge"), Gt: ("above", "gt"), Le: ("at most", "le"), Lt: ("below", "lt")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Base of every configuration. Subclasses are frozen keyword-only dataclasses of plain values.

    Lists become tuples, NumPy's numbers Python's, and whole numbers floats where an option's type needs it; nothing
    else is converted. Raises ConfigError on a value of another type or out of the option's range.
    """

    def __new__(cls, **given: Any) -> Self:
        """Remember which options were given."""
        made = super().__new__(cls)
        object.__setattr__(made, "_given", frozenset(given))
        return made

    def __post_init__(self) -> None:
        kind: Any = type(self)
        for name, hint in _hints(kind).items():
            object.__setattr__(self, name, checked(name, getattr(self, name), hint))

    @property
    def given(self) -> dict[str, Any]:
        """The options that were given by name, even with their default value, as JSON values."""
        return {name: value for name, value in self.to_dict().items() if name in self._given}  # type: ignore[attr-defined]

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary of JSON values; ``from_dict`` restores an equal object."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from a dictionary; raises ConfigError on an unknown key or a value of the wrong type."""
        names = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in names:
                close = difflib.get_close_matches(key, names, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise ConfigError(f"{cls.__name__} has no option {key!r}{hint} (options: {', '.join(names)})")
        if lacking := [f.name for f in dataclasses.fields(cls) if _required(f) and f.name not in values]:
            raise ConfigError(f"{cls.__name__} needs {', '.join(lacking)}")
        return cls(**values)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON Schema of the options, with their ranges and defaults."""
        return TypeAdapter(cls).json_schema()

    def replace(self, **changes: Any) -> Self:
        """A copy with some values changed; raises ConfigError on an unknown name."""
        return type(self).from_dict({**self.given, **changes})


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


@functools.cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint, config=ConfigDict(strict=True, arbitrary_types_allowed=True))


def checked(name: str, value: Any, hint: Any, what: str = "option") -> Any:
    """The value of an option whose type and range are ``hint``; raises ConfigError, naming ``what``, on others."""
    try:
        return _adapter(hint).validate_python(_plain_python(value))
    except ValidationError as error:
        found = {e["type"] for e in error.errors()}
        ranged = found & {"greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"}
        wanted = _describe_range(hint) if ranged else _describe(hint)
        raise ConfigError(f"{what} {name!r} must be {wanted}, not {value!r}") from None


def _plain_python(value: Any) -> Any:
    """Tuples for lists, as JSON has none, and Python's numbers for NumPy's."""
    if isinstance(value, list | tuple):
        return tuple(map(_plain_python, value))
    return value.item() if isinstance(value, np.generic) else value


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


# ------------------------------------------------------------------------------------------------ wording of types
_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "None"}


def _describe_range(hint: Any) -> str:
    """The range of an option, or of the numbers in it."""
    for part in _parts(hint):
        bounds = [m for m in getattr(part, "__metadata__", ()) if type(m) in _WORDING]
        if bounds:
            return " and ".join(f"{word} {getattr(m, key):g}" for m in bounds for word, key in [_WORDING[type(m)]])
    return "a finite number"


def _parts(hint: Any) -> list[Any]:
    return [hint, *(part for inner in typing.get_args(hint) for part in _parts(inner))]


def _describe(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _describe(args[0])
    if origin is typing.Literal:
        return "one of " + ", ".join(repr(arg) for arg in args)
    if origin is typing.Union or isinstance(hint, types.UnionType):
        return " or ".join(map(_describe, args))
    if origin is tuple:
        items = [_describe(arg) for arg in args if arg is not Ellipsis]
        return f"a list, each {items[0]}" if Ellipsis in args else f"a list of {len(items)}: {', '.join(items)}"
    return _NAMES.get(hint) or str(getattr(hint, "__name__", hint))
