"""Generative adversarial imitation: a policy whose visits a critic cannot tell from the expert's.

Paper: Ho & Ermon, Generative Adversarial Imitation Learning, arXiv 1606.03476, 2016.

Idea: a critic separates the policy's state-action pairs from the expert's; the policy is rewarded for being taken
for the expert and updated by policy gradient (algorithm 1):

    critic: minimise softplus(-D(expert)) + softplus(D(policy));   reward r(s, a) = softplus(D(s, a))

(in the sign convention D > 0 = expert, softplus(D) = -log(1 - sigmoid(D)), positive and larger for expert-like pairs).
Shapes: x ``(n, state + actions)``: the state followed by the one-hot action. The environment is a Grid.
Deviations: REINFORCE on discounted returns, centred and scaled over the batch, instead of TRPO with a learned value
function; the paper's entropy bonus (lambda) is larger, and the policy is averaged over updates (``ema`` of the toy),
since both sides otherwise chase each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganlib.config import ModelConfig
from ganlib.data.spec import DataSpec
from ganlib.losses.adversarial import objective
from ganlib.nn.mlp import MLP
from ganlib.registry import Toy, register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase


class Grid:
    """A square grid in which one walks to the far corner: four moves, -1 a step, the episode ends after ``horizon``.

    States are one-hot cells; walks start anywhere. The return of a walk is minus the steps not spent at the goal.
    """

    size, horizon, actions = 5, 12, 4
    moves = ((0, 1), (0, -1), (1, 0), (-1, 0))

    @property
    def states(self) -> int:
        """Number of cells."""
        return self.size**2

    def start(self, n: int, generator: torch.Generator) -> Tensor:
        """Random cells, int64 ``(n, 2)``."""
        return torch.randint(self.size, (n, 2), generator=generator, device=generator.device)

    def step(self, cell: Tensor, action: Tensor) -> Tensor:
        """Move, stopped by walls; the goal holds."""
        moved = (cell + torch.tensor(self.moves, device=action.device)[action]).clamp(0, self.size - 1)
        return torch.where(self.at_goal(cell)[:, None], cell, moved)

    def at_goal(self, cell: Tensor) -> Tensor:
        """Whether each walk has arrived."""
        return (cell == self.size - 1).all(1)

    def encode(self, cell: Tensor) -> Tensor:
        """One-hot cells, float32 ``(n, states)``."""
        return F.one_hot(cell[:, 0] * self.size + cell[:, 1], self.states).float()

    def expert(self, cell: Tensor, generator: torch.Generator) -> Tensor:
        """A shortest path: one of the useful moves at random."""
        right, down = cell[:, 1] < self.size - 1, cell[:, 0] < self.size - 1
        coin = torch.rand(len(cell), generator=generator) < 0.5
        return torch.where(right & (~down | coin), 0, 2)


GRID = Grid()


def expert_pairs(walks: int, seed: int) -> Tensor:
    """State-action pairs of expert walks until they arrive."""
    g = torch.Generator().manual_seed(seed)
    cell, pairs = GRID.start(walks, g), []
    for _ in range(GRID.horizon):
        action = GRID.expert(cell, g)
        moving = ~GRID.at_goal(cell)
        pairs.append(torch.cat([GRID.encode(cell), F.one_hot(action, GRID.actions).float()], 1)[moving])
        cell = GRID.step(cell, action)
    return torch.cat(pairs)


def mean_return(policy: nn.Module | None, seed: int, walks: int = 500) -> float:
    """Mean return; ``None`` walks at random."""
    g = torch.Generator().manual_seed(seed + 31)
    cell, total = GRID.start(walks, g), torch.zeros(walks)
    with torch.no_grad():
        for _ in range(GRID.horizon):
            logits = policy(GRID.encode(cell)) if policy else torch.zeros(walks, GRID.actions)
            action = torch.multinomial(logits.softmax(1), 1, generator=g).squeeze(1)
            total -= (~GRID.at_goal(cell)).float()
            cell = GRID.step(cell, action)
    return float(total.mean())


def _expert_return(seed: int) -> float:
    g = torch.Generator().manual_seed(seed + 31)
    cell, total = GRID.start(500, g), torch.zeros(500)
    for _ in range(GRID.horizon):
        total -= (~GRID.at_goal(cell)).float()
        cell = GRID.step(cell, GRID.expert(cell, g))
    return float(total.mean())


def _share_of_expert(value: float, seed: int) -> float:
    """0 for a random walk, 1 for the expert."""
    low, high = mean_return(None, seed), _expert_return(seed)
    return (value - low) / (high - low)


@dataclass(frozen=True, kw_only=True)
class GAILConfig(ModelConfig):
    """``walks``: episodes per policy update; ``entropy``: the paper's lambda."""

    hidden: tuple[int, ...] = (64,)
    walks: int = 128
    discount: float = 0.95
    entropy: float = 0.5
    learning_rate: float = 5e-3


@register(
    "gail",
    config=GAILConfig,
    tasks=("behaviour",),
    modalities=("trajectory",),
    paper="Ho & Ermon, Generative Adversarial Imitation Learning, arXiv 1606.03476, 2016",
    toy=Toy(
        data=lambda seed: {"x": expert_pairs(40, seed)},
        spec=DataSpec((GRID.states + GRID.actions,)),
        level=lambda algorithm, seed: _share_of_expert(mean_return(algorithm.policy, seed), seed),
        at_least=0.8,
        measure="return between a random walk (0) and the expert (1)",
        baseline=lambda seed: _share_of_expert(mean_return(None, seed + 1), seed),
        trainer={"steps": 600, "batch_size": 512, "ema": 0.99},
    ),
    known_gaps={"export": "small proving model: its full catalogue check and export come with the dynamics family"},
)
class GAIL(Algorithm):
    """Players ``policy`` and ``critic``."""

    config: GAILConfig

    def __init__(self, spec: DataSpec, config: GAILConfig) -> None:
        super().__init__()
        self.spec, self.config, self.objective = spec, config, objective("gan")
        self.policy = MLP(GRID.states, config.hidden, GRID.actions, "tanh")
        self.critic = MLP(spec.dim, config.hidden, 1, "tanh")

    def players(self) -> dict[str, nn.Module]:
        """Policy and critic."""
        return {"policy": self.policy, "critic": self.critic}

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam for both."""
        return dict.fromkeys(self.players(), Optimiser("adam", self.config.learning_rate, (0.9, 0.999)))

    def phases(self) -> tuple[Phase, ...]:
        """Policy gradient, then the critic on fresh walks."""
        return (Phase("policy", self.policy_loss), Phase("critic", self.critic_loss))

    def walk(self, n: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        """States ``(T, n, states)``, actions ``(T, n)`` and a mask of steps before the goal ``(T, n)``."""
        g = generator or torch.Generator(next(self.policy.parameters()).device)
        cell = GRID.start(n, g)
        states, actions, moving = [], [], []
        for _ in range(GRID.horizon):
            state = GRID.encode(cell)
            with torch.no_grad():
                action = torch.multinomial(self.policy(state).softmax(1), 1, generator=g).squeeze(1)
            states.append(state)
            actions.append(action)
            moving.append(~GRID.at_goal(cell))
            cell = GRID.step(cell, action)
        return torch.stack(states), torch.stack(actions), torch.stack(moving)

    def pairs(self, states: Tensor, actions: Tensor) -> Tensor:
        """States followed by one-hot actions."""
        return torch.cat([states, F.one_hot(actions, GRID.actions).float()], -1)

    def policy_loss(self, batch: Batch) -> Losses:
        """The surrogate whose gradient is the policy gradient on the critic's reward, which is only logged."""
        states, actions, moving = self.walk(self.config.walks, batch.generator)
        with torch.no_grad():
            reward = F.softplus(self.critic(self.pairs(states, actions)).squeeze(-1))
            # Arriving must not cost reward: the walk's mean reward stands in for the steps it saved.
            reward = torch.where(moving, reward, reward[moving].mean())
            value = torch.zeros_like(reward)
            running = torch.zeros_like(reward[0])
            for t in reversed(range(len(reward))):
                running = reward[t] + self.config.discount * running
                value[t] = running
            value = value - value.mean(1, keepdim=True)
            value = value / value.std().clamp_min(1e-6)
        log_p = self.policy(states).log_softmax(-1)
        chosen = log_p.gather(2, actions[..., None]).squeeze(2)
        entropy = -(log_p.exp() * log_p).sum(2)
        loss = -(chosen * value + self.config.entropy * entropy)[moving].mean()
        return Losses(weights={"reward": 0.0}, policy=loss, reward=reward[moving].mean())

    def critic_loss(self, batch: Batch) -> Losses:
        """Expert pairs against those of fresh walks."""
        states, actions, moving = self.walk(self.config.walks, batch.generator)
        fake = self.pairs(states, actions)[moving]
        return Losses(critic=self.objective.critic_of(self.critic(batch.x), self.critic(fake)))
