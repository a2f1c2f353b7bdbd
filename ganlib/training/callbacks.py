"""Observers of a training run, such as a progress bar."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from ganlib.training.algorithm import Algorithm


class Callback(Protocol):
    """Called by the Trainer; any method may raise an exception to stop the run."""

    def on_step(self, step: int, budget: int, losses: dict[str, float] | None) -> None:
        """Called after each step; ``losses`` are the means since the last report, None between reports."""

    def on_end(self) -> None:
        """Called after the last step, also if training fails."""


@runtime_checkable
class Watching(Callback, Protocol):
    """A callback that also reads the model in training, such as one that measures it."""

    def on_start(self, algorithm: Algorithm) -> None:
        """Called before the first step, with the model on its device; its weights change with each step."""


class ProgressBar:
    """A rich progress bar on stderr, shown after two seconds and only on a terminal."""

    def __init__(self, title: str, delay: float = 2.0) -> None:
        self.title, self.delay = title, delay
        self._start = time.monotonic()
        self._bar: Any = None
        self._task: Any = None
        self._quiet = not sys.stderr.isatty()

    def on_step(self, step: int, budget: int, losses: dict[str, float] | None) -> None:
        """Advance the bar; show the losses when they are reported."""
        if self._quiet or (self._bar is None and time.monotonic() - self._start < self.delay):
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[losses]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=budget, losses="")
        fields = {"losses": "  ".join(f"{k} {v:.4g}" for k, v in losses.items())} if losses else {}
        self._bar.update(self._task, completed=step, **fields)

    def on_end(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
