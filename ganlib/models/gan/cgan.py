"""Conditional generative adversarial network.

Paper: Mirza & Osindero, Conditional Generative Adversarial Nets, arXiv 1411.1784, 2014.

Idea: generator and critic are both given the class y, so that classes can be asked for:

    min_G max_D  E log D(x|y) + E log(1 - D(G(z|y)|y))                             (equation 2)

with the generator trained on -log D(G(z|y)|y). Shapes: x ``(n, d)``; y int64 ``(n,)``; z ``(n, latent_dim)``.
Defaults: the paper used 100 uniform latents, 200 + 1000 hidden units joined in 1200, a maxout critic with dropout 0.5
and SGD with momentum 0.5 to 0.7. Ours are Gaussian latents, ReLU layers and Adam 5e-4 with betas
(0, 0.99): with momentum the critic and the generator circle on small tables and lose the dependence within classes.
Any row of ``losses.adversarial.OBJECTIVES`` may be named instead.
Deviations: y enters as a one-hot beside z and x. Generated categories and flags reach the critic as probabilities;
Gaussian noise of deviation ``instance_noise`` on real and generated rows alike keeps the critic from winning by their
lack of exact zeros and ones (Sønderby et al., arXiv 1610.04490). No dropout.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganlib.config import Config
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.losses.adversarial import Objective, objective
from ganlib.losses.table import activate
from ganlib.models.vae.cvae import LABELLED_TOY
from ganlib.nn.conditional import ClassMLP
from ganlib.nn.sampler import Sampler, TableSampler
from ganlib.registry import Toy, register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase


@dataclass(frozen=True, kw_only=True)
class CGANConfig(Config):
    """``critic_steps``: critic updates per generator update; ``instance_noise``: deviation of noise on D's inputs."""

    latent_dim: int = 16
    hidden: tuple[int, ...] = (128, 128)
    objective: str = "gan"
    critic_steps: int = 1
    critic_dropout: float = 0.0
    instance_noise: float = 0.3
    learning_rate: float = 5e-4
    betas: tuple[float, ...] = (0.0, 0.99)


@register(
    "cgan",
    config=CGANConfig,
    tasks=("augmenter",),
    modalities=("table", "points"),
    paper="Mirza & Osindero, Conditional Generative Adversarial Nets, arXiv 1411.1784, 2014",
    exports=("sampler",),
    toy=Toy(
        at_least=0.6,
        config={"latent_dim": 8, "hidden": (64, 64), "learning_rate": 1e-3},
        trainer={"steps": 2500, "batch_size": 128, "ema": 0.995},
        **LABELLED_TOY,
    ),
    trainer={"steps": 3000, "batch_size": 128, "ema": 0.995},
)
class CGAN(Algorithm):
    """Players ``critic`` and ``generator``, both given the class."""

    config: CGANConfig

    def __init__(self, spec: DataSpec, config: CGANConfig) -> None:
        super().__init__()
        if spec.classes < 1:
            raise ConfigError("cgan generates by class: it needs labels; use gan for data without them")
        self.spec, self.config = spec, config
        objective(config.objective)  # an unknown name is refused here, not at the first step
        self.generator = ClassMLP(config.latent_dim, spec.classes, config.hidden, spec.dim)
        self.critic = ClassMLP(
            spec.dim, spec.classes, config.hidden, 1, activation_name="leaky_relu", dropout=config.critic_dropout
        )

    @property
    def objective(self) -> Objective:
        """The adversarial game; looked up, since its functions cannot be pickled."""
        return objective(self.config.objective)

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
        """Generated rows of the batch's own classes, shared by both losses until the generator moves."""

        def generate() -> Tensor:
            return activate(self.spec.blocks, self.generator(batch.randn(self.config.latent_dim), batch.y))

        return batch.once("fake", generate, of=("generator",))

    def judge(self, batch: Batch, rows: Tensor) -> Tensor:
        """Logits of the critic for noised rows of the batch's classes, ``(n, 1)``."""
        return self.critic(rows + self.config.instance_noise * batch.randn(self.spec.dim), batch.y)

    def critic_loss(self, batch: Batch) -> Losses:
        """The critic's side of the objective."""
        fake = self.fake(batch).detach()
        return Losses(critic=self.objective.critic(self.judge(batch, batch.x), self.judge(batch, fake)))

    def generator_loss(self, batch: Batch) -> Losses:
        """The generator's side."""
        return Losses(generator=self.objective.generator(self.judge(batch, self.fake(batch))))

    def sampler(self) -> Sampler:
        """The generator; flags and categories are drawn from its probabilities."""
        scale = torch.zeros(self.spec.dim)
        return TableSampler(self.generator, self.config.latent_dim, self.spec, scale).eval()
