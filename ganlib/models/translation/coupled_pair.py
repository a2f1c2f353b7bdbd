"""Two generators and two critics that translate between unpaired domains, held together by cycles.

Paper: Zhu et al., Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks, arXiv 1703.10593,
2017 (the objective); Kim et al., arXiv 1703.05192, 2017 (DiscoGAN, the point-mixture problem of the toy).

    generators: L_GAN(F(a), D_b) + L_GAN(G(b), D_a) + cycle · (|G(F(a)) - a| + |F(G(b)) - b|)     (CycleGAN, section 3)
    critics:    each its own domain, least-squares objective

Shapes: x ``(n, d)`` from domain A and x_b ``(n, d)`` from domain B, unpaired. Defaults: cycle 10, Adam 2e-4 with
beta1 0.5 in the paper. Deviations: MLPs on vectors, no replay buffer, no identity term.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganlib.adversarial import Game
from ganlib.config import ModelConfig
from ganlib.data.spec import DataSpec
from ganlib.nn.mlp import MLP
from ganlib.registry import Toy, register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase

_MODES = 5


@dataclass(frozen=True, kw_only=True)
class CoupledPairConfig(ModelConfig):
    """``cycle`` weighs the reconstruction after a round trip."""

    hidden: tuple[int, ...] = (128, 128)
    objective: str = "least_squares"
    cycle: float = 10.0
    learning_rate: float = 2e-4


def _domain(n: int, seed: int, which: str) -> tuple[Tensor, Tensor]:
    """Five Gaussians in a row (A) or on a circle (B), and each point's mode."""
    g = torch.Generator().manual_seed(seed)
    mode = torch.randint(_MODES, (n,), generator=g)
    return _centres(which)[mode] + 0.1 * torch.randn(n, 2, generator=g), mode


def _centres(which: str) -> Tensor:
    index = torch.arange(_MODES, dtype=torch.float32)
    if which == "a":
        return torch.stack([index - 2, torch.zeros(_MODES)], 1)
    angle = 2 * torch.pi * index / _MODES
    return 2 * torch.stack([angle.cos(), angle.sin()], 1)


def _bijection(translate: nn.Module, seed: int) -> float:
    """Share of A's modes that go, by majority of their points, to a B mode that no other A mode goes to."""
    x, mode = _domain(1000, seed + 99, "a")
    with torch.no_grad():
        distance, target = torch.cdist(translate(x), _centres("b")).min(1)
    target[distance > 0.5] = _MODES
    majority = [int(torch.bincount(target[mode == m], minlength=_MODES + 1).argmax()) for m in range(_MODES)]
    return sum(t < _MODES and majority.count(t) == 1 for t in majority) / _MODES


@register(
    "coupled_pair",
    config=CoupledPairConfig,
    tasks=("translator",),
    modalities=("points", "table"),
    paper="Zhu et al., Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks, "
    "arXiv 1703.10593, 2017",
    toy=Toy(
        data=lambda seed: {"x": _domain(4096, seed, "a")[0], "x_b": _domain(4096, seed + 1, "b")[0]},
        spec=DataSpec.vector(2),
        level=lambda algorithm, seed: _bijection(algorithm.forward_generator, seed),
        at_least=0.8,
        measure="modes of A sent one-to-one to modes of B",
        baseline=lambda seed: _bijection(nn.Identity(), seed),
        config={"objective": "gan", "cycle": 1.0, "learning_rate": 5e-4},
        trainer={"steps": 3000, "batch_size": 128},
    ),
    known_gaps={"export": "small proving model: its full catalogue check and export come with the translation family"},
)
class CoupledPair(Algorithm):
    """Players ``generators`` (both at once) and ``critics``."""

    config: CoupledPairConfig

    def __init__(self, spec: DataSpec, config: CoupledPairConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        self.game_a, self.game_b = Game(config.objective), Game(config.objective)
        self.forward_generator = MLP(spec.dim, config.hidden, spec.dim)
        self.backward_generator = MLP(spec.dim, config.hidden, spec.dim)
        self.critic_a = self.game_a.finish(MLP(spec.dim, config.hidden, 1, "leaky_relu"))
        self.critic_b = self.game_b.finish(MLP(spec.dim, config.hidden, 1, "leaky_relu"))

    def players(self) -> dict[str, list[nn.Module]]:
        """Both generators; both critics."""
        return {
            "generators": [self.forward_generator, self.backward_generator],
            "critics": [self.critic_a, self.critic_b],
        }

    def optimisers(self) -> dict[str, Optimiser]:
        """Adam for both sides."""
        return dict.fromkeys(self.players(), Optimiser("adam", self.config.learning_rate))

    def phases(self) -> tuple[Phase, ...]:
        """Generators first, as in the authors' code, then critics."""
        return (Phase("generators", self.generator_loss), Phase("critics", self.critic_loss))

    def _fakes(self, batch: Batch) -> tuple[Tensor, Tensor]:
        def translate() -> tuple[Tensor, Tensor]:
            return self.forward_generator(batch.x), self.backward_generator(batch["x_b"])

        return batch.once("fakes", translate, of=("generators",))

    def generator_loss(self, batch: Batch) -> Losses:
        """Fool both critics; come back after a round trip."""
        fake_b, fake_a = self._fakes(batch)
        cycle = (self.backward_generator(fake_b) - batch.x).abs().mean()
        cycle = cycle + (self.forward_generator(fake_a) - batch["x_b"]).abs().mean()
        return Losses(
            weights={"cycle": self.config.cycle},
            fool_a=self.game_a.generator_loss(self.critic_a(fake_a)),
            fool_b=self.game_b.generator_loss(self.critic_b(fake_b)),
            cycle=cycle,
        )

    def critic_loss(self, batch: Batch) -> Losses:
        """Each critic on its own domain."""
        fake_b, fake_a = (fake.detach() for fake in self._fakes(batch))
        return Losses(
            critic_a=self.game_a.critic_loss(self.critic_a(batch.x), self.critic_a(fake_a)),
            critic_b=self.game_b.critic_loss(self.critic_b(batch["x_b"]), self.critic_b(fake_b)),
        )
