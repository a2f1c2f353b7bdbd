"""The toys of the library's models: a module per family of ``ganlib.models``, with ``TOYS`` by model name.

Problems that several models share are in ``points``, ``tables`` and ``images``. Models never import from here.
"""

from __future__ import annotations

import importlib

from ganlib.errors import ConfigError
from ganlib.testing.toy import Toy


def toy_of(name: str, family: str) -> Toy:
    """The toy of the library's model ``name``; raises ConfigError if there is none."""
    toys: dict[str, Toy] = {}
    if family != "custom":
        toys = importlib.import_module(f"ganlib.testing.toys.{family}").TOYS
    if name not in toys:
        raise ConfigError(f"model {name!r} has no toy problem; register it with one, register(..., toy=Toy(...))")
    return toys[name]
