"""What a game is played by: its options, completed by what the objective's source uses."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

from torch import nn

from ganlib.adversarial.config import GameConfig
from ganlib.data.fields import Field
from ganlib.errors import ConfigError
from ganlib.losses.adversarial import objective
from ganlib.losses.objective import Objective
from ganlib.losses.penalties import penalty
from ganlib.nn.architecture import Energy
from ganlib.nn.layers import has_batch_norm
from ganlib.training.algorithm import Optimiser

# Options that need a critic; those of networks only some models have.
_CRITIC_OPTIONS = (
    "penalty", "clip", "feature_matching", "unrolled_steps", "replay", "instance_noise", "minibatch_discrimination",
    "critic_networks", "critic_steps", "critic_dropout", "critic_noise", "penalty_weight", "diff_augment",
)  # fmt: skip
_MIXING = ("dragan", "difference_quotient")


@dataclass(frozen=True)
class Rules:
    """``options`` of a game whose critic sees ``field``."""

    options: GameConfig
    field: Field

    @property
    def objective(self) -> Objective:
        """The row of the objective; looked up, since its functions cannot be pickled."""
        return objective(self.options.objective)

    @property
    def numbers(self) -> dict[str, float]:
        """The objective's numbers."""
        return {**self.objective.options, **(self.options.objective_options or {})}

    @property
    def critic_steps(self) -> int | Callable[[int], int]:
        """Critic updates per generator update, by step where the source warms up."""
        if self.options.critic_steps is not None:
            return self.options.critic_steps
        recipe = self.objective.recipe
        if not recipe.warm_up:
            return recipe.critic_steps
        return lambda step: 100 if step < 25 or step % 500 == 0 else recipe.critic_steps

    @property
    def penalty(self) -> str:
        """Name of the slope penalty, or none."""
        return self.objective.recipe.penalty if self.options.penalty is None else self.options.penalty

    @property
    def penalty_weight(self) -> float:
        """Its weight: the source's for images, or for plain vectors."""
        recipe = self.objective.recipe
        usual = recipe.vector_penalty_weight if self.field.kind == "vector" else recipe.penalty_weight
        return usual if self.options.penalty_weight is None else self.options.penalty_weight

    @property
    def lazy(self) -> bool:
        """Whether the penalty has updates of its own."""
        return self.penalty != "none" and self.options.penalty_every > 1

    @property
    def clip(self) -> float:
        """Bound on the critic's weights, 0 for none."""
        return self.objective.recipe.clip if self.options.clip is None else self.options.clip

    @property
    def spectral(self) -> bool:
        """Whether the critic's weights have spectral norm."""
        return self.objective.recipe.spectral_norm if self.options.spectral_norm is None else self.options.spectral_norm

    def critic_norm(self, pyramid: bool) -> str:
        """The normalisation that suits the critic: none that couples the batch under a penalty or for an energy."""
        if self.penalty != "none" or self.objective.kind == "energy" or self.spectral:
            return "none" if self.spectral or self.field.kind == "vector" else "layer"
        return "batch" if pyramid else "none"

    def optimiser(self, critic: bool) -> Optimiser:
        """The critic's or the generator's."""
        recipe, options = self.objective.recipe, self.options
        rate = recipe.learning_rate if options.learning_rate is None else options.learning_rate
        betas = recipe.betas if options.betas is None else (options.betas[0], options.betas[1])
        base = Optimiser(options.optimiser or recipe.optimiser, rate, betas)
        own = rate if options.critic_learning_rate is None else options.critic_learning_rate
        return replace(base, learning_rate=own, weight_decay=recipe.weight_decay) if critic else base

    def mixes(self) -> str:
        """Why the game couples the examples of a batch, or nothing."""
        options = self.options
        reasons = {
            self.objective.couples: bool(self.objective.couples),
            "the pool of replayed examples": options.replay > 0,
            "augmentation draws for each process's own images": bool(options.diff_augment),
            "unrolled critic steps": options.unrolled_steps > 0,
            f"penalty {self.penalty!r} mixes examples": self.penalty in _MIXING,
        }
        return next((reason for reason, holds in reasons.items() if holds), "")

    # ---------------------------------------------------------------- checks
    def check(self) -> None:
        """Raise ConfigError on options that contradict each other or would do nothing, before anything is built."""
        row, options = self.objective, self.options
        self._check_numbers(options.objective_options or {})
        if self.penalty != "none":
            penalty(self.penalty)
            self._check_numeric(f"penalty {self.penalty!r}", "'none'")
        if options.diff_augment and self.field.kind != "image":
            raise ConfigError(f"diff_augment is for images, not for data of shape {self.field.shape}")
        if row.kind == "none" and (idle := [name for name in _CRITIC_OPTIONS if getattr(options, name, None)]):
            raise ConfigError(f"objective {row.name!r} has no critic, so {', '.join(idle)} has no meaning")
        if self.penalty == "none" and (options.penalty_weight is not None or options.penalty_every > 1):
            raise ConfigError("penalty_weight and penalty_every have no meaning without a penalty: name one")
        if options.noise_steps and options.instance_noise == 0:
            raise ConfigError("noise_steps have no meaning without instance_noise: give its deviation")
        if options.instance_noise:
            self._check_numeric("instance_noise", "0")

    def _check_numeric(self, what: str, off: str) -> None:
        if self.field.integral:
            raise ConfigError(f"{what} is for numbers, not for {self.field.kind}: set it to {off}")

    def reject(self, *names: str, why: str) -> None:
        """Raise ConfigError if one of these options is set, in a model whose generator is not trained by a game."""
        usual = {field.name: field.default for field in fields(GameConfig)}
        if idle := [name for name in names if getattr(self.options, name) != usual[name]]:
            raise ConfigError(f"{', '.join(idle)} would do nothing, because {why}: leave them out")

    def _check_numbers(self, numbers: object) -> None:
        row = self.objective
        if not isinstance(numbers, Mapping) or (set(numbers) - set(row.options)):
            known = ", ".join(sorted(row.options)) or "none"
            raise ConfigError(f"objective {row.name!r} has no options {numbers!r}; its options are: {known}")
        if wrong := [v for v in numbers.values() if isinstance(v, bool) or not isinstance(v, int | float)]:
            raise ConfigError(f"objective_options are numbers, not {wrong[0]!r}")
        if not all(map(math.isfinite, numbers.values())):
            raise ConfigError(f"objective_options are finite numbers; got {numbers!r}")

    def check_critic(self, critic: nn.Module | None) -> None:
        """Raise ConfigError unless the objective and the penalty can be used with this critic; warn where they train
        badly."""
        row = self.objective
        if row.kind == "none" and critic is not None:
            raise ConfigError(f"objective {row.name!r} has no critic, which this model needs: choose another")
        if critic is None:
            return
        if row.kind == "energy" and not isinstance(critic, Energy):
            raise ConfigError(f"the critic of objective {row.name!r} is an auto-encoder (nn.architecture.Energy), "
                              f"and this model's is not: choose another objective")  # fmt: skip
        if self.penalty not in ("none", "difference_quotient") and has_batch_norm(critic):
            raise ConfigError(
                f"penalty {self.penalty!r} is per example, and batch norm in the critic couples the batch (arXiv "
                "1704.00028, section 4): set critic_norm='layer'"
            )
        if self.clip and (self.options.optimiser or row.recipe.optimiser).startswith("adam"):
            warnings.warn(
                "clipped critic weights with Adam train badly (arXiv 1701.07875, section 4): use optimiser='rmsprop', "
                "or penalty='two_sided' instead of clip",
                stacklevel=5,
            )
