"""Skip-GANomaly: a U-Net rebuilds images, a critic compares them in its features.

Paper: Akcay, Atapour-Abarghouei & Breckon, Skip-GANomaly: Skip Connected and Adversarially Trained Encoder-Decoder
Anomaly Detection, arXiv 1901.08954, 2019 (IJCNN).

Idea: connections between the levels of encoder and decoder rebuild fine detail; the critic's features f
separate normal images from others:

    x^ = G(x + noise)
    generator: w_adv · -log D(x^) + w_con · |x - x^| + w_lat · ||f(x) - f(x^)||²             (equations 1 to 4)
    critic:    -log D(x) - log(1 - D(x^)) + w_lat · ||f(x) - f(x^)||²   (the last term as in the authors' code)
    score:     (1 - w) · mean (x - x^)² + w · mean (f(x) - f(x^))²,  w = 0.1      (equation 6; squared as in the code)

Defaults: the weights 1, 40, 1 and the score's w are the paper's (unverified; the code was read); Adam 2e-4, betas
(0.5, 0.999), batch norm, batch 64. Shapes: x ``(n, channels, height, width)``, sides from 4.
Deviations: the authors' code has input noise of deviation 0.02 (unverified), which is the option ``noise`` here: a
U-Net can copy its input through the connections, and only noise keeps it from that. 32 channels instead of 64.

Use it for: comparing with its paper, on images with fine detail that a bottleneck would blur.

Not for: choosing a detector by its record: on digits of an unseen class AUROC was .62, below PCA (.76) and `ganomaly`
(.845); its U-Net can copy what it has never seen. Tables and series: `ganomaly`.

Symbols:
    G         SkipGANomaly.generator
    x^        SkipGANomaly.rebuild
    noise     SkipGANomaly.disturbed
    f         features of SkipGANomaly.critic
    w_adv, w_con, w_lat   SkipGANomalyConfig.adversarial, SkipGANomalyConfig.contextual, SkipGANomalyConfig.latent
    score, w  SkipGANomalyScorer, SkipGANomalyConfig.score_weight
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganlib.config import Config, Count, Rate, Share, Weight
from ganlib.data.spec import DataSpec
from ganlib.losses.adversarial import objective
from ganlib.losses.divergence import wide
from ganlib.models.anomaly.networks import Parts, restart
from ganlib.nn.architecture import NetOptions, activate_output, dcgan_weights
from ganlib.nn.unet import UNet
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase


@dataclass(frozen=True, kw_only=True)
class SkipGANomalyConfig(Config):
    """``adversarial``, ``contextual``, ``latent``: the three weights; ``score_weight``: w, the features' share.

    ``noise``: deviation of the noise on the generator's input in training; ``width``: channels of the first level;
    ``restart_below``: loss of the critic below which it is initialised again, 0 for never.
    """

    adversarial: Weight = 1.0
    contextual: Weight = 40.0
    latent: Weight = 1.0
    score_weight: Share = 0.1
    noise: Weight = 0.02
    width: Count = 32
    learning_rate: Rate = 2e-4
    restart_below: Weight = 1e-5


class SkipGANomalyScorer(nn.Module):
    """``(n, *shape) -> (n,)``: the score of images."""

    def __init__(self, model: SkipGANomaly) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Score images."""
        rebuilt, critic, weight = self.model.rebuild(x), self.model.critic, self.model.config.score_weight
        context = (x - rebuilt).square().flatten(1).mean(1)
        return (1 - weight) * context + weight * (critic.features(x) - critic.features(rebuilt)).square().mean(1)


@register(
    "skip_ganomaly",
    config=SkipGANomalyConfig,
    modalities=("image",),
    paper="Akcay, Atapour-Abarghouei & Breckon, Skip-GANomaly, arXiv 1901.08954, 2019",
)
class SkipGANomaly(Algorithm):
    """Players ``generator`` (the U-Net) and ``critic``."""

    config: SkipGANomalyConfig
    critic_value: Tensor

    def __init__(self, spec: DataSpec, config: SkipGANomalyConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        parts, shape = Parts(spec, (), config.width), (spec.shape[0], spec.shape[1], spec.shape[2])
        parts.check()
        self.generator = UNet(shape, shape, NetOptions(width=config.width, norm="batch"))
        dcgan_weights(self.generator)
        self.critic = parts.encoder(1)
        self.register_buffer("critic_value", torch.ones(()))

    def players(self) -> dict[str, nn.Module]:
        """Generator and critic."""
        return {"generator": self.generator, "critic": self.critic}

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam for both."""
        return dict.fromkeys(("generator", "critic"), Optimiser("adam", self.config.learning_rate))

    def phases(self) -> tuple[Phase, ...]:
        """Generator, then critic, as in the authors' code."""
        return (
            Phase("generator", self.generator_loss),
            Phase("critic", self.critic_loss, after=(self.restart_critic,)),
        )

    def rebuild(self, x: Tensor) -> Tensor:
        """Reconstruction in [-1, 1]."""
        return wide(activate_output(self.spec, self.generator(x)))

    def disturbed(self, batch: Batch) -> Tensor:
        """The batch's images with noise, the same for both players."""
        return batch.once("disturbed", lambda: batch.x + self.config.noise * batch.randn(*self.spec.shape))

    def generator_loss(self, batch: Batch) -> Losses:
        """The three terms."""
        config, rebuilt = self.config, self.rebuild(self.disturbed(batch))
        features, real = self.critic.features(rebuilt), self.critic.features(batch.x)
        return Losses(
            weights={"adversarial": config.adversarial, "contextual": config.contextual, "latent": config.latent},
            adversarial=objective("gan").generator_of(wide(self.critic.head(features))),
            contextual=(batch.x - rebuilt).abs().mean(),
            latent=(wide(features) - real).square().mean(),
        )

    def critic_loss(self, batch: Batch) -> Losses:
        """Real images against rebuilt ones, and the features' distance."""
        with torch.no_grad():
            rebuilt = self.rebuild(self.disturbed(batch))
        real, fake = wide(self.critic.features(batch.x)), wide(self.critic.features(rebuilt))
        value = objective("gan").critic_of(self.critic.head(real), self.critic.head(fake))
        distance = (real - fake).square().mean()
        self.critic_value.copy_((value + distance).detach())
        return Losses(weights={"critic_latent": self.config.latent}, critic=value, critic_latent=distance)

    @torch.no_grad()
    def restart_critic(self, batch: Batch) -> None:
        """Initialise the critic again, with the run's noise, if it separates the classes perfectly."""
        restart(self.critic, self.critic_value < self.config.restart_below, batch)

    def validation_loss(self, batch: Batch) -> Tensor:
        """The score of held-out normal images."""
        return self.scorer()(batch.x).mean()

    def couples_batch(self) -> str:
        """Batch norm, and the restart rule."""
        return "the critic's restart depends on its mean loss on the batch"

    def scorer(self) -> nn.Module:
        """The score, for export."""
        return SkipGANomalyScorer(self).eval()
