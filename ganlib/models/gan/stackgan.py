"""StackGAN: a coarse generator from the condition, and a second one that refines what it drew.

Paper: Zhang et al., StackGAN: Text to Photo-realistic Image Synthesis with Stacked Generative Adversarial Networks,
arXiv 1612.03242, ICCV 2017.

Idea: conditioning augmentation draws c ~ N(mu(t), Sigma(t)) round the condition t, so that few conditions become a
smooth region; stage I makes a small image from (z, c), stage II a large one from that image and its own c, without z:

    generator, either stage: -log D(G(...), mu) + lambda KL(N(mu(t), Sigma(t)) || N(0, I))        (equations 3 to 6)
    critic, either stage: log s(x, mu) + ½ (log(1 - s(x, mu_wrong)) + log(1 - s(G(...), mu)))     (authors' code)

The stages are trained one after the other, each with its own critic. Shapes: x ``(n, channels, height, width)`` in
[-1, 1]; stage I sees it at half the side, by averaging. t is the one-hot class and any attributes.
Defaults: 100 latents, c of 128, lambda 2, Adam 2e-4 with beta1 0.5, batches of 64.
Deviations: half sides where the paper has a quarter; stage II adds to the repeated stage-I image what it makes of that
image's features; the critic sees mu through constant planes.

Use it for: images by class or attributes in two steps, a coarse one and its refinement. On MNIST stage II raised the
class consistency from .665 to .786 and brought the Fréchet distance from 26 down to 15.

Not for: small images, or few: `cvae` (class consistency .988 on 8x8 digits). Tables and series: `cgan`. Texts:
`gan_int_cls`, which also learns from wrong captions.

Symbols:
    mu(t), Sigma(t)   Augmentation
    G of stage I, II  First, Second
    lambda            StackGANConfig.kl, StackGAN.generator_loss
    mu_wrong          StackGAN.critic_loss, StackGANConfig.mismatch
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, one_hot

from ganlib.adversarial import Game, GameConfig, Sides
from ganlib.adversarial.rules import Rules
from ganlib.config import Count, Rate, Share, Weight
from ganlib.data.spec import DataSpec, Image
from ganlib.errors import ConfigError
from ganlib.losses.divergence import gaussian_kl
from ganlib.nn.architecture import Headed, NetOptions, architecture, dcgan_weights
from ganlib.nn.conditional import condition_of, differ
from ganlib.nn.gaussian import reparameterise
from ganlib.nn.sampler import Sampler
from ganlib.registry import register
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase, Stage


@dataclass(frozen=True, kw_only=True)
class StackGANConfig(GameConfig):
    """``augmented`` is the width of c, ``kl`` the weight lambda; ``first`` the share of steps that stage I gets;
    ``mismatch`` the share of the critics' loss that is wrong conditions' (0: without). The rest are both games'."""

    latent_dim: Count = 100
    augmented: Count = 128
    networks: str = "auto"
    width: Count = 32
    hidden: tuple[Count, ...] = (128, 128)
    kl: Weight = 2.0
    first: Share = 0.5
    mismatch: Share = 0.5
    learning_rate: Rate | None = 2e-4
    betas: tuple[Share, Share] | None = (0.5, 0.999)


class Augmentation(nn.Module):
    """Mean and log-variance of the condition's neighbourhood, each ``(n, augmented)``."""

    def __init__(self, condition: int, augmented: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(condition, 2 * augmented), nn.LeakyReLU(0.2))
        self.head = nn.Linear(2 * augmented, 2 * augmented)

    def forward(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance."""
        mean, log_variance = self.head(self.net(condition)).chunk(2, 1)
        return mean, log_variance.clamp(-8, 4)


class First(nn.Module):
    """Stage I: ``(z, condition, noise)`` to a small image's linear output."""

    def __init__(self, condition: int, net: nn.Module, augmented: int) -> None:
        super().__init__()
        self.augmentation, self.net = Augmentation(condition, augmented), net

    def forward(self, z: Tensor, condition: Tensor, noise: Tensor) -> Tensor:
        """Small images in [-1, 1]."""
        mean, log_variance = self.augmentation(condition)
        return torch.tanh(self.net(z, reparameterise(mean, log_variance, noise)))


class Second(nn.Module):
    """Stage II: ``(small image, condition, noise)`` to a large image."""

    def __init__(self, condition: int, trunk: nn.Module, net: nn.Module, augmented: int) -> None:
        super().__init__()
        self.augmentation, self.trunk, self.net = Augmentation(condition, augmented), trunk, net

    def forward(self, small: Tensor, condition: Tensor, noise: Tensor) -> Tensor:
        """Large images in [-1, 1]."""
        mean, log_variance = self.augmentation(condition)
        given = reparameterise(mean, log_variance, noise)
        change = self.net(self.trunk(small, given), given)
        large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)[..., : change.shape[2], : change.shape[3]]
        return torch.tanh(torch.atanh(0.98 * large) + change)


class Stacked(Sampler):
    """Both stages as one: ``z`` holds the latents and both augmentations' noise."""

    def __init__(self, first: First, second: Second, config: StackGANConfig, classes: int) -> None:
        super().__init__()
        self.first, self.second, self.classes = first, second, classes
        self.sizes = [config.latent_dim, config.augmented, config.augmented]
        self.latent_dim = sum(self.sizes)

    def forward(self, z: Tensor, condition: Tensor) -> Tensor:
        """Generate by class index or float condition."""
        if not condition.is_floating_point():
            condition = one_hot(condition, self.classes).to(z.dtype)
        inner, first, second = z.split(self.sizes, 1)
        return self.second(self.first(inner, condition, first), condition, second)


@register(
    "stackgan",
    config=StackGANConfig,
    modalities=("image",),
    paper="Zhang et al., StackGAN, arXiv 1612.03242, ICCV 2017",
)
class StackGAN(Algorithm):
    """Players ``critic_one``, ``generator_one``, ``critic_two`` and ``generator_two``."""

    takes = ("classes", "attributes")

    config: StackGANConfig

    def __init__(self, spec: DataSpec, config: StackGANConfig) -> None:
        super().__init__()
        if spec.kind != "image" or spec.condition < 1 or any(side % 2 for side in spec.shape[1:]):
            raise ConfigError("stackgan makes images of even sides by class or attributes; this data has none of these")
        self.spec, self.config = spec, config
        small = (spec.shape[0], *(side // 2 for side in spec.shape[1:]))
        rules = Rules(config, spec.x)
        rules.check()
        nets = architecture(config.networks, spec)
        made = NetOptions(hidden=config.hidden, width=config.width, norm="batch", activation="relu")
        judged = replace(made, norm="batch" if rules.penalty == "none" else "layer", activation="leaky_relu")
        wide = config.augmented
        self.generator_one = First(spec.condition, nets.generator(config.latent_dim, small, wide, made), wide)
        trunk = nets.trunk(small, wide, made)
        self.generator_two = Second(
            spec.condition, trunk, nets.generator(trunk.width, spec.shape, wide, made), wide
        )  # fmt: skip
        critics = {
            stage: Headed(nets.trunk(shape, wide, judged), 1) for stage, shape in (("one", small), ("two", spec.shape))
        }
        for net in (critics["one"], self.generator_one, critics["two"], self.generator_two):
            dcgan_weights(net)
        self.games = nn.ModuleDict({stage: self._game(stage, critic) for stage, critic in critics.items()})

    def _game(self, stage: str, critic: nn.Module) -> Game:
        channels, *sides = self.spec.shape
        return Game(
            critic,
            self.config,
            Image(channels, *(side // 2 for side in sides)) if stage == "one" else self.spec.x,
            generator=self._generator(stage),
            condition=(self.config.augmented,),
            player=f"critic_{stage}",
            against=f"generator_{stage}",
            suffix=f"_{stage}",
        )

    def _generator(self, stage: str) -> First | Second:
        return self.generator_one if stage == "one" else self.generator_two

    def game(self, stage: str) -> Game:
        """The adversarial game of stage ``one`` or ``two``."""
        return cast("Game", self.games[stage])

    def players(self) -> dict[str, nn.Module]:
        """Two critics, two generators."""
        one, two = self.game("one"), self.game("two")
        return (
            one.players()
            | {"generator_one": self.generator_one}
            | two.players()
            | {"generator_two": self.generator_two}
        )

    def optimisers(self) -> dict[str, Optimiser]:
        """Those of the games."""
        return self.game("one").optimisers() | self.game("two").optimisers()

    def phases(self) -> Sequence[Phase]:
        """Both stages' updates; ``stages`` orders them."""
        return (*self._phases("one"), *self._phases("two"))

    def _phases(self, stage: str) -> tuple[Phase, ...]:
        return self.game(stage).phases(
            lambda batch: self.dealt(batch, stage),
            lambda batch: self.generator_loss(batch, stage),
            lambda batch: self.critic_loss(batch, stage),
        )

    def stages(self, budget: int) -> Sequence[Stage]:
        """Stage I, then stage II."""
        first = max(1, round(self.config.first * budget))
        return (Stage("one", self._phases("one"), first), Stage("two", self._phases("two"), max(1, budget - first)))

    def condition(self, batch: Batch) -> Tensor:
        """One-hot classes and attributes; one tensor until a player moves."""
        return batch.once("condition", lambda: condition_of(self.spec, batch))

    def examples(self, batch: Batch, stage: str) -> Tensor:
        """A forward of one stage's generator; stage II refines images of stage I, which get no gradient."""
        if stage == "one":
            noise = batch.randn(self.config.latent_dim), batch.randn(self.config.augmented)
            return self.generator_one(noise[0], self.condition(batch), noise[1])
        with torch.no_grad():
            small = self.examples(batch, "one")
        return self.generator_two(small, self.condition(batch), batch.randn(self.config.augmented))

    def _mean(self, batch: Batch, stage: str, condition: Tensor) -> Tensor:
        """mu(t), the condition of a critic."""
        return self._generator(stage).augmentation(condition)[0].detach()

    def sides(self, batch: Batch, stage: str, made: Tensor) -> Sides:
        """One stage's images against those it ``made``, each under mu(t)."""
        real = avg_pool2d(batch.x, 2) if stage == "one" else batch.x
        return Sides(real, made, self._mean(batch, stage, self.condition(batch)))

    def dealt(self, batch: Batch, stage: str) -> Sides:
        """One stage's game as its critic plays it."""
        made = self.game(stage).fakes(batch, lambda: self.examples(batch, stage))
        return batch.once(f"dealt_{stage}", lambda: self.sides(batch, stage, made), of=(f"generator_{stage}",))

    def critic_loss(self, batch: Batch, stage: str) -> Losses:
        """One stage's critic, against generated images and against real ones under wrong conditions."""
        game, sides, share = self.game(stage), self.dealt(batch, stage), self.config.mismatch
        losses = game.critic_loss(batch, sides)
        if not share:
            return losses
        right = self.condition(batch)
        wrong = right[batch.permutation()]
        mismatch = game.mismatch_loss(batch, sides, self._mean(batch, stage, wrong), differ(wrong, right))
        weights = losses.weights | {f"critic_{stage}": 1 - share, f"mismatch_{stage}": share}
        return Losses(weights=weights, **losses.terms, **{f"mismatch_{stage}": mismatch})

    def generator_loss(self, batch: Batch, stage: str) -> Losses:
        """One stage's generator and its neighbourhood's KL (a mean over c)."""
        game, generator = self.game(stage), self._generator(stage)
        made = game.made(batch, lambda: self.examples(batch, stage))
        kl = gaussian_kl(*generator.augmentation(self.condition(batch))).mean() / self.config.augmented
        name = f"kl_{stage}"
        fooled = game.generator_loss(batch, self.sides(batch, stage, made))
        return fooled | Losses(weights={name: self.config.kl}, **{name: kl})

    def couples_batch(self) -> str:
        """Batch norm in every network."""
        return self.game("one").couples() or "batch norm"

    def sampler(self) -> Sampler:
        """Both stages."""
        first, second = copy.deepcopy(self.generator_one), copy.deepcopy(self.generator_two)
        return Stacked(first, second, self.config, self.spec.classes).eval()
