"""Generative adversarial imitation: a policy whose state-action pairs a critic cannot distinguish from an expert's.

Paper: Ho & Ermon, Generative Adversarial Imitation Learning, arXiv 1606.03476, 2016.

Idea: a critic separates the policy's state-action pairs from the expert's; the policy is rewarded for pairs that the
critic takes for the expert's, and updated by policy gradient (algorithm 1):

    critic: minimise softplus(-D(expert)) + softplus(D(policy));   reward r(s, a) = softplus(D(s, a))

(in the sign convention D > 0 = expert, softplus(D) = -log(1 - sigmoid(D)), positive and larger for expert-like pairs).
Shapes: x ``(n, state + actions)``: the state followed by the one-hot action. The environment has gymnasium's
``reset(seed=...)`` and ``step(action)``, numeric observations and that number of actions; its rewards are not used.
Deviations: REINFORCE on discounted returns, centred and scaled over the batch, instead of TRPO with a learned value
function; the paper's entropy bonus (lambda) is larger, and the policy is averaged over updates (``ema`` of the toy),
because policy and critic otherwise oscillate.

Use it for: a policy from an expert's walks, without rewards, in an environment with gymnasium's methods and discrete
actions that can be walked through a hundred times an update.

Not for: experts without an environment at hand: nothing can be walked; fit a classifier of actions. Known rewards:
reinforcement learning. Continuous actions, and sealing, are not supported yet.

Symbols:
    policy      GAIL.policy
    D(s, a)     GAIL.critic
    r(s, a)     loss term reward, GAIL.policy_loss
    lambda      GAILConfig.entropy
    walks       GAIL.walk, GAILConfig.walks
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganlib.config import Config, Count, Rate, Share, Weight
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.losses.adversarial import objective
from ganlib.losses.divergence import wide
from ganlib.nn.mlp import MLP
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase

# A walk that does not end raises an error, so that training does not hang.
_LONGEST = 10_000


class Environment(Protocol):
    """The methods of an environment that GAIL calls, as in gymnasium, which need not be installed."""

    def reset(self, *, seed: int | None = None) -> tuple[Any, Mapping[str, Any]]:
        """Start a walk; returns an observation (an array of numbers) and further information."""

    def step(self, action: int) -> tuple[Any, Any, Any, Any, Mapping[str, Any]]:
        """Take an action; returns observation, reward, whether the walk ended, whether it was truncated, and notes."""


@functools.lru_cache(maxsize=8)
def environments(path: str, n: int) -> list[Environment]:
    """``n`` environments of the factory ``module:name``; raises ConfigError if there is none.

    Models share them, because every walk starts with a seed and nothing remains of the previous one.
    """
    module, _, name = path.partition(":")
    if not (module and name):
        raise ConfigError(
            f"gail needs an environment: set environment='module:factory', not {path!r}. The factory takes no "
            "arguments and returns an object with gymnasium's reset(seed=...) and step(action)"
        )
    try:
        factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"there is no environment {path!r}: {error}") from error
    return [factory() for _ in range(n)]


def _flat(observation: Any) -> np.ndarray:
    return np.asarray(observation, dtype=np.float32).ravel()


@dataclass(frozen=True, kw_only=True)
class GAILConfig(Config):
    """``environment``: ``module:factory`` of an environment with gymnasium's methods.

    ``walks``: episodes per policy update; ``entropy``: the paper's lambda; ``discount`` of returns.
    """

    environment: str = ""
    hidden: tuple[Count, ...] = (64,)
    walks: Count = 128
    discount: Share = 0.95
    entropy: Weight = 0.5
    learning_rate: Rate = 5e-3


@register(
    "gail",
    config=GAILConfig,
    modalities=("trajectory",),
    paper="Ho & Ermon, Generative Adversarial Imitation Learning, arXiv 1606.03476, 2016",
    known_gaps={"export": "small proving model: its full catalogue check and export come with the dynamics family"},
)
class GAIL(Algorithm):
    """Players ``policy`` and ``critic``."""

    config: GAILConfig

    def __init__(self, spec: DataSpec, config: GAILConfig) -> None:
        super().__init__()
        self.spec, self.config, self.objective = spec, config, objective("gan")
        seen = len(_flat(environments(config.environment, 1)[0].reset(seed=0)[0]))
        self.actions = spec.dim - seen
        if self.actions < 2:
            raise ConfigError(
                f"observations of {config.environment} have {seen} values and examples {spec.dim}: an example is an "
                "observation followed by a one-hot action of two or more"
            )
        self.policy = MLP(seen, config.hidden, self.actions, "tanh")
        self.critic = MLP(spec.dim, config.hidden, 1, "tanh")

    def players(self) -> dict[str, nn.Module]:
        """Policy and critic."""
        return {"policy": self.policy, "critic": self.critic}

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam for both."""
        return dict.fromkeys(self.players(), Optimiser("adam", self.config.learning_rate, (0.9, 0.999)))

    def phases(self) -> tuple[Phase, ...]:
        """Policy gradient, then the critic on new walks."""
        return (Phase("policy", self.policy_loss), Phase("critic", self.critic_loss))

    @torch.no_grad()
    def act(self, x: Tensor) -> Tensor:
        """The most probable action under observations ``(n, states)``, int64 ``(n,)``."""
        return self.policy(x).argmax(1)

    @torch.no_grad()
    def walk(self, n: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        """Observations ``(T, n, states)``, actions ``(T, n)`` and a mask ``(T, n)`` of the steps before a walk's end.

        T is the length of the longest walk; raises ConfigError if a walk does not end.
        """
        g = generator or torch.Generator(next(self.policy.parameters()).device)
        worlds = environments(self.config.environment, n)
        seeds = torch.randint(2**31 - 1, (n,), generator=g, device=g.device).tolist()
        seen = [_flat(world.reset(seed=seed)[0]) for world, seed in zip(worlds, seeds, strict=True)]
        states, actions, moving = list[Tensor](), list[Tensor](), list[Tensor]()
        going = [True] * n
        while any(going):
            if len(states) == _LONGEST:
                raise ConfigError(
                    f"a walk in {self.config.environment} has not ended after {_LONGEST} steps; give it a time limit"
                )
            state = torch.from_numpy(np.stack(seen)).to(g.device)
            action = torch.multinomial(self.policy(state).softmax(1), 1, generator=g).squeeze(1)
            states.append(state)
            actions.append(action)
            moving.append(torch.tensor(going, device=g.device))
            chosen = action.tolist()
            for k in (k for k in range(n) if going[k]):
                observation, _, ended, cut, _ = worlds[k].step(chosen[k])
                seen[k], going[k] = _flat(observation), not (ended or cut)
        return torch.stack(states), torch.stack(actions), torch.stack(moving)

    def pairs(self, states: Tensor, actions: Tensor) -> Tensor:
        """States followed by one-hot actions."""
        return torch.cat([states, F.one_hot(actions, self.actions).float()], -1)

    def policy_loss(self, batch: Batch) -> Losses:
        """The surrogate whose gradient is the policy gradient on the critic's reward, which is only logged."""
        states, actions, moving = self.walk(self.config.walks, batch.generator)
        with torch.no_grad():
            reward = F.softplus(wide(self.critic(self.pairs(states, actions))).squeeze(-1))
            # Arriving early must not cost reward, so the mean reward replaces the steps after the end.
            reward = torch.where(moving, reward, reward[moving].mean())
            value = torch.zeros_like(reward)
            running = torch.zeros_like(reward[0])
            for t in reversed(range(len(reward))):
                running = reward[t] + self.config.discount * running
                value[t] = running
            value = value - value.mean(1, keepdim=True)
            value = value / value.std().clamp_min(1e-6)
        log_p = wide(self.policy(states)).log_softmax(-1)
        chosen = log_p.gather(2, actions[..., None]).squeeze(2)
        entropy = -(log_p.exp() * log_p).sum(2)
        loss = -(chosen * value + self.config.entropy * entropy)[moving].mean()
        return Losses(weights={"reward": 0.0}, policy=loss, reward=reward[moving].mean())

    def critic_loss(self, batch: Batch) -> Losses:
        """Expert pairs against those of new walks."""
        states, actions, moving = self.walk(self.config.walks, batch.generator)
        fake = self.pairs(states, actions)[moving]
        return Losses(critic=self.objective.critic_of(self.critic(batch.x), self.critic(fake)))
