"""A mixture of Gaussians over the leading principal components, and one variance for the others.

Sources: Tipping & Bishop, Probabilistic Principal Component Analysis, J. R. Stat. Soc. B 61 (1999); Bishop, Pattern
Recognition and Machine Learning, 2006, section 9.2.

Idea: wide examples lie near a few directions V of a common mean m; there their density is a mixture,

    z = V' (x - m) / u,   p(x) = Mixture(z) · u^-L · N(r; 0, v)^(d - L),   r² = |x - m|² - |V' (x - m)|²
    score: -log Mixture(z) in nats

with L ``leading`` directions, u² the mean variance along them, and v the mean square of a value of the residual.
Shapes: x ``(n, *shape)``, flattened to d values; z ``(n, L)``.
Mean and directions are those of the first batch; the mixture is fitted by EM on batches, as ``gaussian_mixture`` is.
Deviations: the score leaves the residual out, since on images with less ink it is small whatever is drawn: on digits of
an unseen class its AUROC was .26 to .63, and that of the mixture .60 to .91. With ``residual`` it is -log p(x), which
is better on windows of series: on 24 files of SKAB .83 instead of .67.

Use it for: small images, windows of series and wide tables in which groups of examples differ in shape, in seconds.

Not for: defects of a few pixels, which hardly move the leading components; few columns: `gaussian_mixture`.

Symbols:
    V, m, u, v   Leading.directions, centre, scale, rest
    z            Leading
    p(x)         PrincipalMixture.log_prob
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganlib.config import Config, Count, Rate
from ganlib.data.spec import DataSpec
from ganlib.losses.divergence import wide
from ganlib.models.baselines.density import Density, NegativeLogProb
from ganlib.models.baselines.leading import Leading
from ganlib.models.baselines.mixture import Mixture, MixtureConfig
from ganlib.registry import register
from ganlib.training.algorithm import Batch, Optimiser, Phase


@dataclass(frozen=True, kw_only=True)
class PrincipalConfig(Config):
    """``components`` of the mixture over ``leading`` directions; ``floor`` of its variances, whose mean is near 1;
    ``residual``: whether the score counts the other directions."""

    components: Count = 32
    leading: Count = 50
    floor: Rate = 1e-2
    residual: bool = False


@register(
    "principal_mixture",
    config=PrincipalConfig,
    modalities=("points", "table", "image", "series"),
    paper="Tipping & Bishop, Probabilistic Principal Component Analysis, 1999; Bishop, section 9.2, 2006",
    trainer={"steps": 60, "batch_size": 4096, "ema": 0.0},
)
class PrincipalMixture(Density):
    """One player, the mixture; the directions are buffers."""

    config: PrincipalConfig

    def __init__(self, spec: DataSpec, config: PrincipalConfig) -> None:
        super().__init__(spec, config)
        leading = min(config.leading, spec.dim)
        inner = MixtureConfig(components=config.components, floor=config.floor, updates="em")
        self.mixture = Mixture(DataSpec.vector(leading), inner)
        self.leading = Leading(spec.dim, leading)

    def optimisers(self) -> dict[str, Optimiser]:
        """Those of the mixture, which sets itself in closed form."""
        return self.mixture.optimisers()

    @torch.no_grad()
    def prepare(self, batch: Batch) -> None:
        """Mean and leading directions of the first batch, and the mixture's start."""
        self.leading.learn(wide(batch.x).flatten(1), batch.generator)
        self.mixture.prepare(self.leading.inside(batch))

    def phases(self) -> tuple[Phase, ...]:
        """Maximum likelihood of the mixture."""
        return (Phase("density", self.loss, after=(self.settle,)),)

    def settle(self, batch: Batch) -> None:
        """A step of EM."""
        self.mixture.settle(self.leading.inside(batch))

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats, ``(n,)``."""
        with torch.autocast(x.device.type, enabled=False):
            x, along = wide(x).flatten(1), self.leading
            z = along(x)
            left = x.shape[1] - z.shape[1]
            log_density = self.mixture.log_prob(z) - z.shape[1] * along.scale.log()
            if not left:
                return log_density
            residual = ((x - along.centre).square().sum(1) - (z * along.scale).square().sum(1)).clamp_min(0)
            return log_density - 0.5 * (residual / along.rest + left * (2 * math.pi * along.rest).log())

    def couples_batch(self) -> str:
        """The moments."""
        return self.mixture.couples_batch()

    def scorer(self) -> nn.Module:
        """-log of the mixture's density, or with the residual of p(x)."""
        return (NegativeLogProb if self.config.residual else PrincipalScore)(self).eval()


class PrincipalScore(nn.Module):
    """``(n, *shape) -> (n,)``: -log density of the leading components in nats."""

    def __init__(self, model: PrincipalMixture) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Score examples."""
        return -self.model.mixture.log_prob(self.model.leading(wide(x).flatten(1)))
