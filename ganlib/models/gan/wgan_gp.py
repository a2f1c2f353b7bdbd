"""Wasserstein GAN with gradient penalty.

Paper: Gulrajani et al., Improved Training of Wasserstein GANs, arXiv 1704.00028, 2017.

Idea: the critic estimates the Wasserstein distance; instead of clipped weights, its gradient norm is held near one:

    critic:     E D(G(z)) - E D(x) + lambda · E (||grad D(x^)|| - 1)²                              (equation 3)
                x^ = e·x + (1 - e)·G(z), e ~ U[0, 1]
    generator: -E D(G(z))

Defaults: the authors' toy settings: five critic steps, Adam 1e-4 with betas (0.5, 0.9), lambda 0.1 for 2-D points
(10 for images). Deviations: none in the objective; no batch norm in the critic, as the paper advises.
"""

from __future__ import annotations

from dataclasses import dataclass

from ganlib.losses.adversarial import gradient_penalty
from ganlib.models.gan.gan import GAN, RING_TOY, GANConfig
from ganlib.registry import Toy, register
from ganlib.training.algorithm import Batch, Losses


@dataclass(frozen=True, kw_only=True)
class WGANGPConfig(GANConfig):
    """``penalty``: the weight lambda."""

    objective: str = "wgan"
    critic_steps: int = 5
    learning_rate: float = 1e-4
    betas: tuple[float, ...] = (0.5, 0.9)
    penalty: float = 0.1


@register(
    "wgan_gp",
    config=WGANGPConfig,
    tasks=("augmenter",),
    modalities=("points", "table"),
    paper="Gulrajani et al., Improved Training of Wasserstein GANs, arXiv 1704.00028, 2017",
    toy=Toy(at_least=0.5, config={"learning_rate": 1e-3}, trainer={"steps": 1000, "batch_size": 128}, **RING_TOY),
    known_gaps={"export": "small proving model: its full catalogue check and export come with the generator families"},
)
class WGANGP(GAN):
    """GAN's players under the Wasserstein objective with the penalty as a second named loss."""

    config: WGANGPConfig

    def critic_loss(self, batch: Batch) -> Losses:
        """Negative Wasserstein estimate and penalty."""
        fake = self.fake(batch).detach()
        penalty = gradient_penalty(self.critic, batch.x, fake, batch.rand(1))
        distance = self.objective.critic(self.critic(batch.x), self.critic(fake))
        return Losses(weights={"penalty": self.config.penalty}, critic=distance, penalty=penalty)
