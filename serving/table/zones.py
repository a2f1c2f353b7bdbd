"""Time zones by name: IANA's, and fixed offsets such as ``+05:30``."""

from __future__ import annotations

import re
from datetime import timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

_OFFSET = re.compile(r"^([+-])(\d\d):(\d\d)$")


@lru_cache(maxsize=256)
def zone(name: str) -> tzinfo:
    """The time zone of a name; raises ValueError, KeyError or OSError for an unknown name."""
    return fixed(name) or ZoneInfo(name)


def fixed(name: str) -> timezone | None:
    """The time zone of an offset ``+hh:mm``; None for other names."""
    found = _OFFSET.match(name)
    if not found:
        return None
    gap = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return timezone(-gap if found[1] == "-" else gap)
