"""Weights of a fusion's members from a few known anomalies.

Idea: known anomalies should score above normal rows; where there are few, weights stay near the usual ones:

    minimise over w on the simplex   mean over anomalies a and normal rows n of softplus(w · s_n - w · s_a)
                                     + 0.1 · KL(w, usual weights)

s are the members' scores on one scale (``ganlib.detect.fusion``). Half of the known anomalies and of the normal rows
are held out in turn, and weights fitted to the others are compared with the usual ones there, which stay where fitted
ones are not better. The pairwise loss is that of Burges et al., Learning to Rank Using Gradient Descent, ICML
2005; the penalty is our own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ganlib.metrics.detection import auprc

LEAST_KNOWN = 6
_PENALTY = 0.1
_MOST_NORMAL = 2000  # each is compared with each anomaly


@dataclass(frozen=True)
class Weighting:
    """Weights of the members, and the mean AUPRC on anomalies held out, by ``usual`` and by ``fitted`` weights."""

    weights: tuple[float, ...]
    usual: float
    fitted: float


def weigh(anomalies: Tensor, normal: Tensor, usual: Tensor) -> Weighting:
    """Weights from the members' scores of known anomalies ``(k, members)``, k >= 2, and of normal rows.

    ``normal`` is ``(n, members)``, ``usual`` the weights without labels. The same input gives the same weights.
    """
    anomalies, normal, usual = anomalies.double(), normal[:_MOST_NORMAL].double(), usual.double()
    halves = [(anomalies[i::2], normal[i::2]) for i in range(2)]
    pairs = [(halves[0], halves[1]), (halves[1], halves[0])]
    before = sum(_measured(judged, usual) for _, judged in pairs) / 2
    fitted = sum(_measured(judged, _fitted(*learned, usual)) for learned, judged in pairs) / 2
    weights = _fitted(anomalies, normal, usual) if fitted > before else usual
    return Weighting(tuple(weights.tolist()), before, fitted)


def _fitted(anomalies: Tensor, normal: Tensor, usual: Tensor) -> Tensor:
    logits = usual.log().requires_grad_()
    optimiser = torch.optim.LBFGS([logits], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        weights = logits.softmax(0)
        gaps = (anomalies @ weights)[:, None] - normal @ weights
        divergence = (weights * (weights / usual).clamp_min(1e-12).log()).sum()
        return softplus(-gaps).mean() + _PENALTY * divergence

    optimiser.step(_with_gradients(optimiser, loss))
    return logits.detach().softmax(0)


def _with_gradients(optimiser: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> Callable[[], float]:
    def closure() -> float:
        optimiser.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())

    return closure


def _measured(parts: tuple[Tensor, Tensor], weights: Tensor) -> float:
    anomalies, normal = parts
    truth = torch.cat([torch.ones(len(anomalies)), torch.zeros(len(normal))])
    return auprc((torch.cat([anomalies, normal]) @ weights).numpy(), truth.numpy())
