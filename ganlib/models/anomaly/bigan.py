"""EGBAD: a bidirectional GAN whose critic compares pairs of example and code, used as a detector.

Papers: Zenati et al., Efficient GAN-Based Anomaly Detection, arXiv 1802.06222, 2018; the model is BiGAN, Donahue et
al., Adversarial Feature Learning, arXiv 1605.09782, 2016 (ALI: Dumoulin et al., arXiv 1606.00704).

Idea: an encoder E learns to invert the generator G, because one critic sees both as pairs:

    min_{G,E} max_D  E_x log D(x, E(x)) + E_z log(1 - D(G(z), z)),   z ~ N(0, I)        (1605.09782, equation 2)
    score: (1 - w) · ||x - G(E(x))||_1 + w · ||f(x, E(x)) - f(G(E(x)), E(x))||_1        (1802.06222, section 3)

f are the critic's last hidden features. ``score="cross_entropy"`` has -log D(x, E(x)) instead of their distance. The
encoder plays the generator's side with the pairs exchanged and the critic's score negated. The game's examples are
pairs as vectors ``(n, d + latent_dim)``, so that penalties, replay and noise treat both parts alike.
Shapes: x ``(n, *shape)``, z ``(n, latent_dim)``.
Defaults: w 0.1 and feature matching by L1 are those of the paper's figures (authors' README); latents None is 8 for
tables, and for others 100, at most a quarter of an example's values (theirs: 32 for KDD99, 200 for MNIST).
Deviations: Adam 2e-4 (authors: 1e-5, with weights averaged at 0.999); no batch norm in the critic.

Use it for: studying a bidirectional game: it generates, and its encoder finds the codes of examples.

Not for: anomaly detection: its check failed (AUROC .50 on digits; PCA .76, `ganomaly` .85), so it is not registered as
a detector. Generating: it reached .32 on the ring of eight modes; use `gan` or `wgan_gp`.

Symbols:
    E, G        BiGAN.encoder, BiGAN.generator
    D           PairCritic
    (x, E(x)), (G(z), z)   BiGAN._pairs
    f           PairCritic.features
    w           BiGANConfig.score_weight
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ganlib.adversarial import Game, GameConfig, Sides
from ganlib.config import Count, Share
from ganlib.data.fields import Vector
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.losses.divergence import wide
from ganlib.models.anomaly.networks import Parts
from ganlib.nn.architecture import activate_output
from ganlib.nn.mlp import MLP
from ganlib.nn.sampler import Sampler, sampler_for
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase

# Objectives whose generator's loss, of a negated score, is the loss of who wants the opposite.
ANTISYMMETRIC = ("gan", "gan_saturating", "hinge", "dragan", "wgan", "wgan_gp", "wgan_gp_one_sided")


@dataclass(frozen=True, kw_only=True)
class BiGANConfig(GameConfig):
    """``score_weight``: w, the critic's share of the score; ``score``: what the critic adds.

    ``latent_dim``: ``None`` is 8 for tables, and for images and series 100, but at most a quarter of an example's
    values. ``hidden``: widths for tables, and of the critic's last layers; ``width``: channels of the first convolution
    for other data.
    """

    latent_dim: Count | None = None
    hidden: tuple[Count, ...] = (128, 64)
    width: Count = 32
    score: Literal["features", "cross_entropy"] = "features"
    score_weight: Share = 0.1


class PairCritic(nn.Module):
    """Pairs ``(n, d + latent_dim)`` of a flattened example and its code to scores ``(n, 1)``."""

    def __init__(self, spec: DataSpec, parts: Parts, codes: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.dim = spec.shape, spec.dim
        self.trunk = parts.encoder(hidden[-1]) if hidden and not parts.flat else None
        self.joint = MLP((hidden[-1] if self.trunk is not None else spec.dim) + codes, hidden, 1, "leaky_relu")

    def features(self, pairs: Tensor) -> Tensor:
        """The last hidden features."""
        x, z = pairs[:, : self.dim], pairs[:, self.dim :]
        if self.trunk is not None:
            x = nn.functional.leaky_relu(self.trunk(x.unflatten(1, self.shape)), 0.2)
        return self.joint.features(torch.cat([x, z], 1))

    def forward(self, pairs: Tensor) -> Tensor:
        """Score pairs."""
        return self.joint.head(self.features(pairs))


def pairs(x: Tensor, z: Tensor) -> Tensor:
    """Examples ``(n, *shape)`` and codes as ``(n, d + latent_dim)``."""
    return torch.cat([wide(x).flatten(1), wide(z)], 1)


class BiGANScorer(nn.Module):
    """``(n, *shape) -> (n,)``: the score of examples."""

    def __init__(self, model: BiGAN) -> None:
        super().__init__()
        self.encoder, self.generator = model.encoder, model.generator
        self.critic: Any = model.game.critic
        self.spec, self.config = model.spec, model.config

    def rebuild(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Code and reconstruction."""
        z = self.encoder(x)
        return z, activate_output(self.spec, self.generator(z))

    def forward(self, x: Tensor) -> Tensor:
        """Score examples."""
        z, rebuilt = self.rebuild(x)
        real, weight = pairs(x, z), self.config.score_weight
        if self.config.score == "features":
            seen: Tensor = (self.critic.features(real) - self.critic.features(pairs(rebuilt, z))).abs().sum(1)
        else:
            seen = nn.functional.softplus(-self.critic(real)).squeeze(1)
        return (1 - weight) * self.residual_of(x, rebuilt).flatten(1).sum(1) + weight * seen

    @staticmethod
    def residual_of(x: Tensor, rebuilt: Tensor) -> Tensor:
        """Absolute errors."""
        return (x - rebuilt).abs()

    def residual(self, x: Tensor) -> Tensor:
        """The contribution of each position to the score's first part, of the shape of ``x``."""
        return (1 - self.config.score_weight) * self.residual_of(x, self.rebuild(x)[1])


@register(
    "egbad",
    config=BiGANConfig,
    modalities=("points", "table", "image", "series"),
    paper="Zenati et al., Efficient GAN-Based Anomaly Detection, arXiv 1802.06222, 2018",
    # Not a detector until its check is reproduced (docs/checks.md, A3): so far the score is no better than chance.
    tasks=("augmenter",),
    exports=("sampler",),
)
class BiGAN(Algorithm):
    """Players ``generator`` (generator and encoder) and ``critic``."""

    config: BiGANConfig

    def __init__(self, spec: DataSpec, config: BiGANConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        if config.objective not in ANTISYMMETRIC:
            raise ConfigError(
                f"objective {config.objective!r} has no side for an encoder; choose {', '.join(ANTISYMMETRIC)}"
            )
        parts = Parts(spec, config.hidden, config.width)
        self.codes = parts.latents(config.latent_dim)
        self.encoder, self.generator = parts.encoder(self.codes), parts.decoder(self.codes)
        plain = Parts(spec, config.hidden, config.width, norm="none")
        critic = PairCritic(spec, plain, self.codes, tuple(config.hidden) or (64,))
        field = Vector(spec.dim + self.codes)
        self.game = Game(critic, config, field, generator=nn.ModuleList([self.encoder, self.generator]))

    def players(self) -> dict[str, nn.Module | list[nn.Module]]:
        """Generator with encoder, and critic."""
        return {**self.game.players(), "generator": [self.encoder, self.generator]}

    def optimisers(self) -> dict[str, Optimiser]:
        """The game's."""
        return self.game.optimisers()

    def phases(self) -> tuple[Phase, ...]:
        """Critic, then generator and encoder together."""
        return self.game.phases(self.dealt, self.generator_loss)

    def generate(self, z: Tensor) -> Tensor:
        """Examples from codes."""
        return activate_output(self.spec, self.generator(z))

    def encode(self, x: Tensor) -> Tensor:
        """Codes ``(n, latent_dim)``."""
        return self.encoder(x)

    def _pairs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Pairs of data, and generated ones, with the gradient of encoder and generator."""

        def compute() -> tuple[Tensor, Tensor]:
            z = batch.randn(self.codes)
            return pairs(batch.x, self.encoder(batch.x)), pairs(self.generate(z), z)

        return batch.once("pairs", compute, of=("generator",))

    def dealt(self, batch: Batch) -> Sides:
        """The game as the critic plays it."""
        real, made = self._pairs(batch)
        return Sides(real.detach(), made.detach())

    def generator_loss(self, batch: Batch) -> Losses:
        """The generator's side, and the encoder's."""
        real, made = self._pairs(batch)
        return self.game.generator_loss(batch, Sides(real, made)) | self.game.opposite_loss(batch, Sides(real, made))

    def validation_loss(self, batch: Batch) -> Tensor:
        """Reconstruction error of held-out normal examples through the code; the game itself has no such value."""
        return (batch.x - self.generate(self.encoder(batch.x))).abs().mean()

    def couples_batch(self) -> str:
        """Batch norm of images and series, and what the game mixes."""
        return self.game.couples()

    def sampler(self) -> Sampler:
        """The generator."""
        return sampler_for(self.generator, self.codes, self.spec)

    def scorer(self) -> nn.Module:
        """The score, for export."""
        return BiGANScorer(self).eval()
