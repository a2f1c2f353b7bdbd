"""Progress on stderr: a bar after two seconds on a terminal, and a line per minute elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from serving.wording import say

QUIET, EVERY = 2.0, 60.0


class Progress:
    """Counts rows; prints nothing for runs of less than two seconds."""

    def __init__(self, total: int, done: int = 0) -> None:
        self.total, self.done = total, done
        self._began = self._said = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        return self

    def advance(self, rows: int) -> None:
        """Count committed rows and update the display."""
        self.done += rows
        now = time.monotonic()
        if not sys.stderr.isatty():
            if now - self._said >= EVERY:
                self._said = now
                share = self.done / max(self.total, 1)
                say(f"{self.done:,} of {self.total:,} rows scored ({share:.0%})")
        elif self._bar is not None or now - self._began >= QUIET:
            self._show()

    def _show(self) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import Progress as Bar

            self._bar = Bar(console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("scoring", total=self.total)
        self._bar.update(self._task, completed=self.done)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
