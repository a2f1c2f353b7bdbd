"""GANomaly, for tables, images and series.

Paper: Akcay, Atapour-Abarghouei & Breckon, GANomaly: Semi-Supervised Anomaly Detection via Adversarial Training,
arXiv 1805.06725, 2018 (ACCV).

Idea: an encoder-decoder-encoder generator learns to rebuild normal data and its code; data that it cannot re-encode
are anomalous:

    z = GE(x), x^ = GD(z), z^ = E(x^)
    generator: w_adv · ||f(x) - f(x^)||² + w_con · |x - x^| + w_enc · (z - z^)²          (equations 1 to 4)
    critic:    -log D(x) - log(1 - D(x^));   f = its last hidden features (feature matching, authors' code from 2019)
    score:     mean (z - z^)²                                             (equation 5; squared as in the code)

Defaults of the authors: weights 1, 50, 1; Adam 2e-4 with betas (0.5, 0.999); LeakyReLU 0.2; batch 64; 64 channels; 100
latents; the critic is initialised again when its loss falls below 1e-5. Shapes: x ``(n, *shape)``, z
``(n, latent_dim)``.
Images and series: the authors' pyramids of strided convolutions with batch norm (one-dimensional for series, linear
output), of 32 channels, with a linear layer between pyramid and code.
Deviations for tables: MLPs without batch norm; flags and categories are rebuilt as probabilities.
Deviations for all: learning rate 1e-3. The default ``score="combined"`` adds the context error, because the small
code of a table loses columns. Every squared error, of code and example, is divided by its mean over training batches
(floored at 0.01), so that a position that is rebuilt exactly in normal examples has its due weight. ``score="latent"``
is the paper's score, ``"context"`` the example's part only.
A known limit: published reruns on photographs of defects are below chance (anomalib's README, MVTec AD: mean AUROC
.421), and the authors keep the epoch that is best on test labels, which this library does not.

Use it for: anomalies in images and tables when only normal examples train. Digits of a class never seen were found with
AUROC .845 (PCA .761); over 16 tables its mean is .850 (ADBench's GANomaly .781).

Not for: tables where `vae` does as well: it has .864 over the same ones and trains in less than half the time.
Photographs of defects: published reruns are below chance.

Symbols:
    GE, GD      GANomaly.encoder, GANomaly.decoder
    E           GANomaly.second_encoder
    z, x^, z^   GANomaly.passes
    f           features of GANomaly.critic
    w_adv, w_con, w_enc   GANomalyConfig.adversarial, GANomalyConfig.contextual, GANomalyConfig.encoder
    score       GANomalyScorer
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ganlib.config import Config, Count, Rate, Weight
from ganlib.data.spec import DataSpec
from ganlib.losses.adversarial import objective
from ganlib.losses.divergence import wide
from ganlib.models.anomaly.networks import Parts, restart
from ganlib.nn.architecture import activate_output
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase

_FLOOR = 0.01
_MEMORY = 0.05


@dataclass(frozen=True, kw_only=True)
class GANomalyConfig(Config):
    """``adversarial``, ``contextual``, ``encoder``: the three weights; ``score``: the paper's is latent.

    ``latent_dim``: ``None`` is 8 for tables, and for images and series 100, but at most a quarter of an example's
    values. ``hidden``: widths for tables; ``width``: channels of the first convolution for other data.
    ``restart_below``: loss of the critic below which it is initialised again, 0 for never.
    """

    latent_dim: Count | None = None
    hidden: tuple[Count, ...] = (128, 64)
    width: Count = 32
    adversarial: Weight = 1.0
    contextual: Weight = 50.0
    encoder: Weight = 1.0
    score: Literal["latent", "context", "combined"] = "combined"
    learning_rate: Rate = 1e-3
    restart_below: Weight = 1e-5


class GANomalyScorer(nn.Module):
    """``(n, *shape) -> (n,)``: the score of examples."""

    def __init__(self, model: GANomaly) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Score examples."""
        z, rebuilt, again = self.model.passes(x)
        kind = self.model.config.score
        if kind == "latent":
            return (z - again).square().mean(1)
        context = self._errors(x, rebuilt).flatten(1).mean(1)
        if kind == "context":
            return context
        return context + ((z - again).square() / self.model.latent_scale.clamp_min(_FLOOR)).mean(1)

    def residual(self, x: Tensor) -> Tensor:
        """The contribution of each position to the context error, of the shape of ``x``."""
        return self._errors(x, self.model.passes(x)[1]) / self.model.spec.dim

    def _errors(self, x: Tensor, rebuilt: Tensor) -> Tensor:
        return (x - rebuilt).square() / self.model.context_scale.clamp_min(_FLOOR)


@register(
    "ganomaly",
    config=GANomalyConfig,
    modalities=("table", "image", "series"),
    paper="Akcay, Atapour-Abarghouei & Breckon, GANomaly, arXiv 1805.06725, 2018",
)
class GANomaly(Algorithm):
    """Players ``generator`` (encoder, decoder, second encoder) and ``critic``."""

    config: GANomalyConfig
    context_scale: Tensor
    latent_scale: Tensor
    critic_value: Tensor

    def __init__(self, spec: DataSpec, config: GANomalyConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        parts = Parts(spec, config.hidden, config.width)
        codes = parts.latents(config.latent_dim)
        self.encoder = parts.encoder(codes)
        self.decoder = parts.decoder(codes)
        self.second_encoder = parts.encoder(codes)
        self.critic = parts.encoder(1)
        self.register_buffer("context_scale", torch.ones(spec.shape))
        self.register_buffer("latent_scale", torch.ones(codes))
        self.register_buffer("critic_value", torch.ones(()))

    def players(self) -> dict[str, nn.Module | list[nn.Module]]:
        """Generator and critic."""
        return {"generator": [self.encoder, self.decoder, self.second_encoder], "critic": self.critic}

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam for both."""
        return dict.fromkeys(("generator", "critic"), Optimiser("adam", self.config.learning_rate))

    def phases(self) -> tuple[Phase, ...]:
        """Generator, then critic, as in the authors' code."""
        return (
            Phase("generator", self.generator_loss),
            Phase("critic", self.critic_loss, after=(self.restart_critic,)),
        )

    def passes(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(z, x^, z^)``."""
        z = self.encoder(x)
        rebuilt = activate_output(self.spec, self.decoder(z))
        return wide(z), rebuilt, wide(self.second_encoder(rebuilt))

    def generator_loss(self, batch: Batch) -> Losses:
        """The three terms; also updates the running means that scale the score."""
        z, rebuilt, again = self.passes(batch.x)
        code_error = (z - again).square()
        with torch.no_grad():
            if self.training:
                self.latent_scale.lerp_(code_error.mean(0), _MEMORY)
                self.context_scale.lerp_((batch.x - rebuilt).square().mean(0), _MEMORY)
        return Losses(
            weights={
                "adversarial": self.config.adversarial,
                "contextual": self.config.contextual,
                "encoder": self.config.encoder,
            },
            adversarial=(wide(self.critic.features(batch.x)) - self.critic.features(rebuilt)).square().mean(),
            contextual=(batch.x - rebuilt).abs().mean(),
            encoder=code_error.mean(),
        )

    def critic_loss(self, batch: Batch) -> Losses:
        """Real examples against rebuilt ones."""
        with torch.no_grad():
            rebuilt = activate_output(self.spec, self.decoder(self.encoder(batch.x)))
        value = objective("gan").critic_of(self.critic(batch.x), self.critic(rebuilt))
        self.critic_value.copy_(value.detach())
        return Losses(critic=value)

    @torch.no_grad()
    def restart_critic(self, batch: Batch) -> None:
        """Initialise the critic again, with the run's noise, if it separates the classes perfectly."""
        restart(self.critic, self.critic_value < self.config.restart_below, batch)

    def validation_loss(self, batch: Batch) -> Tensor:
        """Context and code errors of held-out normal examples."""
        z, rebuilt, again = self.passes(batch.x)
        return (batch.x - rebuilt).square().mean() + (z - again).square().mean() / 50

    def couples_batch(self) -> str:
        """The restart rule depends on the batch's mean critic loss."""
        return "the critic's restart depends on its mean loss on the batch"

    def scorer(self) -> nn.Module:
        """The score, for export."""
        return GANomalyScorer(self).eval()
