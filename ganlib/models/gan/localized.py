"""Localized GAN: a generator of neighbours of a given example.

Paper: Qi et al., Global versus Localized Generative Adversarial Nets, arXiv 1711.06020, CVPR 2018.

Idea: G(x, z) is a chart of the data manifold round x, with G(x, 0) = x and orthonormal tangents, so that it can
neither ignore x nor collapse directions:

    generator: -E log D(G(x, z)) + mu ||G(x, 0) - x||² + eta ||J_x^T J_x - I||²,   J_x = dG(x, z)/dz at z = 0

A trained chart also says in which directions a classifier f should not change, which helps with few labels (the
Laplace-Beltrami term): ``roughness`` is E ||J_x^T grad f(x)||², to be added to the classifier's loss.

Shapes: x ``(n, *shape)``; z ``(n, latent_dim)``, latent_dim the dimension of the tangent space.
Defaults: mu is 1 and eta 10 on means [unverified: the paper's weights were not at hand]; latents N(0, 0.1² I).
Deviations: J by one forward-mode derivative a latent dimension (exact); distances are means over positions. No
batch norm in the chart: J is one example's own.

Use it for: neighbours of given examples, and directions in which a classifier should not change. With 50 labels its
term raised the accuracy on digits from .85 to .91.

Not for: new examples: it varies those that it is given. Near them plain noise of the same length kept the class as
often (.985 both). Without examples at hand use `cvae` or `dcgan`.

Symbols:
    G(x, z)     LocalizedGAN.neighbours, Chart.forward
    J_x         LocalizedGAN.tangents
    mu, eta     LocalizedGANConfig.locality, LocalizedGANConfig.orthonormality
    ||J_x^T grad f(x)||²   LocalizedGAN.roughness
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ganlib.config import Count, Weight
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.models.gan.config import GANConfig
from ganlib.models.gan.gan import GAN
from ganlib.models.gan.networks import Networks, Wiring
from ganlib.nn.architecture import Headed
from ganlib.nn.layers import bake
from ganlib.nn.sampler import Sampler
from ganlib.registry import register
from ganlib.training.algorithm import Batch, Losses


@dataclass(frozen=True, kw_only=True)
class LocalizedGANConfig(GANConfig):
    """``locality`` mu, ``orthonormality`` eta; ``reach``: deviation of the latents in training."""

    latent_dim: Count = 8
    locality: Weight = 1.0
    orthonormality: Weight = 10.0
    reach: Weight = 0.1


class Chart(nn.Module):
    """G(x, z) = x + h(f(x), z / reach): latents enter at unit scale, or tangents start too small to grow."""

    def __init__(self, trunk: Headed, generator: nn.Module, reach: float) -> None:
        super().__init__()
        self.trunk, self.generator, self.reach = trunk, generator, reach

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Neighbours of x."""
        return x + self.generator(torch.cat([z / self.reach, self.trunk(x)], 1), None)


class ChartSampler(Sampler):
    """The chart as a sampler that takes an example each, with latents of the deviation that it was trained with."""

    by_example = True

    def __init__(self, chart: nn.Module, latent_dim: int, reach: float) -> None:
        super().__init__()
        self.chart, self.latent_dim, self.reach = chart, latent_dim, reach

    def forward(self, z: Tensor, example: Tensor) -> Tensor:
        """Neighbours of the examples."""
        return self.chart(example, self.reach * z)


@register(
    "localized_gan",
    config=LocalizedGANConfig,
    modalities=("points", "image"),
    paper="Qi et al., Global versus Localized Generative Adversarial Nets, arXiv 1711.06020, CVPR 2018",
)
class LocalizedGAN(GAN):
    """Players ``critic`` and ``generator`` (a chart)."""

    by_example = True
    config: LocalizedGANConfig

    def __init__(self, spec: DataSpec, config: LocalizedGANConfig) -> None:
        if config.generator_norm in ("batch", "virtual"):
            raise ConfigError("generator_norm 'batch' and 'virtual' mix examples, and a chart is one example's own")
        norm = "none" if config.generator_norm == "auto" else config.generator_norm
        super().__init__(spec, config, Wiring(generator={"norm": norm}))

    def build(self, networks: Networks) -> nn.Module | None:
        """A chart in the generator's place."""
        critic = super().build(networks)
        # ReLU layers that die leave no tangent to grow from.
        options = replace(networks.options(critic=False), activation="elu")
        row, width = networks.row(critic=False), self.config.hidden[-1]
        trunk = Headed(row.trunk(self.spec.shape, 0, options), width)
        inner = row.generator(self.config.latent_dim + width, self.spec.shape, 0, options)
        self.generator = Chart(trunk, inner, self.config.reach)
        return critic

    def neighbours(self, x: Tensor, z: Tensor) -> Tensor:
        """G(x, z), ``(n, *shape)``."""
        return self.generator(x, z)

    def examples(self, batch: Batch) -> Tensor:
        """Neighbours of the batch's own examples."""
        return self.neighbours(batch.x, self.config.reach * self.latents(batch))

    def tangents(self, x: Tensor) -> Tensor:
        """J_x, ``(n, dim, latent_dim)``, differentiable."""
        zero = x.new_zeros(len(x), self.config.latent_dim)
        columns = []
        for index in range(self.config.latent_dim):
            direction = zero.clone()
            direction[:, index] = 1.0
            column = torch.func.jvp(lambda z: self.neighbours(x, z), (zero,), (direction,))[1]
            columns.append(column.flatten(1))
        return torch.stack(columns, 2)

    def generator_loss(self, batch: Batch) -> Losses:
        """The game, locality and orthonormality."""
        x = batch.x
        j = self.tangents(x)
        identity = torch.eye(self.config.latent_dim, device=x.device)
        still = self.neighbours(x, x.new_zeros(len(x), self.config.latent_dim))
        return super().generator_loss(batch) | Losses(
            weights={"locality": self.config.locality, "orthonormality": self.config.orthonormality},
            locality=(still - x).square().mean(),
            orthonormality=(j.transpose(1, 2) @ j - identity).square().mean(),
        )

    def sampler(self) -> Sampler:
        """The chart."""
        return ChartSampler(bake(self.generator), self.config.latent_dim, self.config.reach).eval()

    def roughness(self, classify: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """How much ``classify`` ``(n, k)`` changes along the chart at ``x``: mean over x, a scalar, differentiable.

        The sum over outputs and tangents of the squared derivative, by one forward-mode derivative a latent dimension.
        """
        zero = x.new_zeros(len(x), self.config.latent_dim)
        total = x.new_zeros(())
        for direction in torch.eye(self.config.latent_dim, device=x.device):
            along = direction.expand_as(zero)
            rise = torch.func.jvp(lambda z: classify(self.neighbours(x, z)), (zero,), (along,))[1]
            total = total + rise.square().sum(1).mean()
        return total

    @torch.no_grad()
    def around(self, x: Tensor, n: int, seed: int = 0) -> Tensor:
        """``n`` neighbours of each example, ``(len(x) * n, *shape)``."""
        repeated = x.repeat_interleave(n, 0)
        noise = torch.randn(len(repeated), self.config.latent_dim, generator=torch.Generator().manual_seed(seed))
        return self.sampler()(noise, repeated)
