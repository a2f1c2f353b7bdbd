"""Requests of one model that wait together become one call of its session."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from serving.service.rejected import busy

LONGEST_RETRY = 60


class Work(Protocol):
    """What is batched: a number of rows, and a key that all requests of a batch share."""

    @property
    def rows(self) -> int:
        """The number of rows."""

    @property
    def key(self) -> Hashable:
        """Requests with equal keys can share a batch."""


@dataclass(eq=False)
class _Waiting:
    work: Any
    done: asyncio.Future[Any]
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """Runs waiting requests in a thread, several at a time.

    ``run`` takes the requests of a batch and returns a result or an exception for each. A batch has at most
    ``capacity()`` rows, unless a single request has more. A request that arrives when nothing runs is run at once. If
    several wait, the batch starts when it is full, or when the first has waited for ``wait`` seconds.
    """

    def __init__(
        self, run: Callable[[Sequence[Any]], Sequence[Any]], capacity: Callable[[], int], wait: float, most: int
    ) -> None:
        self._run, self._capacity, self._wait, self._most = run, capacity, wait, most
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._driver: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scoring")
        self._rate = 0.0

    def __len__(self) -> int:
        """The number of requests that wait."""
        return len(self._queue)

    @property
    def rows(self) -> int:
        """The number of rows that wait."""
        return sum(one.work.rows for one in self._queue)

    def retry_after(self) -> int:
        """Seconds until the waiting rows are scored, by the measured rate; from 1 to 60."""
        seconds = self.rows / self._rate if self._rate else 1.0
        return min(max(math.ceil(seconds), 1), LONGEST_RETRY)

    async def score(self, work: Work) -> Any:
        """The result of one request; raises its exception, and Rejected (503) if too many wait."""
        if len(self._queue) >= self._most:
            raise busy(f"{len(self._queue):,} requests wait for this model already; try again later",
                       self.retry_after())  # fmt: skip
        one = _Waiting(work, asyncio.get_running_loop().create_future())
        self._queue.append(one)
        self._arrived.set()
        if self._driver is None:
            self._driver = asyncio.create_task(self._drive())
        try:
            return await one.done
        except asyncio.CancelledError:
            if one in self._queue:
                self._queue.remove(one)
            raise

    def close(self) -> None:
        """End the thread once its batch is done."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _drive(self) -> None:
        try:
            while self._queue:
                if len(self._queue) > 1:
                    await self._gather()
                if batch := self._take():
                    await self._score(batch)
        finally:
            self._driver = None

    async def _gather(self) -> None:
        """Wait until the batch is full, or its first request has waited long enough."""
        until = self._queue[0].since + self._wait
        while self._queue and self.rows < self._capacity() and (left := until - time.monotonic()) > 0:
            self._arrived.clear()
            try:
                async with asyncio.timeout(left):
                    await self._arrived.wait()
            except TimeoutError:
                return

    def _take(self) -> list[_Waiting]:
        """The first request, and the next ones with the same key while they fit; others keep their order."""
        batch: list[_Waiting] = []
        rest: deque[_Waiting] = deque()
        room = self._capacity()
        while self._queue:
            one = self._queue.popleft()
            if not batch or (one.work.key == batch[0].work.key and one.work.rows <= room):
                batch.append(one)
                room -= one.work.rows
            else:
                rest.append(one)
        self._queue = rest
        return batch

    async def _score(self, batch: list[_Waiting]) -> None:
        began = time.monotonic()
        works = [one.work for one in batch]
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._thread, self._run, works)
        except Exception as error:
            results = [error] * len(batch)
        rate = sum(work.rows for work in works) / max(time.monotonic() - began, 1e-6)
        self._rate = rate if not self._rate else 0.8 * self._rate + 0.2 * rate
        for one, result in zip(batch, results, strict=True):
            if one.done.done():
                continue
            if isinstance(result, BaseException):
                one.done.set_exception(result)
            else:
                one.done.set_result(result)
