"""The f-divergences, and their lower bounds from a critic's logits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ganlib.errors import ConfigError
from ganlib.losses.objective import Play, scored


@dataclass(frozen=True)
class Divergence:
    """An f-divergence: the critic's output activation g_f(v), and the conjugate f*(g_f(v)), both of logits.

    ``scale`` converts the bound to the divergence's usual value. ``original``: the generator minimises the bound
    itself, because the gradient of E g_f(V(G(z))) (the paper's section 3.2) would grow exponentially.
    """

    activation: Callable[[Tensor], Tensor]
    conjugate: Callable[[Tensor], Tensor]
    scale: float = 1.0
    original: bool = False

    def bound(self, play: Play) -> Tensor:
        """E g_f(V(x)) - E f*(g_f(V(G(z)))): at most the divergence (arXiv 1606.00709, equation 4)."""
        return self.activation(play.real).mean() - self.conjugate(play.fake).mean()


_LOG2 = math.log(2)
DIVERGENCES: dict[str, Divergence] = {
    "kl": Divergence(lambda v: v, lambda v: torch.exp(v - 1)),
    "reverse_kl": Divergence(lambda v: -torch.exp(-v), lambda v: v - 1, original=True),
    "pearson": Divergence(lambda v: v, lambda v: 0.25 * v.square() + v),
    "squared_hellinger": Divergence(lambda v: 1 - torch.exp(-v), lambda v: torch.exp(v) - 1),
    # The paper's f is that of twice the Jensen-Shannon divergence.
    "jensen_shannon": Divergence(lambda v: _LOG2 - softplus(-v), lambda v: softplus(v) - _LOG2, 0.5),
    # D = 2 JS - log 4.
    "gan": Divergence(lambda v: -softplus(-v), softplus),
}


def divergence_bound(name: str, real: Tensor, fake: Tensor) -> Tensor:
    """Lower bound of a named f-divergence D(P || Q), a scalar, from logits of samples of P and Q; to be maximised.

    Source: Nowozin et al., f-GAN, arXiv 1606.00709, equation 4 and table 2. Raises ConfigError for an unknown name.
    """
    if name not in DIVERGENCES:
        raise ConfigError(f"no f-divergence is called {name!r}; choose {', '.join(sorted(DIVERGENCES))}")
    return DIVERGENCES[name].scale * DIVERGENCES[name].bound(scored(real, fake))
