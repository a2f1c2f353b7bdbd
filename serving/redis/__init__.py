"""Streams of Redis: addresses and entries, and workers that share one (docs/delivery.md, "Shared streams").

This file needs no redis-py, which the extra `redis` installs; the modules beside it do.
"""

from __future__ import annotations

import importlib
from typing import Any

from serving.errors import UsageError


def is_redis(place: object) -> bool:
    """Whether a place is the URL of a Redis key."""
    return str(place).startswith(("redis://", "rediss://"))


def leaf(name: str) -> Any:
    """A module of this folder; raises UsageError if redis-py is not installed."""
    try:
        return importlib.import_module(f"serving.redis.{name}")
    except ImportError as error:
        raise UsageError("a redis:// output needs an extra: pip install 'ganlib[redis]'") from error
