"""Batches from main memory to the device that trains on them."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Full, Queue
from threading import Event, Thread
from typing import Any, TypeVar

import torch
from torch import Tensor

AHEAD = 2  # batches that are ready before they are needed
_POLL = 0.1  # seconds between checks of a waiting thread whether its reader is gone
Item = TypeVar("Item")


def delivered(batches: Iterator[dict[str, Tensor]], device: torch.device) -> Iterator[dict[str, Tensor]]:
    """The batches on a device, in their order.

    On a CPU each is computed when it is needed. For CUDA a thread computes up to three batches ahead, in pinned memory,
    from which they are copied while the device computes. The thread must not use torch's global generator, because
    training uses it at the same time.
    """
    if device.type == "cuda":
        batches = ahead({name: value.pin_memory() for name, value in tensors.items()} for tensors in batches)
    for tensors in batches:
        yield {name: value.to(device, non_blocking=True) for name, value in tensors.items()}


def ahead(items: Iterator[Item], depth: int = AHEAD) -> Iterator[Item]:
    """The items in their order, computed in a thread that is at most ``depth + 1`` of them ahead of the reader.

    An error is raised when its item is due. Closing the iterator ends the thread.
    """
    queue: Queue[tuple[bool, Any]] = Queue(depth)
    closed = Event()
    thread = Thread(target=_fill, args=(queue, items, closed), daemon=True, name="ganlib-batches")
    thread.start()
    try:
        while (found := queue.get())[0]:
            yield found[1]
        if found[1] is not None:
            raise found[1]
    finally:
        closed.set()
        thread.join()


def _fill(queue: Queue[tuple[bool, Any]], items: Iterator[Item], closed: Event) -> None:
    """Put ``(True, item)`` for each item, then ``(False, the error or None)``."""
    error: BaseException | None = None
    try:
        for item in items:
            if not _put(queue, (True, item), closed):
                return
    except BaseException as raised:  # handed to the reader
        error = raised
    _put(queue, (False, error), closed)


def _put(queue: Queue[tuple[bool, Any]], item: tuple[bool, Any], closed: Event) -> bool:
    while not closed.is_set():
        try:
            queue.put(item, timeout=_POLL)
        except Full:
            continue
        return True
    return False
