"""Formatting of counts, lists and lines in messages."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from serving.secrets import without_secrets

MOST = 10


def counted(number: int, one: str, many: str = "") -> str:
    """``1 part``, ``1,000 parts``; ``many`` is an irregular plural."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def listed(names: Sequence[str], most: int = MOST) -> str:
    """``'a', 'b' and 3 more``: at most ``most`` names, each cut to 60 characters."""
    said = ", ".join(repr(name if len(name) <= 60 else name[:59] + "…") for name in names[:most])
    return said + (f" and {len(names) - most:,} more" if len(names) > most else "")


def printable(text: str) -> str:
    """``text`` on one line: line breaks and control characters are escaped, as ``\\n`` or ``\\x1b``."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shown(text: str) -> str:
    """``text`` safe to print: on one line, without secrets."""
    return printable(without_secrets(text))


def say(text: str) -> None:
    """Print one line on stderr; stdout carries results."""
    print(shown(text), file=sys.stderr, flush=True)
