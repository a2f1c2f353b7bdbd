"""Checks of Boltzmann and Helmholtz machines: exact likelihoods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from benchmarks.models.checks.check import Check, Figures, fit
from ganlib.data.spec import Block, DataSpec
from ganlib.testing.problems import digits

FLAGS = DataSpec.table(tuple(Block(f"p{i}", "binary", i) for i in range(64)))


def _black_and_white(seed: int, part: str = "train") -> Tensor:
    """8x8 digits as flags ``(n, 64)``."""
    return (digits(seed, part)[0].flatten(1) > 0).float()


def _independent(seed: int) -> float:
    """Held-out log-likelihood of independent flags with their smoothed shares in training, nats."""
    train, test = _black_and_white(seed), _black_and_white(seed, "test")
    share = (train.sum(0) + 1) / (len(train) + 2)
    return float((test * share.log() + (1 - test) * (1 - share).log()).sum(1).mean())


def _exact(name: str, steps: int, **options: Any) -> Callable[[int], Figures]:
    """Held-out exact log-likelihood of black and white digits, nats; baseline: independent pixels."""

    def run(seed: int) -> Figures:
        model, _ = fit(name, FLAGS, {"x": _black_and_white(seed)}, seed, steps, 64, 0.99, **options)
        with torch.no_grad():
            found = torch.cat([model.log_prob(rows) for rows in _black_and_white(seed, "test").split(128)])
        return float(found.mean()), _independent(seed)

    return run


def _states(units: int) -> Tensor:
    """All states of binary units, ``(2 ** units, units)``."""
    return (torch.arange(2**units).unsqueeze(1) >> torch.arange(units) & 1).float()


@torch.no_grad()
def belief_log_prob(model: Any, v: Tensor) -> Tensor:
    """The exact log-likelihood of flags ``v (n, d)`` under a Helmholtz machine's generative net, nats ``(n,)``.

    Sums over all states of each hidden layer, from the top down: log p(h_l) = log sum p(h_{l+1}) p(h_l|h_{l+1}).
    """

    def below(log_prior: Tensor, h: Tensor, net: Any, rows: Tensor) -> Tensor:
        logits = net(h)
        none = log_prior - softplus(logits).sum(1)  # all units below off
        return torch.cat([(part @ logits.T + none).logsumexp(1) for part in rows.split(256)])

    states = [_states(net.out_features) for net in model.up]
    logits = model.top.expand_as(states[-1])
    log_prior = (states[-1] * logits - softplus(logits)).sum(1)
    for layer in range(len(states) - 1, 0, -1):
        log_prior = below(log_prior, states[layer], model.down[layer], states[layer - 1])
    return below(log_prior, states[0], model.down[0], v)


def _wake_sleep(seed: int) -> Figures:
    """Held-out exact log-likelihood of black and white digits, nats; baseline: independent pixels."""
    model, _ = fit("helmholtz", FLAGS, {"x": _black_and_white(seed)}, seed, 4000, 64, 0.99, hidden=(15, 8))
    return float(belief_log_prob(model.eval(), _black_and_white(seed, "test")).mean()), _independent(seed)


_SCORE = "8x8 black and white digits: held-out log-likelihood, nats"
ROWS = (
    Check("I1", "rbm", f"{_SCORE}, 15 hidden", "independent pixels", 0.0,
          _exact("rbm", 2000, hidden_units=15, chains="persistent"), gain=True, worst=True),
    Check("I3", "dbm", f"{_SCORE}, 15 and 15 hidden", "independent pixels", 0.0,
          _exact("dbm", 3000, hidden=(15, 15)), gain=True, worst=True),
    Check("F12", "helmholtz", f"{_SCORE}, 15 and 8 hidden", "independent pixels", 0.0, _wake_sleep, gain=True,
          worst=True),
)  # fmt: skip
