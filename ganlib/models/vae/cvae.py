"""Conditional variational autoencoder.

Paper: Sohn, Lee & Yan, Learning Structured Output Representation using Deep Conditional Generative Models, NIPS 2015;
the class-conditional form goes back to Kingma et al., arXiv 1406.5298, 2014 (M2).

Idea: every distribution of a VAE is given the class y, so that one model generates each class on request:

    maximise  E_q(z|x,y) log p(x|z,y) - beta · KL(q(z|x,y) || p(z|y)),      p(z|y) = N(0, I)

Shapes: x ``(n, *shape)``, encoded rows or images; y int64 ``(n,)``; z ``(n, latent_dim)``.
Defaults: the papers give none for tables; latent 16, batch 128 and Adam 1e-3 are common, widths 128-64 are ours.
Deviations: numbers have one learned variance per column (floored), flags are Bernoulli, categories categorical; images
share one learned variance.
Training uses p(z|y) = N(0, I). After training, ``fit_prior`` may replace it, for sampling only, by a Gaussian fitted to
the aggregated posterior of each class, with a covariance shrunk towards the pooled one (``ClassPrior``). This removes
the mismatch between prior and aggregated posterior, and a class of few rows gets the shape of the others. Images and
series, of many rows, get a mixture of Gaussians per class (``MixturePrior``). With ``condition="latent"`` the networks
do not get y, and the class enters only through that prior.

Use it for: examples by class from few rows or images, the safest choice here. Trained on its digits, classifiers
reached .957 on real ones (Gaussians by class .956), on MNIST .963 (.913); a class of ten was recalled at .85 (SMOTE and
others .83).

Not for: the sharpest images: `cvae_gan`'s are sharper on MNIST (.57 and .52, real ones 1). Data without classes: `vae`.
Anomalies: `vae`. Continuous attributes: `cgan`.

Symbols:
    q(z|x,y)     CVAE.posterior
    p(x|z,y)     CVAE.reconstruction_nll
    p(z|y)       class_prior, CVAE.fit_prior
    KL           gaussian_kl, loss term kl
    beta         CVAEConfig.beta
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from ganlib.config import Config, Count, Rate, Share, Weight, Whole
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.losses.divergence import gaussian_kl
from ganlib.losses.table import example_nll
from ganlib.nn.architecture import Headed, NetOptions, architecture
from ganlib.nn.conditional import ByClass, Conditioned, class_prior
from ganlib.nn.gaussian import reparameterise
from ganlib.nn.sampler import Sampler, sampler_for
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase


@dataclass(frozen=True, kw_only=True)
class CVAEConfig(Config):
    """``beta``: weight of the KL term; ``condition``: "both" passes y to the networks, "latent" only to the prior.

    ``networks`` and ``width`` as in GANConfig; ``dropout`` in the MLPs; ``prior_components``: number of Gaussians per
    class that ``fit_prior`` fits. ``None`` is one for tables, and up to 30 (one per 50 rows) for images and series.
    """

    latent_dim: Count = 16
    networks: str = "auto"
    width: Count = 32
    hidden: tuple[Count, ...] = (128, 64)
    beta: Weight = 1.0
    condition: Literal["both", "latent"] = "both"
    dropout: Share = 0.0
    prior_components: Whole | None = None
    learning_rate: Rate = 1e-3
    weight_decay: Weight = 0.0


@register(
    "cvae",
    config=CVAEConfig,
    modalities=("table", "points", "image", "series"),
    paper="Sohn, Lee & Yan, Learning Structured Output Representation using Deep Conditional Generative Models, "
    "NIPS 2015",
)
class CVAE(Algorithm):
    """Encoder and decoder, both given the class, trained together as one player."""

    takes = ("classes",)
    config: CVAEConfig

    def __init__(self, spec: DataSpec, config: CVAEConfig) -> None:
        super().__init__()
        if spec.classes < 1:
            other = "vae" if spec.kind == "vector" else "dcgan"
            raise ConfigError(f"cvae generates by class and needs classes=...; use {other} for data without labels")
        self.spec, self.config = spec, config
        seen = spec.classes if config.condition == "both" else 0
        nets = architecture(config.networks, spec)
        options = NetOptions(config.hidden, config.width, activation="relu", dropout=config.dropout)
        trunk = nets.trunk(spec.shape, seen, options)
        self.encoder = ByClass(Headed(trunk, 2 * config.latent_dim), seen)
        options = replace(options, hidden=config.hidden[::-1])
        self.decoder = ByClass(nets.generator(config.latent_dim, spec.shape, seen, options), seen)
        # Each column has its noise; an image's pixels share one.
        self.log_variance = nn.Parameter(torch.full((spec.dim if spec.kind == "vector" else 1,), -1.0))
        self.prior = class_prior(spec, config.latent_dim, config.prior_components)

    def players(self) -> dict[str, nn.Module]:
        """One player with all parameters."""
        return {"cvae": self}

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam at the configured rate, with decoupled weight decay if set."""
        name = "adamw" if self.config.weight_decay else "adam"
        return {"cvae": Optimiser(name, self.config.learning_rate, (0.9, 0.999), self.config.weight_decay)}

    def phases(self) -> tuple[Phase, ...]:
        """One update of the bound per step."""
        return (Phase("cvae", self.loss),)

    def posterior(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x, y), each ``(n, latent_dim)``; the latter within [-12, 6]."""
        mean, log_variance = self.encoder(x, y).chunk(2, dim=1)
        return mean, log_variance.clamp(-12.0, 6.0)

    def encode(self, x: Tensor, y: Tensor) -> Tensor:
        """The posterior's mean, ``(n, latent_dim)``."""
        return self.posterior(x, y)[0]

    def reconstruction_nll(self, z: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """-log p(x|z, y) per raw column, ``(n, columns)``, variances floored at e^-6."""
        return example_nll(self.spec, self.decoder(z, y), self.log_variance.clamp(-6.0, 4.0), x)

    def loss(self, batch: Batch) -> Losses:
        """Negative bound as ``reconstruction`` and ``kl``, nats per row."""
        mean, log_variance = self.posterior(batch.x, batch.y)
        z = reparameterise(mean, log_variance, batch.randn(self.config.latent_dim))
        reconstruction = self.reconstruction_nll(z, batch.x, batch.y).sum(1).mean()
        return Losses(
            weights={"kl": self.config.beta}, reconstruction=reconstruction, kl=gaussian_kl(mean, log_variance).mean()
        )

    def validation_loss(self, batch: Batch) -> Tensor:
        """The negative bound on held-out rows."""
        return self.loss(batch).total

    @torch.no_grad()
    def fit_prior(self, x: Tensor, y: Tensor) -> None:
        """Fit the sampling prior to the aggregated posterior of each class, after training."""
        mean, log_variance = self.posterior(x, y)
        self.prior.fit(mean, log_variance.exp(), y)

    def sampler(self) -> Sampler:
        """Ancestral sampling: z from the class's prior, then x from p(x|z, y)."""
        scale = torch.exp(0.5 * self.log_variance.clamp(-6.0, 4.0))
        decoder = Conditioned(self.prior, self.decoder)
        return sampler_for(decoder, self.prior.noise_dim, self.spec, scale)
