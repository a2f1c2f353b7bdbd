"""VAE/GAN: an autoencoder whose reconstruction is judged in a critic's features.

Paper: Larsen et al., Autoencoding beyond pixels using a learned similarity metric, arXiv 1512.09300, 2016.

Idea: encoder, decoder and critic are updated simultaneously from one shared forward (algorithm 1 of the paper):

    L_prior = KL(q(z|x) || N(0, I));   L_like = 0.5 ||f(x) - f(x~)||², f = the critic's hidden features
    L_GAN   = -log D(x) - log(1 - D(x~)) - log(1 - D(x_p)),   x~ = dec(z ~ q), x_p = dec(z ~ N(0, I))
    encoder: L_prior + L_like;   decoder: gamma · L_like - L_GAN;   critic: L_GAN

and, as in the authors' code, an equilibrium rule holds a side back while the other is too weak: the critic rests
while a loss of its own is below ``equilibrium - margin``, the decoder while one is above ``equilibrium + margin``;
if that holds both back, both move.
Defaults: equilibrium 0.68, margin 0.35 (authors' code), RMSProp there, Adam here.
Deviations: the rule looks at the step before, since players are chosen before the losses are known; the decoder uses
the non-saturating loss; gamma 1 with features averaged over units.

Use it for: studying a reconstruction that is judged in a critic's features, on points and tables without classes.

Not for: production: it cannot be sealed yet. Tables with classes: `cvae_gan` (+2.8 to +3.8 points of AUPRC). Images:
`cvae_gan` or `dcgan`, since these networks are for vectors. Many modes: `wgan_gp`.

Symbols:
    q(z|x), dec   VAEGAN.encoder, VAEGAN.generator
    D, f          VAEGAN.critic and its features
    L_prior       loss term prior, VAEGANConfig.kl
    L_like        loss terms like and decoder_like, VAEGANConfig.gamma
    L_GAN         loss terms real, fake and fool
    equilibrium, margin   VAEGAN.critic_moves, VAEGAN.generator_moves
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ganlib.adversarial import Game, GameConfig, Sides
from ganlib.config import Config, Count, Rate, Weight
from ganlib.data.spec import DataSpec
from ganlib.losses.divergence import gaussian_kl
from ganlib.nn.gaussian import reparameterise
from ganlib.nn.layers import bake
from ganlib.nn.mlp import MLP
from ganlib.nn.sampler import GeneratorSampler, Sampler
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase


@dataclass(frozen=True, kw_only=True)
class VAEGANConfig(Config):
    """``gamma`` weighs feature reconstruction against the critic in the decoder; ``kl`` weighs the prior term;
    ``equilibrium``, ``margin``: the critic's usual loss, and how far from it a side is held back;
    ``penalty``, ``penalty_weight`` and ``clip`` of the critic as in ``GameConfig``."""

    latent_dim: Count = 4
    hidden: tuple[Count, ...] = (128, 128)
    gamma: Weight = 1.0
    kl: Weight = 0.01
    equilibrium: Weight = 0.68
    margin: Weight = 0.35
    penalty: str = "none"
    penalty_weight: Weight | None = None
    clip: Weight = 0.0
    learning_rate: Rate = 5e-4


@register(
    "vae_gan",
    config=VAEGANConfig,
    exports=(),
    modalities=("points", "table"),
    paper="Larsen et al., Autoencoding beyond pixels using a learned similarity metric, arXiv 1512.09300, 2016",
    known_gaps={"export": "small proving model: its full catalogue check and export come with the generator families"},
)
class VAEGAN(Algorithm):
    """Players ``encoder``, ``generator`` (the decoder) and ``critic``, moved at once."""

    config: VAEGANConfig
    real_loss: Tensor
    fake_loss: Tensor

    def __init__(self, spec: DataSpec, config: VAEGANConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        self.encoder = MLP(spec.dim, config.hidden, 2 * config.latent_dim)
        self.generator = MLP(config.latent_dim, config.hidden, spec.dim)
        options = GameConfig(penalty=config.penalty, penalty_weight=config.penalty_weight, clip=config.clip)
        self.game = Game(MLP(spec.dim, config.hidden, 1, "leaky_relu"), options, spec.x)
        self.register_buffer("real_loss", torch.tensor(config.equilibrium))
        self.register_buffer("fake_loss", torch.tensor(config.equilibrium))
        self._read: Tensor | None = None

    def players(self) -> dict[str, nn.Module]:
        """Encoder, decoder and critic."""
        return {"encoder": self.encoder, "generator": self.generator} | self.game.players()

    @property
    def critic(self) -> Any:
        """The game's critic."""
        return self.game.critic

    def optimisers(self) -> dict[str, Optimiser]:
        """One Adam for all."""
        return dict.fromkeys(self.players(), Optimiser("adam", self.config.learning_rate))

    def phases(self) -> tuple[tuple[Phase, ...], ...]:
        """One simultaneous update of whoever may move."""
        return (
            (
                Phase("encoder", self.encoder_loss),
                Phase("generator", self.generator_loss, when=lambda _: self.generator_moves()),
                Phase("critic", self.critic_loss, when=lambda _: self.critic_moves(), after=(self.game.after,)),
            ),
        )

    def critic_moves(self) -> bool:
        """The critic rests while it wins by the margin, unless the decoder would rest too: then both move."""
        return not self._winning() or self._lost()

    def generator_moves(self) -> bool:
        """The decoder rests while the critic is lost, unless the critic would rest too: then both move."""
        return not self._lost() or self._winning()

    def _winning(self) -> bool:
        """Whether one of the critic's losses is below the margin."""
        return bool((self._losses() < self.config.equilibrium - self.config.margin).any())

    def _lost(self) -> bool:
        """Whether one of the critic's losses is above the margin."""
        return bool((self._losses() > self.config.equilibrium + self.config.margin).any())

    def _losses(self) -> Tensor:
        """The critic's losses on real and fake rows at the step before: ``(2,)``, read from the device once a step."""
        if self._read is None:
            self._read = torch.stack([self.real_loss, self.fake_loss]).cpu()
        return self._read

    def _forward(self, batch: Batch) -> dict[str, Tensor]:
        """The forward that all three losses share; also remembers the losses for the equilibrium rule."""
        mean, log_variance = self.encoder(batch.x).chunk(2, 1)
        log_variance = log_variance.clamp(-12, 6)
        z = reparameterise(mean, log_variance, batch.randn(self.config.latent_dim))
        rebuilt, drawn = self.generator(z), self.generator(batch.randn(self.config.latent_dim))
        out = {"kl": gaussian_kl(mean, log_variance).mean() / self.spec.dim}
        features = self.critic.features(batch.x)
        out["like"] = 0.5 * (features.detach() - self.critic.features(rebuilt)).square().mean()
        real, fake = self.critic.head(features), torch.cat([self.critic(rebuilt), self.critic(drawn)])
        out["drawn"] = drawn.detach()
        out["real"], out["fake"], out["fool"] = softplus(-real).mean(), softplus(fake).mean(), softplus(-fake).mean()
        self.real_loss.copy_(out["real"].detach())
        self.fake_loss.copy_(out["fake"].detach())
        self._read = None
        return out

    def forward_once(self, batch: Batch) -> dict[str, Tensor]:
        """The shared forward of this batch."""
        return batch.once("forward", lambda: self._forward(batch))

    def encoder_loss(self, batch: Batch) -> Losses:
        """Prior and feature reconstruction."""
        out = self.forward_once(batch)
        return Losses(weights={"prior": self.config.kl}, prior=out["kl"], like=out["like"])

    def generator_loss(self, batch: Batch) -> Losses:
        """Feature reconstruction and fooling the critic."""
        out = self.forward_once(batch)
        return Losses(weights={"decoder_like": self.config.gamma}, decoder_like=out["like"], fool=out["fool"])

    def critic_loss(self, batch: Batch) -> Losses:
        """Telling real rows from rebuilt and drawn ones."""
        out = self.forward_once(batch)
        penalty = self.game.penalty_loss(batch, Sides(batch.x, out["drawn"]))
        return Losses(real=out["real"], fake=out["fake"]) | penalty

    def couples_batch(self) -> str:
        """The equilibrium rule reads the batch's mean losses."""
        return "the equilibrium rule follows the batch's mean losses"

    def sampler(self) -> Sampler:
        """The decoder."""
        return GeneratorSampler(bake(self.generator), self.config.latent_dim).eval()
