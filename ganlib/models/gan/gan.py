"""Generative adversarial network, under any objective, with any networks.

Paper: Goodfellow et al., Generative Adversarial Networks, arXiv 1406.2661, 2014.

Idea: a generator G maps noise to data, a critic D tells real from generated; both play

    min_G max_D  E log D(x) + E log(1 - D(G(z)))                                  (equation 1)

with the generator trained on -log D(G(z)) (non-saturating, section 3). Shapes: x ``(n, *shape)``; z
``(n, latent_dim)``. Any row of ``losses.adversarial.OBJECTIVES`` may be named instead; what is left None in the
configuration is that row's own (learning rate, critic steps, penalty, clipping).
Defaults: the paper used momentum SGD and maxout critics; ours are Adam 2e-4 with beta1 0.5 (Radford et al., arXiv
1511.06434), MLPs of ReLU layers for vectors and the DCGAN pyramid for images and series.
Deviations: G and D see each other's latest update (D first), one update each.

Every objective with a ``model`` name is also registered under it (``wgan_gp``, ``began``, ...).
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ganlib.abilities import Scores
from ganlib.data.spec import DataSpec
from ganlib.data.transforms import diff_augment
from ganlib.errors import ConfigError
from ganlib.losses.adversarial import OBJECTIVES, objective
from ganlib.losses.objective import Objective, Play
from ganlib.losses.penalties import penalty
from ganlib.models.gan.config import GANConfig
from ganlib.models.gan.tricks import InstanceNoise, PastWeights, Replay, feature_matching, unrolled
from ganlib.nn.architecture import (
    Architecture,
    Energy,
    Headed,
    NetOptions,
    activate_output,
    architecture,
    dcgan_weights,
    finish,
)
from ganlib.nn.conditional import ByClass
from ganlib.nn.layers import WithReference, bake, has_batch_norm
from ganlib.nn.sampler import Sampler, sampler_for
from ganlib.training.algorithm import Algorithm, Batch, Losses, Optimiser, Phase

_CRITIC_OPTIONS = (
    "penalty", "clip", "feature_matching", "unrolled_steps", "replay", "instance_noise", "minibatch_discrimination",
    "critic_networks", "critic_steps", "critic_dropout", "critic_noise", "penalty_weight", "diff_augment",
)  # fmt: skip


class GAN(Algorithm):
    """Players ``critic`` (where the objective has one) and ``generator``."""

    config: GANConfig
    critic: Headed | Energy
    # Whether the step's critic has moved: its next batches are not the generator's.
    _further = False

    def __init__(self, spec: DataSpec, config: GANConfig) -> None:
        super().__init__()
        self.spec, self.config = spec, config
        self._choose()
        self._refuse_idle()
        self.build()
        self._check()
        for name, start in self.objective.state.items():
            self.register_buffer(f"state_{name}", torch.tensor(float(start)))
        self.noise = InstanceNoise(config.instance_noise, config.noise_steps)
        told = spec.condition if self.critic_condition_dim else 0
        self.replay = Replay(config.replay, spec.shape, told) if config.replay else None
        self.past = nn.ModuleDict()
        if config.historical_averaging:
            pulled = {name: self.players().get(name) for name in ("critic", "generator")}
            self.past.update({name: PastWeights(module) for name, module in pulled.items() if module is not None})

    # ---------------------------------------------------------------- what was chosen
    @property
    def objective(self) -> Objective:
        """The adversarial game; looked up, since its functions cannot be pickled."""
        return objective(self.config.objective)

    def _choose(self) -> None:
        """Refuse unknown names and options before anything is built."""
        row, config = self.objective, self.config
        options = config.objective_options or {}
        if not isinstance(options, Mapping) or (set(options) - set(row.options)):
            known = ", ".join(sorted(row.options)) or "none"
            raise ConfigError(f"objective {row.name!r} has no options {options!r}; its options are: {known}")
        if wrong := [v for v in options.values() if isinstance(v, bool) or not isinstance(v, int | float)]:
            raise ConfigError(f"objective_options are numbers, not {wrong[0]!r}")
        if not all(map(math.isfinite, options.values())):
            raise ConfigError(f"objective_options are finite numbers; got {options!r}")
        if self.penalty != "none":
            penalty(self.penalty)
        if row.kind != "logit" and self.needs_logits:
            raise ConfigError(
                f"objective {row.name!r} has no critic with logits, which this model needs: choose another"
            )
        if row.kind == "none" and self.condition_dim:
            raise ConfigError(
                f"objective {row.name!r} has no critic, so nothing would see what the generator is told: choose another"
            )
        if config.diff_augment and self.spec.kind != "image":
            raise ConfigError(f"diff_augment is for images, not for data of shape {self.spec.shape}")
        if config.critic_norm == "virtual":
            raise ConfigError(
                "critic_norm='virtual' has no reference batch: virtual batch norm is for generators (generator_norm); "
                "choose batch, layer or instance for the critic"
            )

    def _refuse_idle(self) -> None:
        """Options that would do nothing."""
        row, config = self.objective, self.config
        if row.kind == "none" and (idle := [name for name in _CRITIC_OPTIONS if getattr(config, name)]):
            raise ConfigError(f"objective {row.name!r} has no critic, so {', '.join(idle)} has no meaning")
        if self.penalty == "none" and (config.penalty_weight is not None or config.penalty_every > 1):
            raise ConfigError("penalty_weight and penalty_every have no meaning without a penalty: name one")
        if config.noise_steps and config.instance_noise == 0:
            raise ConfigError("noise_steps have no meaning without instance_noise: give its deviation")

    @property
    def critic_steps(self) -> int | Callable[[int], int]:
        """Critic updates per generator update, by step where the source warms up."""
        if self.config.critic_steps is not None:
            return self.config.critic_steps
        recipe = self.objective.recipe
        if not recipe.warm_up:
            return recipe.critic_steps
        return lambda step: 100 if step < 25 or step % 500 == 0 else recipe.critic_steps

    @property
    def penalty(self) -> str:
        """Name of the slope penalty, or none."""
        return self.objective.recipe.penalty if self.config.penalty is None else self.config.penalty

    @property
    def penalty_weight(self) -> float:
        """Its weight: the source's for images, or for plain vectors."""
        recipe = self.objective.recipe
        usual = recipe.vector_penalty_weight if self.spec.kind == "vector" else recipe.penalty_weight
        return usual if self.config.penalty_weight is None else self.config.penalty_weight

    @property
    def clip(self) -> float:
        """Bound on the critic's weights, 0 for none."""
        return self.objective.recipe.clip if self.config.clip is None else self.config.clip

    def _norm(self, chosen: str, critic: bool, pyramid: bool) -> str:
        if chosen != "auto":
            return chosen
        if critic and (self.penalty != "none" or self.objective.kind == "energy" or self._spectral):
            return "none" if self._spectral or self.spec.kind == "vector" else "layer"
        return "batch" if pyramid else "none"

    @property
    def _spectral(self) -> bool:
        recipe = self.objective.recipe
        return recipe.spectral_norm if self.config.spectral_norm is None else self.config.spectral_norm

    # ---------------------------------------------------------------- networks
    condition_dim = 0
    critic_outputs = 1
    critic_projection = 0
    needs_logits = False

    @property
    def critic_condition_dim(self) -> int:
        """Width of what the critic is told."""
        return self.condition_dim

    @property
    def code_dim(self) -> int:
        """Width of the generator's input, without the condition."""
        return self.config.latent_dim

    def networks(self, critic: bool) -> Architecture:
        """The row of the critic's or of the generator's networks."""
        chosen = self.config.critic_networks if critic else None
        return architecture(chosen or self.config.networks, self.spec)

    def net_options(self, critic: bool) -> NetOptions:
        """What the architecture is told for a critic or for a generator."""
        config, pyramid = self.config, self.networks(critic).name != "mlp"
        norm = self._norm(config.critic_norm if critic else config.generator_norm, critic, pyramid)
        return NetOptions(
            hidden=config.hidden,
            width=config.width,
            norm=norm,
            activation="leaky_relu" if critic else "relu",
            dropout=config.critic_dropout if critic else 0.0,
            noise=config.critic_noise if critic else (),
        )

    def build(self) -> None:
        """Generator and critic from the named architecture."""
        row, nets = self.objective, self.networks(critic=False)
        options = self.net_options(critic=False)
        generator = nets.generator(self.code_dim, self.spec.shape, self.condition_dim, options)
        dcgan_weights(generator)
        if options.norm == "virtual":
            generator = WithReference(generator, self.code_dim, self.condition_dim, options.reference)
        self.generator = finish(generator, "spectral" if self._spectral and nets.name != "mlp" else "none")
        if row.kind != "none":
            critic = self.build_critic()
            dcgan_weights(critic)
            finish(critic, "spectral" if self._spectral else "none")
            self.critic = critic

    def build_critic(self) -> Headed | Energy:
        """A trunk with a head, or an auto-encoder for an energy."""
        nets, options = self.networks(critic=True), self.net_options(critic=True)
        trunk = nets.trunk(self.spec.shape, self.critic_condition_dim, options)
        if self.objective.kind != "energy":
            return Headed(trunk, self.critic_outputs, self.config.minibatch_discrimination, self.critic_projection)
        decoder = nets.generator(self.config.latent_dim, self.spec.shape, self.critic_condition_dim, options)
        return Energy(Headed(trunk, self.config.latent_dim), decoder, self.spec, self.options["power"])

    def _check(self) -> None:
        """What the sources warn of."""
        if self.objective.kind == "none":
            return
        if self.penalty not in ("none", "difference_quotient") and has_batch_norm(self.critic):
            raise ConfigError(
                f"penalty {self.penalty!r} is per example, and batch norm in the critic couples the batch (arXiv "
                "1704.00028, section 4): set critic_norm='layer'"
            )
        if self.clip and self._optimiser_name.startswith("adam"):
            warnings.warn(
                "clipped critic weights with Adam train badly (arXiv 1701.07875, section 4): use optimiser='rmsprop', "
                "or penalty='two_sided' instead of clip",
                stacklevel=4,
            )

    # ---------------------------------------------------------------- training
    def players(self) -> dict[str, nn.Module]:
        """Critic and generator."""
        return ({} if self.objective.kind == "none" else {"critic": self.critic}) | {"generator": self.generator}

    @property
    def _optimiser_name(self) -> str:
        return self.config.optimiser or self.objective.recipe.optimiser

    def optimisers(self) -> dict[str, Optimiser]:
        """The objective's, with the configured rates."""
        recipe, config = self.objective.recipe, self.config
        rate = recipe.learning_rate if config.learning_rate is None else config.learning_rate
        betas = recipe.betas if config.betas is None else (config.betas[0], config.betas[1])
        critic = rate if config.critic_learning_rate is None else config.critic_learning_rate
        base = Optimiser(self._optimiser_name, rate, betas)
        decayed = dataclasses.replace(base, learning_rate=critic, weight_decay=recipe.weight_decay)
        return {name: decayed if name == "critic" else base for name in self.players()}

    def phases(self) -> Sequence[Phase]:
        """Critic updates, then one of the generator; a lazy penalty has its own update."""
        generator = Phase("generator", self.generator_loss, after=(self.generator_after,))
        if self.objective.kind == "none":
            return (generator,)
        critic = Phase("critic", self.critic_loss, repeat=self.critic_steps, after=(self.critic_after,))
        if self.penalty == "none" or self.config.penalty_every == 1:
            return (critic, generator)
        return (critic, Phase("critic", self.lazy_penalty, every=self.config.penalty_every), generator)

    @torch.no_grad()
    def prepare(self, batch: Batch) -> None:
        """Choose the reference batch of virtual batch norm; forget the step in which an earlier run stopped."""
        self._further = False
        if isinstance(self.generator, WithReference):
            self.generator.remember(self.latents(batch), self.condition(batch))

    @property
    def by_class(self) -> bool:
        """Classes may be there for the critic to name, without the generator being told."""
        return self.spec.classes > 0 and self.condition_dim > 0

    def condition(self, batch: Batch) -> Tensor | None:
        """What generator and critic are told, ``(n, k)``; None here."""
        return None

    def critic_condition(self, batch: Batch) -> Tensor | None:
        """What the critic is told."""
        return self.condition(batch)

    def logit(self, output: Tensor) -> Tensor:
        """The score ``(n, 1)`` among the critic's outputs."""
        return output

    def latents(self, batch: Batch) -> Tensor:
        """The generator's input ``(n, code_dim)``; the same for the batch until the generator moves."""
        return batch.once("latents", lambda: self.draw(batch), of=("generator",))

    def draw(self, batch: Batch) -> Tensor:
        """Noise ``(n, code_dim)``."""
        return batch.randn(self.code_dim)

    def generate(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Examples in the data's range."""
        return activate_output(self.spec, self.generator(z, condition))

    def made(self, batch: Batch) -> Tensor:
        """Generated examples, one forward shared by both losses until the generator moves."""
        return batch.once("made", lambda: self.examples(batch), of=("generator",))

    def examples(self, batch: Batch) -> Tensor:
        """A forward of the generator on the batch's latents."""
        return self.generate(self.latents(batch), self.condition(batch))

    def fakes(self, batch: Batch) -> Tensor:
        """Generated examples as the critic learns from them: without the generator's gradient."""

        def detached() -> Tensor:
            if not self._further:
                return self.made(batch).detach()  # the generator's update reuses this forward
            with torch.no_grad():
                return self.examples(batch)

        return batch.once("fakes", detached, of=("generator",))

    def seen(self, x: Tensor, batch: Batch) -> Tensor:
        """Examples as the critic sees them: augmented, and under instance noise."""
        if self.config.diff_augment:
            assert batch.generator is not None
            x = diff_augment(x, batch.generator, self.config.diff_augment)
        return self.noise(x, batch)

    def judged(self, batch: Batch, x: Tensor, told: Tensor | None = None) -> Tensor:
        """The critic's outputs for examples as it sees them, with the batch's conditions or those ``told``; one
        forward of an ``x`` until a player moves."""

        def judge() -> tuple[Tensor, Tensor]:
            return x, self.critic(self.seen(x, batch), self.critic_condition(batch) if told is None else told)

        if not torch.is_grad_enabled():
            return judge()[1]  # what is only watched must not be what a loss finds
        # The memo keeps x, so that no other tensor can take its id.
        return batch.once(f"judged/{id(x)}", judge, of=("critic", "generator"))[1]

    def score(
        self, batch: Batch, x: Tensor, critic: Callable[..., Tensor] | None = None, told: Tensor | None = None
    ) -> Tensor:
        """The critic's score ``(n, 1)`` of examples as it sees them."""
        if critic is None:
            return self.logit(self.judged(batch, x, told))
        return self.logit(critic(self.seen(x, batch), self.critic_condition(batch)))

    @property
    def options(self) -> dict[str, float]:
        """The objective's numbers."""
        return {**self.objective.options, **(self.config.objective_options or {})}

    @property
    def state(self) -> dict[str, Tensor]:
        """The objective's scalar buffers."""
        return {name: getattr(self, f"state_{name}") for name in self.objective.state}

    def play(
        self,
        batch: Batch,
        made: Tensor,
        critic: Callable[..., Tensor] | None = None,
        told: Tensor | None = None,
    ) -> Play:
        """The game on this batch, as the critic (or another one) sees it; ``told`` is the condition of ``made`` where
        it is not the batch's."""
        return Play(
            lambda x: self.score(batch, x, critic, told if x is made else None),
            batch.x,
            made,
            self.options,
            self.state,
            lambda x: self.critic.features(x, self.critic_condition(batch)),
        )

    def critic_loss(self, batch: Batch) -> Losses:
        """The critic's side of the objective, its penalty, and what is only watched."""
        made, told = self.fakes(batch), None
        if self.replay is not None:
            made, told = self.replay(made, self.critic_condition(batch), batch)
        play = self.play(batch, made, told=told)
        losses = Losses(critic=self.objective.critic(play)) | self._drift("critic")
        if self.penalty != "none" and self.config.penalty_every == 1:
            losses |= self._penalty(batch, play, self.penalty_weight)
        if self.objective.watch is not None:
            watched = self.objective.watch(play)
            losses |= Losses(weights=dict.fromkeys(watched, 0.0), **watched)
        return losses

    def lazy_penalty(self, batch: Batch) -> Losses:
        """The penalty alone, its weight multiplied by the steps between its updates."""
        play = self.play(batch, self.fakes(batch))
        return self._penalty(batch, play, self.penalty_weight * self.config.penalty_every)

    def _penalty(self, batch: Batch, play: Play, weight: float) -> Losses:
        condition = self.critic_condition(batch)
        value = penalty(self.penalty)(lambda x: self.logit(self.critic(x, condition)), play.x, play.made, batch)
        return Losses(weights={"penalty": weight}, penalty=value)

    def generator_loss(self, batch: Batch) -> Losses:
        """The generator's side, with what the tricks add."""
        made, config = self.made(batch), self.config
        losses = self._drift("generator")
        if config.adversarial:
            play = self.play(batch, made, self._unrolled(batch, made) if config.unrolled_steps else None)
            losses |= Losses(weights={"generator": config.adversarial}, generator=self.objective.generator(play))
        if config.feature_matching:
            real, fake = (self.critic.features(x, self.critic_condition(batch)) for x in (batch.x, made))
            losses |= feature_matching(real, fake, batch, config.feature_matching)
        return losses

    def _unrolled(self, batch: Batch, made: Tensor) -> Callable[..., Tensor]:
        rate = self.optimisers()["critic"].learning_rate
        return unrolled(
            self.critic,
            lambda critic: self.objective.critic(self.play(batch, made, critic)),
            rate,
            self.config.unrolled_steps,
        )

    def _drift(self, player: str) -> Losses:
        if player not in self.past:
            return Losses()
        value = cast("PastWeights", self.past[player]).drift(self.players()[player])
        return Losses(weights={f"{player}_drift": self.config.historical_averaging}, **{f"{player}_drift": value})

    @torch.no_grad()
    def critic_after(self, batch: Batch) -> None:
        """Clipping, the objective's own state, and the tricks'."""
        if self.clip:
            for parameter in self.critic.parameters():
                parameter.clamp_(-self.clip, self.clip)
        if self.objective.update is not None:
            self.objective.update(self.play(batch, self.fakes(batch)), self.state)
        if self.replay is not None:
            self.replay.push(self.fakes(batch), self.critic_condition(batch))
        self.noise.step()
        self._remember("critic")
        self._further = True

    @torch.no_grad()
    def generator_after(self, batch: Batch) -> None:
        """The mean of past weights."""
        self._remember("generator")
        self._further = False

    def _remember(self, player: str) -> None:
        if player in self.past:
            cast("PastWeights", self.past[player]).remember(self.players()[player])

    # ---------------------------------------------------------------- use
    def couples_batch(self) -> str:
        """Why the examples of a batch depend on each other, or nothing; data-parallel training asks."""
        config = self.config
        reasons = {
            self.objective.couples: bool(self.objective.couples),
            "batch norm: set generator_norm and critic_norm to layer": any(
                map(has_batch_norm, self.players().values())
            ),
            "minibatch discrimination": config.minibatch_discrimination > 0,
            "the pool of replayed examples": config.replay > 0,
            "augmentation draws for each process's own images": bool(config.diff_augment),
            "unrolled critic steps": config.unrolled_steps > 0,
            f"penalty {self.penalty!r} mixes examples": self.penalty in ("dragan", "difference_quotient"),
        }
        return next((reason for reason, holds in reasons.items() if holds), "")

    def sampler(self) -> Sampler:
        """The generator."""
        return sampler_for(ByClass(self.generator, 0), self.code_dim, self.spec)

    @classmethod
    def lacks(cls, config: GANConfig) -> tuple[type, ...]:
        """Scores, unless the objective's critic learns one."""
        return () if objective(config.objective).detects else (Scores,)

    def scorer(self) -> nn.Module:
        """The critic's energy or loss of examples, low for what looks real.

        Raises ConfigError where the objective's critic learns no such score.
        """
        if not self.objective.detects:
            able = ", ".join(row.name for row in OBJECTIVES.values() if row.detects)
            raise ConfigError(f"a critic trained by objective {self.config.objective!r} does not detect; choose {able}")
        return CriticScorer(bake(self.critic)).eval()


class CriticScorer(nn.Module):
    """Minus a critic's score, ``(n, *shape) -> (n,)``."""

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, x: Tensor) -> Tensor:
        """Score examples."""
        return -self.critic(x, None)[:, 0]
