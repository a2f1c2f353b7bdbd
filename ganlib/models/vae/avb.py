"""Adversarial variational Bayes: a VAE with an implicit posterior.

Paper: Mescheder, Nowozin & Geiger, Adversarial Variational Bayes, arXiv 1701.04722, ICML 2017.

Idea: the encoder is any function of the example and of noise, z = f(x, e), so that q(z|x) may have any shape, for
example several modes. It has no density, so a critic T, trained to separate codes from the prior, estimates the
log-ratio that the bound needs:

    critic   maximise  E log s(T(x, z_q)) + E log(1 - s(T(x, z_p))),  z_q = f(x, e), z_p ~ N(0, I)     (equation 5)
    others   maximise  E [log p(x|z_q) - beta · T(x, z_q)]                                            (equation 9)

At its optimum T = log q(z|x) - log p(z) (proposition 1), and the gradient through T's own parameters has mean zero
(proposition 2). Adaptive contrast (section 4, ``adaptive=True``): with the mean m(x) and deviation s(x) of q, the
critic compares (z - m)/s with N(0, I), which is easier where q and the prior differ much, and

    log q(z|x) - log p(z) = T(x, (z - m)/s) - |z - m|²/(2 s²) - sum log s + |z|²/2

Shapes: x ``(n, d)`` encoded rows; noise ``(n, noise_dim)``; z ``(n, latent_dim)``.
Defaults: two updates of the critic for one of the rest and Adam 1e-3 for both are ours; the authors' code has 1e-4 for
the critic, 5e-5 for the rest and 2.5 million steps. The latent and noise widths are ours.
Deviations: likelihoods as in VAE. m and s come from an encoder with known moments (``BasisEncoder``), and carry no
gradient, since their effect cancels at the optimal T. The score is the negative bound over a fixed table of
``score_samples`` noises.

Use it for: tables and points whose codes have posteriors that no Gaussian fits, such as discrete data with a small
code; it gives a higher likelihood than ``vae`` there.
Not for: short trainings or a bound that must be exact, since T only estimates the KL term; use ``iwae`` for a tighter
certain bound and ``realnvp`` for an exact density.
Symbols:
    q(z|x)   ``encoder``, samples by ``sample``
    T(x, z)  ``critic``; with the reference of adaptive contrast ``log_ratio``
    p(x|z)   ``decoder`` and ``variance``, ``reconstruction_nll``
    e        ``batch.randn(noise_dim)``; in scores the rows of ``noise.table``
    m, s     ``encoder.moments``
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ganlib.config import Count, Rate
from ganlib.data.spec import DataSpec
from ganlib.losses.divergence import wide
from ganlib.models.vae.vae import VAE, FixedNoise, VAEConfig, VAEScorer
from ganlib.nn.implicit import BasisEncoder, NoisyEncoder
from ganlib.nn.mlp import MLP
from ganlib.registry import register
from ganlib.training.algorithm import Batch, Losses, Optimiser, Phase


@dataclass(frozen=True, kw_only=True)
class AVBConfig(VAEConfig):
    """``noise_dim``: noise of the encoder; ``adaptive``: adaptive contrast; ``critic_steps``: updates of T per step;
    ``critic_hidden``: widths of its hidden layers."""

    noise_dim: Count = 16
    adaptive: bool = False
    critic_hidden: tuple[Count, ...] = (128, 128)
    critic_steps: Count = 2
    critic_learning_rate: Rate = 1e-3
    score_samples: Count = 16


class AVBScorer(VAEScorer):
    """The negative bound over the fixed noise table: ``(n, d) -> (n,)``."""

    vae: AVB

    def score(self, x: Tensor, with_kl: bool = True) -> Tensor:
        """The negative bound, or only the reconstruction term."""
        x = x.flatten(1)
        repeated, z = self.vae.table_codes(x)
        total = self.vae.reconstruction_nll(z, repeated).sum(1)
        if with_kl:
            total = total + self.vae.config.beta * self.vae.log_ratio(repeated, z)
        return total.view(len(x), -1).mean(1)

    def residual(self, x: Tensor) -> Tensor:
        """Contributions of each position, means over the table's codes: ``(n, d) -> (n, d)``."""
        repeated, z = self.vae.table_codes(x)
        return self.parts(repeated, z).view(len(x), -1, x.shape[1]).mean(1)


@register(
    "avb",
    config=AVBConfig,
    modalities=("table", "points"),
    paper="Mescheder, Nowozin & Geiger, Adversarial Variational Bayes, arXiv 1701.04722, ICML 2017",
)
class AVB(VAE):
    """Players ``vae`` (encoder, decoder and variances) and ``critic``."""

    config: AVBConfig

    def __init__(self, spec: DataSpec, config: AVBConfig) -> None:
        super().__init__(spec, config)
        kind = BasisEncoder if config.adaptive else NoisyEncoder
        self.encoder = kind(spec.dim, config.noise_dim, config.hidden, config.latent_dim)  # type: ignore[assignment]
        self.critic = MLP(spec.dim + config.latent_dim, config.critic_hidden, 1, "leaky_relu")
        self.noise = FixedNoise(config.score_samples, config.noise_dim)

    def players(self) -> dict[str, list[nn.Module]]:  # type: ignore[override]
        """The autoencoder's parts, and the critic."""
        return {"vae": [self.encoder, self.decoder, self.variance], "critic": [self.critic]}

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam for both."""
        return {**super().optimisers(), "critic": Optimiser("adam", self.config.critic_learning_rate, (0.9, 0.999))}

    def phases(self) -> tuple[Phase, ...]:
        """The critic, then the bound."""
        return (Phase("critic", self.critic_loss, repeat=self.config.critic_steps), Phase("vae", self.loss))

    # ---------------------------------------------------------------- codes and their log-ratio
    def sample(self, batch: Batch) -> Tensor:
        """Codes of the batch, ``(n, latent_dim)``."""
        return self.encoder(batch.x.flatten(1), batch.randn(self.config.noise_dim))

    def table_codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Each row once per row of the noise table, and its codes: ``(n · k, d)`` and ``(n · k, latent_dim)``."""
        x, table = x.flatten(1), self.noise.table
        repeated = x.unsqueeze(1).expand(-1, len(table), -1).flatten(0, 1)
        return repeated, self.encoder(repeated, table.unsqueeze(0).expand(len(x), -1, -1).flatten(0, 1))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of codes over the noise table, each ``(n, latent_dim)``."""
        codes = self.table_codes(x)[1].view(len(x), -1, self.config.latent_dim)
        mean = codes.mean(1)
        return mean, (codes - mean.unsqueeze(1)).square().mean(1).clamp(min=6e-6).log()

    def _judge(self, x: Tensor, z: Tensor) -> Tensor:
        return self.critic(torch.cat([x.flatten(1), z], 1)).squeeze(1)

    def _reference(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the codes, without gradient."""
        mean, deviation = self.encoder.moments(x.flatten(1))  # type: ignore[operator]
        return mean.detach(), deviation.detach()

    def log_ratio(self, x: Tensor, z: Tensor) -> Tensor:
        """The estimate of log q(z|x) - log p(z), whose mean over codes is the KL divergence, ``(n,)``."""
        if not self.config.adaptive:
            return wide(self._judge(x, z))
        mean, deviation = self._reference(x)
        scaled = (z - mean) / deviation
        known = 0.5 * (wide(z).square() - wide(scaled).square()) - wide(deviation).log()
        return wide(self._judge(x, scaled)) + known.sum(1)

    # ---------------------------------------------------------------- losses
    def critic_loss(self, batch: Batch) -> Losses:
        """Cross-entropy of codes against the prior (or of scaled codes against N(0, I)), each beside its example."""
        with torch.no_grad():
            z = self.sample(batch)
            if self.config.adaptive:
                mean, deviation = self._reference(batch.x)
                z = (z - mean) / deviation
        codes, prior = self._judge(batch.x, z), self._judge(batch.x, batch.randn(self.config.latent_dim))
        return Losses(critic=softplus(-codes).mean() + softplus(prior).mean())

    def loss(self, batch: Batch) -> Losses:
        """The negative bound as ``reconstruction`` and ``kl``, nats per row."""
        z = self.sample(batch)
        reconstruction = self.reconstruction_nll(z, batch.x).sum(1).mean()
        kl = self.log_ratio(batch.x, z).mean()
        return Losses(weights={"kl": self.config.beta}, reconstruction=reconstruction, kl=kl)

    def scorer(self) -> nn.Module:
        """The negative bound, for export."""
        return AVBScorer(self).eval()
