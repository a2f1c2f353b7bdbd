"""The log of a running stream: one line at the start, at a model switch, every minute and at the end."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import Any, Literal

from serving.errors import UsageError
from serving.secrets import without_secrets

LogFormat = Literal["text", "json"]
FORMATS = ("text", "json")
EVERY = 60.0


class Events:
    """Writes events to stderr, as text or as JSON lines with ``event``, ``time`` and the event's values."""

    def __init__(self, log_format: str = "text") -> None:
        if log_format not in FORMATS:
            raise UsageError(f"--log-format is {' or '.join(FORMATS)}, not {log_format!r}")
        self.as_json = log_format == "json"
        self._last = time.monotonic()

    def say(self, event: str, text: str, **values: Any) -> None:
        """Write one line; ``text`` is for people, ``values`` are for programs."""
        now = datetime.now(UTC)
        if self.as_json:
            line = json.dumps({"event": event, "time": now.isoformat(), "message": text, **values}, default=str)
        elif event == "warning":
            line = f"warning: {text}"
        else:
            line = f"{now:%Y-%m-%d %H:%M:%S} {event}: {text}"
        print(without_secrets(line) + "\n", end="", file=sys.stderr, flush=True)  # one write: threads log events, too

    def due(self) -> bool:
        """Whether a minute has passed since this was last true."""
        if time.monotonic() - self._last < EVERY:
            return False
        self._last = time.monotonic()
        return True
