"""Fusion of detectors: the mean of their scores on one scale.

Idea: members see different anomalies, and no measure without labels shows reliably which member is best on given data.
Their mean does not have to know:

    score(x) = sum_i w_i · g((s_i(x) - m_i) / u_i),   g(z) = z up to 6, rising by a tenth of z above

m_i is the median of a member's scores of normal rows, and u_i the distance from there to the mean of the highest tenth:
a row scores 1 where the members see it like an average row of that tenth. g keeps a single member from deciding the
order of all rows; it has no ties. w_i are the usual weights of the members (``ganlib.detect.members``), unless known
anomalies show better ones on anomalies held out (``ganlib.detect.weights``).

Source of the mean: Aggarwal & Sathe, Theoretical Foundations and Algorithms for Outlier Ensembles, SIGKDD
Explorations 17, 2015 (averaging of standardised scores). Deviations: the unit is taken from the upper tail, not from
the standard deviation of all scores, and scores far above it grow more slowly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganlib.config import Config, Share, Whole
from ganlib.detect.weights import weigh

_TOP = 0.1
_MOST, _SLOPE = 6.0, 0.1
_CHUNK = 512
_LEAST = 1e-9  # of a unit, relative to the size of the scores


@dataclass(frozen=True, kw_only=True)
class FusionConfig(Config):
    """What a fusion was made of: ``members`` with their ``weights``, ``left_out`` with the reason, and the share of
    training rows ``dropped`` as suspect.

    ``known``: anomalies that the weights were compared on; ``held_out``: mean AUPRC on those held out in turn, with
    usual and with fitted weights.
    """

    members: tuple[str, ...]
    weights: tuple[float, ...]
    left_out: tuple[str, ...] = ()
    dropped: Share = 0.0
    known: Whole = 0
    held_out: tuple[float, ...] = ()


class Fusion(nn.Module):
    """``(n, *shape) -> (n,)``: the weighted mean of the members' scores, each on the scale of normal rows."""

    centres: Tensor
    units: Tensor
    weights: Tensor

    def __init__(self, members: Mapping[str, nn.Module], reference: Tensor, config: FusionConfig) -> None:
        """``members`` are trained scorers by name, ``reference`` normal examples ``(n, *shape)`` for their scales."""
        super().__init__()
        self.config, self.members = config, nn.ModuleList(members.values())
        scales = [scale_of(scores_of(member, reference)) for member in self.members]
        self.register_buffer("centres", torch.stack([centre for centre, _ in scales]))
        self.register_buffer("units", torch.stack([unit for _, unit in scales]))
        self.register_buffer("weights", torch.tensor(config.weights, dtype=torch.float64))
        self.eval()

    @torch.no_grad()
    def weigh(self, anomalies: Tensor, normal: Tensor) -> None:
        """Fit the weights to known anomalies, if fitted ones are better on those held out."""
        odd, usual = (torch.cat([self.scaled(part) for part in x.split(_CHUNK)]) for x in (anomalies, normal))
        found = weigh(odd, usual, self.weights)
        compared = (found.usual, found.fitted)
        self.config = dataclasses.replace(self.config, weights=found.weights, known=len(anomalies), held_out=compared)
        self.weights.copy_(torch.tensor(found.weights))

    def scorer(self) -> Fusion:
        """Itself."""
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Score examples."""
        return self.parts(x).sum(1)

    def parts(self, x: Tensor) -> Tensor:
        """The part of each member in the score, ``(n, members)``."""
        scaled = self.scaled(x)
        return self.weights.to(scaled) * scaled

    def scaled(self, x: Tensor) -> Tensor:
        """The members' scores on one scale, ``(n, members)``."""
        scores = torch.stack([member(x) for member in self.members], 1)
        scaled = (scores - self.centres.to(scores)) / self.units.to(scores)
        return scaled - (1 - _SLOPE) * (scaled - _MOST).clamp_min(0)


@torch.no_grad()
def scores_of(scorer: nn.Module, x: Tensor) -> Tensor:
    """Scores of examples, float64 ``(n,)``."""
    return torch.cat([scorer(part).double() for part in x.split(_CHUNK)])


def scale_of(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Median of the scores, and the distance from it to the mean of the highest tenth; float64 scalars."""
    ordered = scores[scores.isfinite()].double().sort().values
    top = max(1, round(_TOP * len(ordered)))
    centre = ordered.median()
    unit = ordered[-top:].mean() - centre
    return centre, unit.clamp_min(float(_LEAST * (1 + centre.abs())))
