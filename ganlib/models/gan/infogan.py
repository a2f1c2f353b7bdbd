"""InfoGAN: codes whose meaning the critic's trunk can read back.

Paper: Chen et al., InfoGAN: Interpretable Representation Learning by Information Maximizing Generative Adversarial
Nets, arXiv 1606.03657, 2016.

Idea: the generator's input is noise and codes c; a head Q on the critic's trunk guesses c from the sample:

    min_{G,Q} max_D  V(D, G) - lambda · L_I(G, Q),   L_I = E log Q(c|G(z, c)) + H(c)       (equations 5 and 6)

c is a uniform category of ``categories`` and ``continuous`` uniform values in [-1, 1], whose Q is a Gaussian of unit
variance. Were its variance learned, ever surer guesses of those codes would outweigh the category.
Defaults: lambda 1, unit variance, G 1e-3, D 2e-4, Adam with beta1 0.5 (authors' launcher). They used 62 uniform noise
variables; ours are Gaussian. Deviations: L_I's codes weigh alike, and Q is one layer on the critic's trunk (theirs has
a hidden one); as in the authors' code the trunk is trained on it as well.
``information`` is logged in nats, to be read against log(categories).

Use it for: codes that control what is generated, found without labels. On digits the category was read back with 2.28
of at most 2.30 nats.

Not for: clustering: its categories matched MNIST's digits no better than k-means (.51 and .52). Classes that you can
name: `cvae` or `cgan`; with few labels `semi_supervised_gan`.

Symbols:
    c            InfoGAN.draw
    Q(c|x)       InfoGAN.information, InfoGAN.category
    L_I          loss terms missed and information
    lambda       InfoGANConfig.weight
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from ganlib.abilities import Encodes
from ganlib.adversarial.game import first
from ganlib.config import Count, Rate, Weight, Whole
from ganlib.data.spec import DataSpec
from ganlib.losses.divergence import gaussian_nll
from ganlib.models.gan.config import GANConfig
from ganlib.models.gan.gan import GAN
from ganlib.models.gan.networks import Wiring
from ganlib.nn.sampler import Sampler, sampler_for
from ganlib.registry import register
from ganlib.training.algorithm import Batch, Losses


@dataclass(frozen=True, kw_only=True)
class InfoGANConfig(GANConfig):
    """``categories`` of the discrete code (0 for none), number of ``continuous`` codes, ``weight`` lambda;
    ``unit_variance`` of Q for continuous codes, learned where false."""

    latent_dim: Count = 62
    categories: Whole = 10
    continuous: Whole = 2
    weight: Weight = 1.0
    unit_variance: bool = True
    learning_rate: Rate | None = 1e-3
    critic_learning_rate: Rate | None = 2e-4


class CodeGenerator(nn.Module):
    """From one standard normal ``z``: noise unchanged, a category by argmax, uniform codes by Phi."""

    def __init__(self, generator: nn.Module, config: InfoGANConfig) -> None:
        super().__init__()
        self.generator, self.config = generator, config

    def forward(self, z: Tensor) -> Tensor:
        """Generate."""
        noise, category, uniform = self.split(z)
        parts = [noise]
        if self.config.categories:
            parts.append(one_hot(category.argmax(1), self.config.categories).to(z.dtype))
        parts.append(torch.erf(uniform * 0.7071067811865476))
        return self.generator(torch.cat(parts, 1), None)

    def split(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noise, category part and uniform part."""
        first, second = self.config.latent_dim, self.config.latent_dim + self.config.categories
        return z[:, :first], z[:, first:second], z[:, second:]


@register(
    "infogan",
    config=InfoGANConfig,
    modalities=("points", "table", "image", "series"),
    paper="Chen et al., InfoGAN, arXiv 1606.03657, 2016",
)
class InfoGAN(GAN):
    """The critic's outputs are the score and what Q says of the codes."""

    config: InfoGANConfig

    def __init__(self, spec: DataSpec, config: InfoGANConfig) -> None:
        codes = config.categories + config.continuous
        # The score, then category logits, means, and log-variances if they are learned.
        outputs = 1 + codes + (0 if config.unit_variance else config.continuous)
        wiring = Wiring(inputs=config.latent_dim + codes, outputs=outputs, score=first, logits=True)
        super().__init__(spec, config, wiring)

    def draw(self, batch: Batch) -> Tensor:
        """Noise and codes."""
        parts = [batch.randn(self.config.latent_dim)]
        if self.config.categories:
            category = (batch.rand() * self.config.categories).long().clamp(max=self.config.categories - 1)
            parts.append(one_hot(category, self.config.categories).to(batch.x.dtype))
        return torch.cat([*parts, 2 * batch.rand(self.config.continuous) - 1], 1)

    def information(self, batch: Batch, x: Tensor) -> tuple[Tensor, Tensor]:
        """E log Q(c|x) of the category plus its entropy, in nats (at most log categories), and -E log Q of the rest."""
        config, codes = self.config, self.latents(batch)[:, self.config.latent_dim :]
        guess = self.judge(batch, x)[:, 1:]
        nats = x.new_zeros(())
        if config.categories:
            category = codes[:, : config.categories].argmax(1)
            nats = math.log(config.categories) - cross_entropy(guess[:, : config.categories], category)
        if not config.continuous:
            return nats, x.new_zeros(())
        mean = guess[:, config.categories : config.categories + config.continuous]
        learned = guess[:, config.categories + config.continuous :].clamp(-6, 2)
        log_variance = torch.zeros_like(mean) if config.unit_variance else learned
        return nats, gaussian_nll(codes[:, config.categories :], mean, log_variance).sum(1).mean()

    def _code_loss(self, batch: Batch, x: Tensor, name: str) -> Losses:
        nats, rest = self.information(batch, x)
        weights = {f"{name}missed": self.config.weight, f"{name}information": 0.0}
        return Losses(weights=weights, **{f"{name}missed": rest - nats, f"{name}information": nats.detach()})

    def critic_loss(self, batch: Batch) -> Losses:
        """The game and -L_I."""
        return super().critic_loss(batch) | self._code_loss(batch, self.fakes(batch), "critic_")

    def generator_loss(self, batch: Batch) -> Losses:
        """The game and -L_I."""
        return super().generator_loss(batch) | self._code_loss(batch, self.made(batch), "")

    @torch.no_grad()
    def category(self, x: Tensor) -> Tensor:
        """What Q takes each example's category to be, ``(n,)``: an unsupervised clustering."""
        return self.critic(x, None)[:, 1 : 1 + self.config.categories].argmax(1)

    def encode(self, x: Tensor) -> Tensor:
        """``category`` as a one-hot, ``(n, categories)``."""
        return one_hot(self.category(x), self.config.categories).to(x.dtype)

    @classmethod
    def lacks(cls, config: InfoGANConfig) -> tuple[type, ...]:  # type: ignore[override]
        """Without categories there is nothing to encode."""
        return super().lacks(config) + (() if config.categories else (Encodes,))

    def sampler(self) -> Sampler:
        """The generator, its codes drawn from the same normal noise."""
        generator = CodeGenerator(self.generator, self.config)
        return sampler_for(generator, self.code_dim, self.spec)
