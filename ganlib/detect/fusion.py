"""Fusion of detectors: the mean of their scores on one scale.

Idea: members see different anomalies, and no measure without labels shows reliably which member is best on given data.
Their mean does not have to know:

    score(x) = sum_i w_i · (s_i(x) - m_i) / u_i,   w_i = 1 / number of members

m_i is the median of a member's scores of normal rows, and u_i the distance from there to the mean of the highest tenth:
a row scores 1 where the members see it like an average row of that tenth.

Source of the equal weights: Aggarwal & Sathe, Theoretical Foundations and Algorithms for Outlier Ensembles, SIGKDD
Explorations 17, 2015 (averaging of standardised scores). Deviation: the unit is taken from the upper tail, not from the
standard deviation of all scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganlib.config import Config, Share

_TOP = 0.1
_LEAST = 1e-9  # of a unit, relative to the size of the scores


@dataclass(frozen=True, kw_only=True)
class FusionConfig(Config):
    """What a fusion was made of: ``members`` with their ``weights``, ``left_out`` with the reason, and the share of
    training rows ``dropped`` as suspect."""

    members: tuple[str, ...]
    weights: tuple[float, ...]
    left_out: tuple[str, ...] = ()
    dropped: Share = 0.0


class Fusion(nn.Module):
    """``(n, *shape) -> (n,)``: the weighted mean of the members' scores, each on the scale of normal rows."""

    centres: Tensor
    factors: Tensor

    def __init__(self, members: Mapping[str, nn.Module], reference: Tensor, config: FusionConfig) -> None:
        """``members`` are trained scorers by name, ``reference`` normal examples ``(n, *shape)`` for their scales."""
        super().__init__()
        self.config, self.members = config, nn.ModuleList(members.values())
        scales = [scale_of(scores_of(member, reference)) for member in self.members]
        weights = torch.tensor(config.weights, dtype=torch.float64)
        self.register_buffer("centres", torch.stack([centre for centre, _ in scales]))
        self.register_buffer("factors", weights / torch.stack([unit for _, unit in scales]))
        self.eval()

    def scorer(self) -> Fusion:
        """Itself."""
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Score examples."""
        return self.parts(x).sum(1)

    def parts(self, x: Tensor) -> Tensor:
        """The part of each member in the score, ``(n, members)``."""
        scores = torch.stack([member(x) for member in self.members], 1)
        return (scores - self.centres.to(scores)) * self.factors.to(scores)


@torch.no_grad()
def scores_of(scorer: nn.Module, x: Tensor, chunk: int = 512) -> Tensor:
    """Scores of examples, float64 ``(n,)``."""
    return torch.cat([scorer(part).double() for part in x.split(chunk)])


def scale_of(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Median of the scores, and the distance from it to the mean of the highest tenth; float64 scalars."""
    ordered = scores[scores.isfinite()].double().sort().values
    top = max(1, round(_TOP * len(ordered)))
    centre = ordered.median()
    unit = ordered[-top:].mean() - centre
    return centre, unit.clamp_min(float(_LEAST * (1 + centre.abs())))
