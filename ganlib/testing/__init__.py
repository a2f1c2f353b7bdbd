"""Checks for models: a toy problem for each, and the laws that every registered model obeys.

``check_model(MyModel)`` checks a registered model; ``laws_of(entry)`` yields its laws, so that any test runner can
run them one by one (``law(entry)`` raises AssertionError).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ganlib.testing.toy import Toy

if TYPE_CHECKING:
    from ganlib.testing.law import Law
    from ganlib.testing.laws import check_model, laws_of

__all__ = ["Law", "Toy", "check_model", "laws_of"]
_LAZY = {"Law": "law", "check_model": "laws", "laws_of": "laws"}


def __getattr__(name: str) -> Any:
    """Laws import the Trainer; a toy does not need it."""
    if name in _LAZY:
        return getattr(importlib.import_module(f"ganlib.testing.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'ganlib.testing' has no attribute {name!r}")
