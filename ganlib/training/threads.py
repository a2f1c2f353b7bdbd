"""The number of torch threads of a run: a given one, or the faster of one and torch's default, timed on its steps."""

from __future__ import annotations

import statistics
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch

# Which number each step uses, torch's default (0) or one thread (1): two steps to warm up, then the Thue-Morse order,
# in which work of every second or fourth step (a lazy penalty) falls on both equally often.
_TURNS = (0, 1, 0, 1, 1, 0, 1, 0, 0, 1)
_WARM_UP = 2
_ENOUGH = 2  # steps timed with each number before one that is clearly slower is dropped
# By kind of run, the numbers of its first steps and the choice, so that a second run rounds as the first did.
_MEASURED: dict[Hashable, tuple[tuple[int, ...], int]] = {}


class Threads:
    """The number of threads of a run: a given one, else 1 or torch's default.

    Two steps warm up, one with each number, and up to eight are timed. These are ordinary steps of the run: none is
    added or repeated. The default is chosen only if its slowest step was faster than the median with one thread: on a
    busy machine most of its steps can be fast, and a few many times slower. Timing ends early if its fastest step is
    slower than the slowest with one thread.

    Nothing is timed if ``requested`` is a number, if ``measure`` is False, if the default is 1, or if ``known`` is the
    choice of the run that is resumed. If a run of the same ``kind`` was timed in this process, its numbers are used
    again, step by step. ``chosen`` is None until the number is known.
    """

    def __init__(
        self, requested: int | Literal["auto"], measure: bool = True, known: int | None = None, kind: Hashable = None
    ) -> None:
        self._default = torch.get_num_threads()
        self._kind = (kind, self._default)
        turns = tuple((self._default, 1)[turn] for turn in _TURNS)
        self._outcome: int | None
        self._plan, self._outcome = _MEASURED.get(self._kind, (turns, None))
        self._seconds: dict[int, list[float]] = {self._default: [], 1: []}
        self._used: list[int] = []
        self.chosen: int | None = None
        if requested != "auto":
            self._choose(requested)
        elif known in self._seconds:
            self._choose(known)
        elif not measure or self._default == 1:
            self._choose(self._default)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Run a step in this context, with the chosen number or the next one to time."""
        if self.chosen is not None:
            yield
            return
        count = self._plan[len(self._used)]
        torch.set_num_threads(count)
        start = time.perf_counter()
        yield
        self._used.append(count)
        if len(self._used) > _WARM_UP and self._outcome is None:
            self._seconds[count].append(time.perf_counter() - start)
            self._judge(self._seconds[self._default], self._seconds[1])
        elif len(self._used) == len(self._plan) and self._outcome is not None:
            self._choose(self._outcome)

    def _judge(self, many: Sequence[float], one: Sequence[float]) -> None:
        """Choose once it is clear which is faster."""
        lost = min(len(many), len(one)) >= _ENOUGH and min(many) > max(one)
        if lost or len(self._used) == len(self._plan):
            self._choose(self._default if not lost and max(many) < statistics.median(one) else 1)
            _MEASURED[self._kind] = tuple(self._used), self.chosen or 1

    def _choose(self, count: int) -> None:
        self.chosen = count
        torch.set_num_threads(count)

    def __str__(self) -> str:
        """The number and, if it was measured, milliseconds a step."""
        if self.chosen is None:
            return f"threads {self._default} (too few steps to measure)"
        medians = {count: 1000 * statistics.median(taken) for count, taken in sorted(self._seconds.items()) if taken}
        measured = ", ".join(f"{count}: {median:.2f} ms a step" for count, median in medians.items())
        return f"threads {self.chosen}" + (f" ({measured})" if measured else "")
