"""Generative adversarial network.

Paper: Goodfellow et al., Generative Adversarial Networks, arXiv 1406.2661, 2014.

Idea: a generator G maps noise to data, a critic D tells real from generated; both play

    min_G max_D  E log D(x) + E log(1 - D(G(z)))                                  (equation 1)

with the generator trained on -log D(G(z)) (non-saturating, section 3). Shapes: x ``(n, d)``; z ``(n, latent_dim)``.
Defaults: the paper used momentum SGD and maxout critics; ours are ReLU layers and Adam 2e-4 with beta1 0.5
(Radford et al., arXiv 1511.06434). Any row of ``losses.adversarial.OBJECTIVES`` may be named instead.
Deviations: G and D see each other's latest update (D first), one update each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ganlib.config import Config
from ganlib.data.spec import DataSpec
from ganlib.data.toy import modes_found, ring
from ganlib.losses.adversarial import objective
from ganlib.nn.mlp import MLP
from ganlib.nn.sampler import Sampler
from ganlib.registry import Toy, register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase


@dataclass(frozen=True, kw_only=True)
class GANConfig(Config):
    """``critic_steps``: critic updates per generator update."""

    latent_dim: int = 16
    hidden: tuple[int, ...] = (128, 128)
    objective: str = "gan"
    critic_steps: int = 1
    learning_rate: float = 2e-4
    betas: tuple[float, ...] = (0.5, 0.999)


class GeneratorSampler(Sampler):
    """A generator as a sampler: ``z (n, latent_dim) -> (n, d)``."""

    def __init__(self, generator: nn.Module, latent_dim: int) -> None:
        super().__init__()
        self.generator, self.latent_dim = generator, latent_dim

    def forward(self, z: Tensor) -> Tensor:
        """Generate rows."""
        return self.generator(z)


def _mode_quality(points: Tensor) -> float:
    modes, share = modes_found(points, deviation=0.1)
    return modes / 8 * share


def ring_level(algorithm: GAN, seed: int) -> float:
    """Share of the eight modes reached times the share of points within three deviations of one (0 to 1)."""
    z = torch.randn(2000, algorithm.config.latent_dim, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return _mode_quality(algorithm.generator(z))


def gaussian_level(seed: int) -> float:
    """The same for points of the single best Gaussian."""
    x, _ = ring(2000, seed)
    g = torch.Generator().manual_seed(seed)
    return _mode_quality(x.mean(0) + x.std(0) * torch.randn(2000, 2, generator=g))


RING_TOY: dict[str, Any] = {
    "data": lambda seed: {"x": ring(4096, seed, deviation=0.1)[0]},
    "spec": DataSpec.vector(2),
    "level": ring_level,
    "measure": "8-Gaussian ring: modes reached × points near one",
    "baseline": gaussian_level,
}


@register(
    "gan",
    config=GANConfig,
    tasks=("augmenter",),
    modalities=("points", "table"),
    paper="Goodfellow et al., Generative Adversarial Networks, arXiv 1406.2661, 2014",
    toy=Toy(at_least=0.4, config={"learning_rate": 1e-3}, trainer={"steps": 3000, "batch_size": 128}, **RING_TOY),
    known_gaps={"export": "small proving model: its full catalogue check and export come with the generator families"},
)
class GAN(Algorithm):
    """Players ``critic`` and ``generator``."""

    config: GANConfig

    def __init__(self, spec: DataSpec, config: GANConfig) -> None:
        super().__init__()
        self.spec, self.config, self.objective = spec, config, objective(config.objective)
        self.generator = MLP(config.latent_dim, config.hidden, spec.dim)
        self.critic = MLP(spec.dim, config.hidden, 1, "leaky_relu")

    def players(self) -> dict[str, nn.Module]:
        """Critic and generator."""
        return {"critic": self.critic, "generator": self.generator}

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam for both."""
        adam = Optimiser("adam", self.config.learning_rate, (self.config.betas[0], self.config.betas[1]))
        return {"critic": adam, "generator": adam}

    def phases(self) -> tuple[Phase, ...]:
        """Critic updates, then one of the generator."""
        return (
            Phase("critic", self.critic_loss, repeat=self.config.critic_steps),
            Phase("generator", self.generator_loss),
        )

    def fake(self, batch: Batch) -> Tensor:
        """Generated rows, one forward shared by both losses until the generator moves."""
        return batch.once("fake", lambda: self.generator(batch.randn(self.config.latent_dim)), of=("generator",))

    def critic_loss(self, batch: Batch) -> Losses:
        """The critic's side of the objective."""
        fake = self.fake(batch).detach()
        return Losses(critic=self.objective.critic(self.critic(batch.x), self.critic(fake)))

    def generator_loss(self, batch: Batch) -> Losses:
        """The generator's side."""
        return Losses(generator=self.objective.generator(self.critic(self.fake(batch))))

    def sampler(self) -> Sampler:
        """The generator."""
        return GeneratorSampler(self.generator, self.config.latent_dim).eval()
