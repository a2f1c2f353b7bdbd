"""Toys of the models that act: a walk through a grid."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganlib.data.spec import DataSpec, Vector
from ganlib.testing.toy import Toy

Cell = tuple[int, int]


class Grid:
    """A walk through a square grid to the far corner, with gymnasium's methods.

    There are four moves, stopped by walls; each step costs 1. A walk ends at the goal and is truncated after
    ``horizon`` steps. Observations are one-hot cells.
    """

    size, horizon, actions = 5, 12, 4
    moves = ((0, 1), (0, -1), (1, 0), (-1, 0))
    cells = size**2
    goal = (size - 1, size - 1)
    _one_hot = np.eye(cells, dtype=np.float32)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Cell] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start in a random cell by ``seed``, or in the cell of ``options``; never at the goal."""
        others = self.cells - 1
        start = divmod(random.randrange(others) if seed is None else seed % others, self.size)
        self.cell = options["cell"] if options else start
        self.steps = 0
        return self._observed(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move."""
        if self.cell != self.goal:
            down, right = self.moves[action]
            self.cell = (self._inside(self.cell[0] + down), self._inside(self.cell[1] + right))
        self.steps += 1
        return self._observed(), -1.0, self.cell == self.goal, self.steps >= self.horizon, {}

    def _inside(self, position: int) -> int:
        return min(max(position, 0), self.size - 1)

    def _observed(self) -> np.ndarray:
        return self._one_hot[self.cell[0] * self.size + self.cell[1]]


class _Walks:
    """``n`` walks in parallel from random cells, possibly the goal, each ``Grid.horizon`` steps long."""

    def __init__(self, n: int, generator: torch.Generator) -> None:
        self.generator = generator
        self.grids = [Grid() for _ in range(n)]
        starts = torch.randint(Grid.size, (n, 2), generator=generator).tolist()
        for grid, (row, column) in zip(self.grids, starts, strict=True):
            grid.reset(options={"cell": (row, column)})

    def states(self) -> Tensor:
        """One-hot cells ``(n, cells)``."""
        return torch.from_numpy(np.stack([grid._observed() for grid in self.grids]))

    def moving(self) -> Tensor:
        """Whether each walk has not arrived, ``(n,)``."""
        return torch.tensor([grid.cell != grid.goal for grid in self.grids])

    def step(self, actions: Sequence[int]) -> None:
        """Move all."""
        for grid, action in zip(self.grids, actions, strict=True):
            grid.step(action)

    def expert(self) -> list[int]:
        """Moves of a shortest path, at random if there are several."""
        coins = torch.rand(len(self.grids), generator=self.generator) < 0.5
        last = Grid.size - 1
        choices = []
        for grid, coin in zip(self.grids, coins.tolist(), strict=True):
            down, right = (position < last for position in grid.cell)
            choices.append(0 if right and (not down or coin) else 2)
        return choices


def expert_pairs(walks: int, seed: int) -> Tensor:
    """State-action pairs of expert walks until arrival."""
    world, pairs = _Walks(walks, torch.Generator().manual_seed(seed)), []
    for _ in range(Grid.horizon):
        actions = world.expert()
        named = F.one_hot(torch.tensor(actions), Grid.actions).float()
        pairs.append(torch.cat([world.states(), named], 1)[world.moving()])
        world.step(actions)
    return torch.cat(pairs)


@torch.no_grad()
def mean_return(policy: nn.Module | None, seed: int, walks: int = 500) -> float:
    """Mean return; ``None`` walks at random."""
    g = torch.Generator().manual_seed(seed + 31)
    world, total = _Walks(walks, g), torch.zeros(walks)
    for _ in range(Grid.horizon):
        logits = policy(world.states()) if policy else torch.zeros(walks, Grid.actions)
        actions = torch.multinomial(logits.softmax(1), 1, generator=g).squeeze(1)
        total -= world.moving().float()
        world.step(actions.tolist())
    return float(total.mean())


def _expert_return(seed: int) -> float:
    world, total = _Walks(500, torch.Generator().manual_seed(seed + 31)), torch.zeros(500)
    for _ in range(Grid.horizon):
        total -= world.moving().float()
        world.step(world.expert())
    return float(total.mean())


def _share_of_expert(value: float, seed: int) -> float:
    """0 for a random walk, 1 for the expert."""
    low, high = mean_return(None, seed), _expert_return(seed)
    return (value - low) / (high - low)


TOYS = {
    "gail": Toy(
        data=lambda seed: {"x": expert_pairs(40, seed)},
        spec=DataSpec.of(Vector(Grid.cells + Grid.actions)),
        level=lambda algorithm, seed: _share_of_expert(mean_return(algorithm.policy, seed), seed),
        at_least=0.8,
        measure="return between a random walk (0) and the expert (1)",
        baseline=lambda seed: _share_of_expert(mean_return(None, seed + 1), seed),
        config={"environment": "ganlib.testing.toys.dynamics:Grid"},
        trainer={"steps": 900, "batch_size": 512, "ema": 0.99},
    )
}
