"""Averages gradients over the ranks of a run while the backward pass is still running."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ganlib.training.ranks import Ranks

BUCKET = 1 << 23  # values in one message, large enough to make its start-up cost negligible


@dataclass
class _Bucket:
    """Parameters of one type, whose gradients are sent in one message."""

    parameters: list[nn.Parameter]
    waiting: int = 0
    finish: Callable[[], Tensor] | None = None


class Gradients:
    """The gradients of one phase's parameters, replaced by their means over the ranks.

    Messages are sent in a fixed order, those of the last layers first, as the backward pass computes them. Nothing is
    read from the device unless a parameter has no gradient on this rank.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], ranks: Ranks, size: int = BUCKET) -> None:
        self.parameters, self.ranks = list(parameters), ranks
        self.buckets: list[_Bucket] = []
        for parameter in reversed(self.parameters):
            last = self.buckets[-1].parameters if self.buckets else []
            fits = bool(last) and last[0].dtype == parameter.dtype
            if not fits or sum(p.numel() for p in last) + parameter.numel() > size:
                self.buckets.append(_Bucket([]))
            self.buckets[-1].parameters.append(parameter)
        self._sent = 0

    @contextmanager
    def during_backward(self, overlap: bool) -> Iterator[None]:
        """Run the backward pass in this context, and with ``overlap`` send each bucket as soon as it is complete.

        Otherwise, buckets are sent by ``average``. This is needed if the loss itself communicates in the backward pass
        (``Batch.mean``), because the order of its messages and these could then differ between ranks.
        """
        self._sent, handles = 0, []
        for bucket in self.buckets:
            bucket.waiting = len(bucket.parameters)
            if overlap:
                for parameter in bucket.parameters:
                    handles.append(parameter.register_post_accumulate_grad_hook(partial(self._ready, bucket)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _ready(self, bucket: _Bucket, _: Tensor) -> None:
        bucket.waiting -= 1
        while self._sent < len(self.buckets) and not self.buckets[self._sent].waiting:
            self._send()

    def _send(self) -> None:
        """Send the next bucket; a missing gradient counts as zeros."""
        bucket = self.buckets[self._sent]
        self._sent += 1
        pieces = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket.parameters]
        wide = torch.promote_types(pieces[0].dtype, torch.float32)
        bucket.finish = self.ranks.start_sum(torch.cat([piece.reshape(-1).to(wide) for piece in pieces]))

    @torch.no_grad()
    def average(self, bad: Tensor) -> Tensor:
        """Send the remaining buckets, wait, and set the means; returns whether ``bad`` is set on any rank, as a tensor.

        A parameter without a gradient on any rank stays without one, so that its optimiser skips it.
        """
        while self._sent < len(self.buckets):
            self._send()
        held = torch.tensor([float(p.grad is not None) for p in self.parameters])
        bad = bad.detach().reshape(1).to(torch.float32)
        notes = self.ranks.averaged(torch.cat([bad, held.to(bad.device)]))
        holders = dict.fromkeys(map(id, self.parameters), True)
        if any(p.grad is None for p in self.parameters):
            holders = dict(zip(holders, (value > 0 for value in notes[1:].tolist()), strict=True))
        for bucket in self.buckets:
            assert bucket.finish is not None
            means = (bucket.finish() / self.ranks.size).split([p.numel() for p in bucket.parameters])
            for parameter, mean in zip(bucket.parameters, means, strict=True):
                if holders[id(parameter)]:
                    target = torch.empty_like(parameter) if parameter.grad is None else parameter.grad
                    parameter.grad = target.copy_(mean.view(parameter.shape))
            bucket.finish = None
        return notes[0] > 0
