"""`status` and `verify` of any output: a folder, a stream's files, or a shared Redis stream."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving.redis import is_redis, leaf

Figures = dict[str, Any]


def status(place: str) -> tuple[Figures, Callable[[], str]]:
    """Figures of an output, and a function that makes text of them.

    Raises UsageError if the place holds no output, TemporaryError if its database is locked, and DependencyError if its
    server does not answer.
    """
    if not is_redis(place):
        from serving import status as local

        found = local.status(Path(place))
        return found, lambda: local.text(found)
    shared = leaf("report")
    figures = shared.status(place)
    return figures, lambda: "\n".join(shared.status_lines(figures))


def verify(place: str) -> tuple[Figures, str]:
    """Counts of a verified output, and one line of text; raises UsageError and IntegrityError."""
    if not is_redis(place):
        from serving import verify as local

        found = local.verify(Path(place))
        return found, local.line(found)
    shared = leaf("report")
    counts = shared.verify(place)
    return counts, shared.verify_line(counts)
