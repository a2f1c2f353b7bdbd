"""Counts and lists as messages say them."""

from __future__ import annotations

from collections.abc import Sequence

MOST = 10


def counted(number: int, one: str, many: str = "") -> str:
    """``1 part``, ``1,000 parts``; ``many`` where an s at the end does not do."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def listed(names: Sequence[str], most: int = MOST) -> str:
    """``'a', 'b' and 3 more``: at most ``most`` names, each cut to 60 characters."""
    said = ", ".join(repr(name if len(name) <= 60 else name[:59] + "…") for name in names[:most])
    return said + (f" and {len(names) - most:,} more" if len(names) > most else "")
