"""The options of a model that can be tuned, and their ranges, from the types that its configuration declares.

An option is searched on a log scale from a quarter of its usual value to four times it, within the declared range:
numbers above 0 (``Rate``, ``Weight``, ``Share``), counts, and lists of counts such as widths, which are scaled by one
factor. Left alone are options that are 0, None or turned off, choices between words, and numbers without a lower bound.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Union

from annotated_types import Ge, Gt, Le, Lt

from ganlib.config import Config, Count

FACTOR = 4.0


@dataclass(frozen=True)
class Dimension:
    """One option, searched from ``low`` to ``high`` on a log scale; ``whole`` if it is a count.

    Of a list of counts, ``widths``, the searched number is the factor by which all of them are multiplied.
    """

    name: str
    usual: float
    low: float
    high: float
    whole: bool = False
    widths: tuple[int, ...] = ()

    def option(self, number: float) -> Any:
        """The option's value for a searched number."""
        return tuple(max(1, round(width * number)) for width in self.widths) if self.widths else number


def search_space(kind: type[Config], usual: Mapping[str, Any], fixed: Collection[str] = ()) -> tuple[Dimension, ...]:
    """The options of a configuration that can be tuned, without those ``fixed``.

    ``usual`` holds the values of an untuned model: ranges lie around them.
    """
    hints = typing.get_type_hints(kind, include_extras=True)
    found = (_dimension(name, value, hints[name]) for name, value in usual.items() if name not in fixed)
    return tuple(dimension for dimension in found if dimension is not None)


def shorter(budget: int) -> Dimension:
    """Training steps, from a quarter of the usual budget up to it."""
    return Dimension("steps", budget, max(1, round(budget / FACTOR)), budget, whole=True)


def _dimension(name: str, usual: Any, hint: Any) -> Dimension | None:
    """The dimension of one option; None if it cannot be tuned."""
    for part in _alternatives(hint):
        if _is_widths(part) and usual:
            return Dimension(name, 1.0, 1 / FACTOR, FACTOR, widths=tuple(usual))
        if typing.get_origin(part) is Annotated and _is_positive(usual):
            return _number(name, usual, part)
    return None


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """The types that an annotation allows."""
    if typing.get_origin(hint) is Union or isinstance(hint, types.UnionType):
        return typing.get_args(hint)
    return (hint,)


def _is_widths(hint: Any) -> bool:
    """Whether a type is a list of counts, of any or a fixed length."""
    items = set(typing.get_args(hint)) - {Ellipsis} if typing.get_origin(hint) is tuple else set()
    return items == {Count}


def _is_positive(usual: Any) -> bool:
    return isinstance(usual, int | float) and not isinstance(usual, bool) and usual > 0


def _number(name: str, usual: float, hint: Any) -> Dimension | None:
    """The range of a number within its declared bounds; None if it has no lower bound, or no room within them."""
    bounds: dict[type, Any] = {type(mark): mark for mark in hint.__metadata__ if isinstance(mark, Ge | Gt | Le | Lt)}
    if not {Ge, Gt} & bounds.keys():
        return None
    low, high = usual / FACTOR, usual * FACTOR
    if Ge in bounds:
        low = max(low, bounds[Ge].ge)
    if Gt in bounds:
        low = max(low, bounds[Gt].gt + (usual - bounds[Gt].gt) / FACTOR)
    if Le in bounds:
        high = min(high, bounds[Le].le)
    if Lt in bounds:
        high = min(high, bounds[Lt].lt - (bounds[Lt].lt - usual) / FACTOR)
    whole = typing.get_args(hint)[0] is int
    if whole:
        low, high = max(1, round(low)), round(high)
    return Dimension(name, usual, low, high, whole) if low < high else None
