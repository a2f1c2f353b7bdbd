"""Named crash points: for tests, ``GANLIB_CRASH_AT=point[:n]`` makes the process kill itself (docs/delivery.md)."""

from __future__ import annotations

import os
import signal

_passed: dict[str, int] = {}


def crash_point(name: str) -> None:
    """Kill this process (SIGKILL) if ``GANLIB_CRASH_AT`` names this point."""
    wanted = os.environ.get("GANLIB_CRASH_AT")
    if wanted is None:
        return
    point, _, times = wanted.partition(":")
    if point == name:
        _passed[name] = _passed.get(name, 0) + 1
        if _passed[name] == int(times or 1):
            os.kill(os.getpid(), signal.SIGKILL)
