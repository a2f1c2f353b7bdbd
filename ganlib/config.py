"""Frozen dataclass configurations with a strict round trip to plain dictionaries."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from typing import Any, ClassVar, Self

from ganlib.errors import ConfigError

# What an option of this name may be, in whatever model: names mean the same everywhere.
_COUNTS = {
    "latent_dim", "hidden", "generator_hidden", "width", "augmented", "text_dim", "embedding", "critic_steps",
    "penalty_every", "flow_steps", "walks", "rollouts",
}  # fmt: skip
_POSITIVE = {"learning_rate", "critic_learning_rate", "policy_learning_rate", "epsilon"}
_SHARES = {
    "dropout",
    "critic_dropout",
    "momentum",
    "betas",
    "discount",
    "mismatch",
    "first",
    "generator_share",
    "critic_share",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Base of every configuration. Subclasses are frozen keyword-only dataclasses of plain values."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _coerce(getattr(self, field.name), hints[field.name], field.name))

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

    def replace(self, **changes: Any) -> Self:
        """A copy with some values changed; raises ConfigError on an unknown name."""
        return type(self).from_dict({**self.to_dict(), **changes})


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig(Config):
    """Base of a model's options: numbers are at least 0, but for those that the class names as ``signed``; widths and
    other counts are at least 1, rates above 0, shares below 1. Raises ConfigError on others."""

    signed: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, int | float) and not isinstance(number, bool):
                    self._check_range(field.name, number, value)
            if field.name == "betas" and value is not None and len(value) != 2:
                raise ConfigError(f"option 'betas' must be two numbers, not {value!r}")

    def _check_range(self, name: str, number: float, value: Any) -> None:
        holds, wanted = number >= 0, "at least 0"
        if name in self.signed:
            holds, wanted = not math.isnan(number), "a number"
        elif name in _COUNTS:
            holds, wanted = number >= 1, "at least 1"
        elif name in _POSITIVE:
            holds, wanted = 0 < number < math.inf, "above 0"
        elif name in _SHARES:
            holds, wanted = 0 <= number < 1, "at least 0 and below 1"
        if not holds:
            raise ConfigError(f"option {name!r} must be {wanted}, not {value!r}")


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is field.default_factory is dataclasses.MISSING


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_dict()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _coerce(value: Any, hint: Any, name: str) -> Any:
    """Check ``value`` against a simple type hint, turning lists into tuples and ints into floats."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union or isinstance(hint, types.UnionType):
        for option in args:
            try:
                return _coerce(value, option, name)
            except ConfigError:
                continue
    elif origin is typing.Literal and value in args:
        return value
    elif origin is tuple and isinstance(value, list | tuple):
        return tuple(_coerce(item, args[0] if args else Any, name) for item in value)
    elif hint is Any:
        return value
    elif isinstance(hint, type):
        return _coerce_plain(value, hint, name)
    raise ConfigError(f"option {name!r} must be {_describe(hint)}, not {value!r}")


def _coerce_plain(value: Any, hint: type, name: str) -> Any:
    """As ``_coerce``, for hints that are classes."""
    if issubclass(hint, Config) and isinstance(value, dict):
        return hint.from_dict(value)
    if isinstance(value, bool) and hint in (int, float):
        raise ConfigError(f"option {name!r} must be {_describe(hint)}, not {value!r}")
    if hint is float and isinstance(value, int):
        return float(value)
    if isinstance(value, hint):
        return value
    raise ConfigError(f"option {name!r} must be {_describe(hint)}, not {value!r}")


def _describe(hint: Any) -> str:
    args = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(repr(arg) for arg in args)
    return getattr(hint, "__name__", None) or str(hint).replace("typing.", "")
