"""Types and ranges of the options of image transforms."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from ganlib.config import Config
from ganlib.errors import ConfigError

Fraction = Annotated[float, Ge(0), Le(1)]
"""A probability, or a share of a side or of a value, in [0, 1]."""
Pixel = Annotated[float, Ge(-1), Le(1)]
"""A value that pixels are filled with, in [-1, 1]."""


@dataclass(frozen=True, kw_only=True)
class TransformOptions(Config):
    """Base of the transforms. A pair of numbers is a range to sample from.

    Raises ConfigError if a value is out of its range, or if a pair falls.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple) and len(value) == 2 and value[0] > value[1]:
                raise ConfigError(f"option {field.name!r} must be two rising values, not {value}")
