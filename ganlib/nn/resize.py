"""Images and series to other sides."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate


class Resize(nn.Module):
    """Images or series ``(n, c, *before)`` to ``(n, c, *after)``: linear, averaging where sides shrink.

    It multiplies by a constant matrix for each side, so that it can be exported and is deterministic on every device.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, before: tuple[int, ...], after: tuple[int, ...]) -> None:
        super().__init__()
        self.idle, self.flat = tuple(before) == tuple(after), len(before) == 1
        for name, old, new in zip(("rows", "columns")[-len(before) :], before, after, strict=True):
            self.register_buffer(name, _weights(old, new), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Resize."""
        if self.idle:
            return x
        return (x if self.flat else self.rows @ x) @ self.columns.T


def _weights(before: int, after: int) -> Tensor:
    """The share of each old position in each new one, ``(after, before)``; rows add up to 1."""
    eye = torch.eye(before).view(before, 1, before, 1).expand(-1, -1, -1, 2)
    resized = interpolate(eye, (after, 2), mode="bilinear", antialias=True, align_corners=False)
    return resized[:, 0, :, 0].T.contiguous()


def beside(x: Tensor, condition: Tensor | None) -> Tensor:
    """A condition appended to the channels of ``x (n, c, *sides)``.

    A vector ``(n, k)`` becomes constant planes; an image or series must have the sides of ``x``.
    """
    if condition is None:
        return x
    if condition.ndim == 2:
        condition = condition.view(*condition.shape, *(1 for _ in x.shape[2:])).expand(-1, -1, *x.shape[2:])
    return torch.cat([x, condition], 1)
