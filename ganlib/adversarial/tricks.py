"""Tricks that carry state through training, as modules of buffers, and the unrolled critic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ganlib.training.algorithm import Batch, Losses


class InstanceNoise(nn.Module):
    """Gaussian noise on what the critic sees, its deviation falling to 0 over ``steps`` updates (0: constant).

    Sources: Sønderby et al., arXiv 1610.04490; Arjovsky & Bottou, arXiv 1701.04862, section 3.
    """

    left: Tensor

    def __init__(self, deviation: float, steps: int) -> None:
        super().__init__()
        self.deviation, self.steps = deviation, steps
        self.register_buffer("left", torch.tensor(1.0))

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """Disturb."""
        return x + self.deviation * self.left * batch.randn(*x.shape[1:]) if self.deviation else x

    def step(self) -> None:
        """One update less to go."""
        if self.steps:
            self.left.sub_(1 / self.steps).clamp_(min=0)


class Replay(nn.Module):
    """A pool of earlier generated examples; about half of what it hands out comes from there.

    A conditional model stores the condition of each example in ``conditions``; ``condition`` is the shape of one.

    Source: Shrivastava et al., arXiv 1612.07828, section 2.3.
    """

    pool: Tensor
    conditions: Tensor
    seen: Tensor

    def __init__(
        self,
        size: int,
        shape: tuple[int, ...],
        condition: tuple[int, ...] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.register_buffer("pool", torch.zeros(size, *shape, dtype=dtype))
        self.register_buffer("conditions", torch.zeros(size, *(condition or (0,))))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self._filled = False  # known without reading the device

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._filled = False

    def forward(self, made: Tensor, condition: Tensor | None, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Examples ``(n, *shape)`` and their conditions, about half of them replaced by earlier ones."""
        self._filled = self._filled or bool(self.seen)
        if not self._filled:
            return made, condition
        held = self.seen.clamp(max=len(self.pool))
        index = torch.minimum((batch.rand() * held).long(), held - 1)
        old = batch.rand() < 0.5
        mixed = _where(old, self.pool[index], made)
        return mixed, None if condition is None else _where(old, self.conditions[index], condition)

    def push(self, made: Tensor, condition: Tensor | None) -> None:
        """Keep these, over the oldest."""
        made = made[: len(self.pool)]
        places = (self.seen + torch.arange(len(made), device=made.device)) % len(self.pool)
        self.pool[places] = made.to(self.pool.dtype)
        if condition is not None:
            self.conditions[places] = condition[: len(made)].to(self.conditions.dtype)
        self.seen += len(made)


class PastWeights(nn.Module):
    """The mean of a player's past weights, and the squared distance from it. The player is not registered as a part.

    Source: Salimans et al., arXiv 1606.03498, section 3.3.
    """

    count: Tensor

    def __init__(self, player: nn.Module) -> None:
        super().__init__()
        self._player = (player,)
        for name, value in player.named_parameters():
            self.register_buffer(name.replace(".", "/"), value.detach().clone())
        self.register_buffer("count", torch.ones(()))

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        named = self._player[0].named_parameters()
        return [(value, self.get_buffer(name.replace(".", "/"))) for name, value in named]

    def drift(self) -> Tensor:
        """||theta - mean of its past||², a scalar."""
        return torch.stack([(value - past).square().sum() for value, past in self._pairs()]).sum()

    def remember(self) -> None:
        """Fold the current weights in."""
        self.count += 1
        share = 1 / self.count
        for value, past in self._pairs():
            past.lerp_(value, share)


class Functional:
    """A module seen with other weights; attributes are the module's, calls use the weights."""

    def __init__(self, module: nn.Module, weights: Mapping[str, Tensor]) -> None:
        self.module, self.weights = module, dict(weights)

    def __call__(self, *args: Any) -> Any:
        """The module's output under these weights."""
        return functional_call(self.module, self.weights, args)


def unrolled(
    critic: nn.Module, loss: Callable[[Callable[..., Tensor]], Tensor], rate: float, steps: int
) -> Callable[..., Tensor]:
    """The critic after ``steps`` plain gradient steps on ``loss(critic)``, differentiable through them.

    Source: Metz et al., Unrolled GANs, arXiv 1611.02163, equations 5 to 8; plain steps where the paper unrolls Adam.
    """
    weights: dict[str, Tensor] = dict(critic.named_parameters())
    for _ in range(steps):
        slopes = torch.autograd.grad(loss(Functional(critic, weights)), list(weights.values()), create_graph=True)
        weights = {name: value - rate * s for (name, value), s in zip(weights.items(), slopes, strict=True)}
    return Functional(critic, weights)


def feature_matching(real: Tensor, made: Tensor, batch: Batch, weight: float, suffix: str = "") -> Losses:
    """||E f(x) - E f(G(z))||² of features ``(n, f)`` (Salimans et al., arXiv 1606.03498, section 3.1)."""
    gap = batch.mean(real.detach()) - batch.mean(made)
    name = f"feature_matching{suffix}"
    return Losses(weights={name: weight}, **{name: gap.square().sum()})


def _where(old: Tensor, kept: Tensor, new: Tensor) -> Tensor:
    """Rows of ``kept`` if ``old (n,)``, otherwise of ``new``."""
    return torch.where(old.view(-1, *(1 for _ in new.shape[1:])), kept, new)
