"""Character WGAN-GP: sequences of characters from one convolutional generator, without sampling in training.

Paper: Gulrajani et al., Improved Training of Wasserstein GANs, arXiv 1704.00028, 2017, section 5.4.

Idea: the generator's softmax outputs go to the critic unchanged; real characters are one-hot. The critic is a
Wasserstein critic with a gradient penalty on mixtures of the two, which needs no vertices of the simplex:

    critic: E D(G(z)) - E D(x) + lambda E (||grad D(mix)|| - 1)²;   generator: -E D(G(z))

Shapes: x int64 ``(n, length)``; soft one-hot ``(n, vocabulary, length)``; z ``(n, latent_dim)``.
Defaults: residual convolutions, Adam 1e-4 (0.5, 0.9), five critic steps and lambda 10. Deviations: the pyramid of
``nn.architecture`` in place of blocks of one length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ganlib.adversarial import Game, GameConfig, Sides
from ganlib.config import Count
from ganlib.data.spec import DataSpec, Series, Tokens
from ganlib.nn.architecture import ARCHITECTURES, Headed, NetOptions
from ganlib.nn.layers import bake
from ganlib.nn.sampler import Sampler
from ganlib.registry import register
from ganlib.testing import Toy
from ganlib.testing.toys.sequence import automaton, valid_share
from ganlib.training import Algorithm, Batch, Losses, Optimiser, Phase


@dataclass(frozen=True, kw_only=True)
class CharacterWGANConfig(GameConfig):
    """``networks``: a row of ``nn.architecture.ARCHITECTURES``."""

    latent_dim: Count = 128
    networks: str = "resnet"
    width: Count = 64
    hidden: tuple[Count, ...] = (128, 128)
    objective: str = "wgan_gp"


class Characters(Sampler):
    """The most probable character at each position, int64 ``(n, length)``."""

    def __init__(self, generator: nn.Module, latent_dim: int) -> None:
        super().__init__()
        self.generator, self.latent_dim = generator, latent_dim

    def forward(self, z: Tensor) -> Tensor:
        return self.generator(z).argmax(1)


@torch.no_grad()
def _valid(algorithm: Any, seed: int) -> float:
    sampler = algorithm.sampler()
    return valid_share(sampler(torch.randn(1000, sampler.latent_dim, generator=torch.Generator().manual_seed(seed))))


TOY = Toy(
    data=lambda seed: {"x": automaton(2000, seed)},
    spec=DataSpec.tokens(12, 8),
    level=_valid,
    at_least=0.2,
    measure="valid sequences of a ring automaton",
    baseline=lambda seed: valid_share(torch.randint(8, (1000, 12), generator=torch.Generator().manual_seed(seed))),
    config={"latent_dim": 16, "networks": "mlp", "hidden": (64, 64), "learning_rate": 2e-3},
    trainer={"steps": 300, "batch_size": 64, "ema": 0.99},
)


@register(
    "character_wgan_proof",
    config=CharacterWGANConfig,
    modalities=("tokens",),
    paper="Gulrajani et al., Improved Training of Wasserstein GANs, arXiv 1704.00028, 2017",
    toy=TOY,
)
class CharacterWGAN(Algorithm):
    """Players ``critic`` and ``generator``."""

    config: CharacterWGANConfig

    def __init__(self, spec: DataSpec, config: CharacterWGANConfig) -> None:
        super().__init__()
        self.spec, self.config, self.tokens = spec, config, spec.need("x", Tokens)
        soft = Series(self.tokens.vocabulary, self.tokens.length)
        row, options = ARCHITECTURES[config.networks], NetOptions(hidden=config.hidden, width=config.width)
        self.generator = row.generator(config.latent_dim, soft.shape, 0, options)
        self.game = Game(Headed(row.trunk(soft.shape, 0, options), 1), config, soft, generator=self.generator)

    def players(self) -> dict[str, nn.Module]:
        return self.game.players() | {"generator": self.generator}

    def optimisers(self) -> dict[str, Optimiser]:
        return self.game.optimisers()

    def phases(self) -> tuple[Phase, ...]:
        return self.game.phases(self.dealt, self.generator_loss)

    def examples(self, batch: Batch) -> Tensor:
        return self.generator(batch.randn(self.config.latent_dim)).softmax(1)

    def sides(self, batch: Batch, made: Tensor) -> Sides:
        return Sides(one_hot(batch.x, self.tokens.vocabulary).transpose(1, 2).float(), made)

    def dealt(self, batch: Batch) -> Sides:
        return self.sides(batch, self.game.fakes(batch, lambda: self.examples(batch)))

    def generator_loss(self, batch: Batch) -> Losses:
        return self.game.generator_loss(batch, self.sides(batch, self.game.made(batch, lambda: self.examples(batch))))

    def sampler(self) -> Sampler:
        return Characters(bake(self.generator), self.config.latent_dim).eval()
