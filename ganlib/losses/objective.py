"""Adversarial objectives: the losses of both players, and the training recipe of the source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ganlib.errors import ConfigError
from ganlib.losses.divergence import wide


class Play:
    """One batch of the game: the arguments of an objective.

    ``x`` are data and ``made`` generated examples, both ``(n, *shape)``. ``real`` and ``fake`` are the critic's scores
    ``(n, 1)`` of them, computed on first use. ``options`` are the objective's numbers, ``state`` its scalar buffers.
    """

    def __init__(
        self,
        score: Callable[[Tensor], Tensor],
        x: Tensor,
        made: Tensor,
        options: Mapping[str, float] | None = None,
        state: Mapping[str, Tensor] | None = None,
        features: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.score, self.x, self.made = score, x, made
        self.options, self.state = options or {}, state or {}
        self._features = features
        self._memo: dict[str, Tensor] = {}

    @property
    def real(self) -> Tensor:
        """The critic's score of the data."""
        if "real" not in self._memo:
            self._memo["real"] = wide(self.score(self.x))
        return self._memo["real"]

    @property
    def fake(self) -> Tensor:
        """The critic's score of the generated examples."""
        if "fake" not in self._memo:
            self._memo["fake"] = wide(self.score(self.made))
        return self._memo["fake"]

    @property
    def gap(self) -> Tensor:
        """Mean absolute difference between each example and its generated neighbour in the batch, ``(n, 1)``."""
        return (self.x - self.made).flatten(1).abs().mean(1, keepdim=True)

    def features(self, x: Tensor) -> Tensor:
        """The critic's last hidden features ``(n, f)``."""
        if self._features is None:
            raise ConfigError("this objective needs the critic's features; pass features= to Play")
        return self._features(x)


@dataclass(frozen=True)
class Recipe:
    """The settings with which a source trains an objective; a model's options override them.

    ``critic_steps`` per generator step; ``warm_up``: 100 critic steps for each of the first 25 generator steps and
    every 500th. ``clip`` bounds the critic's weights, 0 for none. ``penalty`` names a row of
    ``losses.penalties.PENALTIES``; its weight is ``penalty_weight``, for plain vectors ``vector_penalty_weight``.
    """

    optimiser: str = "adam"
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    critic_steps: int = 1
    warm_up: bool = False
    clip: float = 0.0
    penalty: str = "none"
    penalty_weight: float = 10.0
    vector_penalty_weight: float = 0.1
    spectral_norm: bool = False
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Objective:
    """One adversarial game. ``critic(play)`` and ``generator(play)`` are minimised by their players.

    - ``kind``: the critic is a network with one ``logit``, an auto-encoder whose reconstruction error is an
      ``energy``, or ``none``.
    - ``options``: the objective's numbers, with their defaults.
    - ``state``: initial values of scalar buffers, by name; ``update(play, state)`` changes them after each critic step.
    - ``watch(play)``: values that are logged, not minimised.
    - ``detects``: minus the trained critic's score is an anomaly score.
    - ``examples``: the losses read the examples, not only their scores.
    - ``couples``: the reason why examples of a batch depend on each other, empty if they do not.
    - ``model``: the registry name of the model with this objective; ``toy`` changes that model's toy.
    """

    name: str
    critic: Callable[[Play], Tensor]
    generator: Callable[[Play], Tensor]
    source: str
    recipe: Recipe = field(default_factory=Recipe)
    kind: str = "logit"
    options: Mapping[str, float] = field(default_factory=dict)
    state: Mapping[str, float] = field(default_factory=dict)
    update: Callable[[Play, Mapping[str, Tensor]], None] | None = None
    watch: Callable[[Play], Mapping[str, Tensor]] | None = None
    couples: str = ""
    detects: bool = False
    examples: bool = False
    model: str = ""
    toy: Mapping[str, Any] = field(default_factory=dict)

    def critic_of(self, real: Tensor, fake: Tensor) -> Tensor:
        """The critic's loss from scores, for games within a larger model."""
        return self.critic(scored(real, fake, self.options))

    def generator_of(self, fake: Tensor) -> Tensor:
        """The generator's loss from scores."""
        return self.generator(scored(fake, fake, self.options))


def scored(real: Tensor, fake: Tensor, options: Mapping[str, float] | None = None) -> Play:
    """A play with known scores."""
    return Play(lambda scores: scores, real, fake, options)
