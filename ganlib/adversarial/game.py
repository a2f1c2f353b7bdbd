"""One critic against one generator: losses, the critic's updates, and what is done after them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import or_
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ganlib.adversarial.config import GameConfig
from ganlib.adversarial.rules import Rules
from ganlib.adversarial.tricks import InstanceNoise, PastWeights, Replay, feature_matching, unrolled
from ganlib.data.fields import Field
from ganlib.data.transforms import diff_augment
from ganlib.errors import ConfigError
from ganlib.losses.objective import Objective, Play
from ganlib.losses.penalties import penalty
from ganlib.nn.architecture import finish
from ganlib.nn.conditional import where_wrong
from ganlib.training.algorithm import Batch, Losses, Optimiser, Phase


@dataclass(frozen=True)
class Sides:
    """One batch of a game: data ``real`` and generated examples ``made``, each ``(n, *shape)``.

    ``condition`` is what the critic is given with both: any tensor ``(n, ...)`` that it takes, such as classes
    ``(n, k)`` or an image; None for an unconditional critic. ``made_condition`` is that of ``made`` if it is another.
    """

    real: Tensor
    made: Tensor
    condition: Tensor | None = None
    made_condition: Tensor | None = None


Deal = Callable[[Batch], Sides]


def whole(output: Tensor) -> Tensor:
    """The critic's outputs as scores ``(n, k)``: one an example, or one a patch ``(n, 1, height, width)``."""
    return output.flatten(1)


def first(output: Tensor) -> Tensor:
    """The first output as the score ``(n, 1)``, for critics that also classify."""
    return output[:, :1]


class Game(nn.Module):
    """The game of ``critic`` against a generator under an objective, with its penalty, clipping and tricks.

    A model holds one game for each critic, and calls ``critic_loss`` and ``generator_loss`` with the ``Sides`` of a
    batch; ``phases`` makes the updates. The critic is called as ``critic(x)``, or ``critic(x, condition)`` if there is
    a condition; ``critic.features`` of the same arguments is used by feature matching. Its scores are high for real
    examples.

    - ``options``: a ``GameConfig``, so that a model's own configuration can inherit from it.
    - ``field``: what the critic sees, which need not be the data: latents, a second domain, one-hot tokens.
    - ``generator``: needed for historical averaging only, and not registered as part of the game.
    - ``condition``: shape of one condition, needed by ``replay`` only.
    - ``score``: turns the critic's outputs into scores; a function of a module, so that a model can be pickled.
    - ``player`` and ``against``: names of the players that the critic and the generator belong to.
    - ``suffix``: appended to the names of losses, where a model has several games.
    - ``leads``: the critic moves before the generator in a step. Generated examples are then computed once for both.

    Raises ConfigError on options that contradict each other, or that this critic cannot be trained with.
    """

    def __init__(
        self,
        critic: nn.Module | None,
        options: GameConfig,
        field: Field,
        *,
        generator: nn.Module | None = None,
        condition: tuple[int, ...] | None = None,
        score: Callable[[Tensor], Tensor] = whole,
        player: str = "critic",
        against: str = "generator",
        suffix: str = "",
        leads: bool = True,
    ) -> None:
        super().__init__()
        self.rules = Rules(options, field)
        self.rules.check()
        self.rules.check_critic(critic)
        self.critic = critic
        self.outcome, self.player, self.against, self.suffix, self.leads = score, player, against, suffix, leads
        if critic is not None and self.rules.spectral and not any(map(parametrize.is_parametrized, critic.modules())):
            finish(critic, "spectral")
        for name, start in self.objective.state.items():
            self.register_buffer(f"state_{name}", torch.tensor(float(start)))
        self.noise = InstanceNoise(options.instance_noise, options.noise_steps)
        kept = torch.int64 if field.integral else torch.float32
        self.replay = Replay(options.replay, field.shape, condition, kept) if options.replay else None
        self.past = nn.ModuleDict()
        if options.historical_averaging:
            if generator is None:
                raise ConfigError("historical_averaging needs the generator: pass it to Game(generator=...)")
            pulled = {"critic": critic, "generator": generator}
            self.past.update({name: PastWeights(module) for name, module in pulled.items() if module is not None})
        self.register_load_state_dict_pre_hook(_check_saved)

    # ---------------------------------------------------------------- what is played
    @property
    def objective(self) -> Objective:
        """The row of the objective's table."""
        return self.rules.objective

    @property
    def state(self) -> dict[str, Tensor]:
        """The objective's scalar buffers."""
        return {name: self.get_buffer(f"state_{name}") for name in self.objective.state}

    def players(self) -> dict[str, nn.Module]:
        """The critic under its player's name; nothing if the objective has none."""
        return {} if self.critic is None else {self.player: self.critic}

    def optimisers(self) -> dict[str, Optimiser]:
        """The critic's and the generator's, with the configured rates."""
        return {name: self.rules.optimiser(name == self.player) for name in (*self.players(), self.against)}

    def couples(self) -> str:
        """Why the game couples the examples of a batch, or nothing; for ``Algorithm.couples_batch``."""
        return self.rules.mixes()

    # ---------------------------------------------------------------- examples
    def made(self, batch: Batch, compute: Callable[[], Tensor]) -> Tensor:
        """Generated examples with the generator's gradient; one forward serves both losses of a step."""
        return batch.once(f"made{self.suffix}", compute, of=(self.against,))

    def fakes(self, batch: Batch, compute: Callable[[], Tensor]) -> Tensor:
        """Generated examples without the generator's gradient, for the critic."""

        def detached() -> Tensor:
            if self.leads and not batch.further:
                return self.made(batch, compute).detach()  # the generator's update reuses this forward
            with torch.no_grad():
                return compute()

        return batch.once(f"fakes{self.suffix}", detached, of=(self.against,))

    # ---------------------------------------------------------------- the critic's view
    def seen(self, x: Tensor, batch: Batch) -> Tensor:
        """Examples as the critic sees them: augmented, and under instance noise."""
        if policy := self.rules.options.diff_augment:
            assert batch.generator is not None
            x = diff_augment(x, batch.generator, policy)
        return self.noise(x, batch)

    def judge(self, batch: Batch, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The critic's outputs for examples as it sees them; one forward of an ``x`` until a player moves."""

        def compute() -> tuple[Tensor, Any]:
            # The memo keeps the inputs, so that no other tensor can take their ids.
            return _output(self.critic, self.seen(x, batch), condition), (x, condition)

        if not torch.is_grad_enabled():
            return compute()[0]  # don't cache results computed without gradients
        name = f"judged{self.suffix}/{id(x)}/{id(condition)}"
        return batch.once(name, compute, of=(self.player, self.against))[0]

    def play(self, batch: Batch, sides: Sides, critic: Callable[..., Tensor] | None = None) -> Play:
        """The game on these sides as the critic, or another one, sees it."""

        def score(x: Tensor) -> Tensor:
            if critic is not None:
                return self.outcome(_output(critic, self.seen(x, batch), sides.condition))
            given = sides.made_condition if x is sides.made and sides.made_condition is not None else sides.condition
            return self.outcome(self.judge(batch, x, given))

        return self._play(score, sides)

    def _play(self, score: Callable[[Tensor], Tensor], sides: Sides) -> Play:
        condition = sides.condition
        return Play(
            score, sides.real, sides.made, self.rules.numbers, self.state, lambda x: self.features(x, condition)
        )

    def features(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The critic's features ``(n, f)``."""
        return _output(self.critic.features, x, condition)  # type: ignore[union-attr, arg-type]

    # ---------------------------------------------------------------- losses
    def critic_loss(self, batch: Batch, sides: Sides) -> Losses:
        """The critic's side of the objective, its penalty and terms for the log; ``sides.made`` is detached."""
        made, made_condition = sides.made, None
        if self.replay is not None:
            made, made_condition = self.replay(made, sides.condition, batch)
        sides = Sides(sides.real, made, sides.condition, made_condition)
        play = self.play(batch, sides)
        losses = Losses(None, **{f"critic{self.suffix}": self.objective.critic(play)}) | self._drift("critic")
        if not self.rules.lazy:
            losses |= self.penalty_loss(batch, sides)
        if self.objective.watch is not None:
            logged = {f"{name}{self.suffix}": value for name, value in self.objective.watch(play).items()}
            losses |= Losses(weights=dict.fromkeys(logged, 0.0), **logged)
        return losses

    def lazy_penalty(self, batch: Batch, sides: Sides) -> Losses:
        """The penalty alone, its weight multiplied by the steps between its updates."""
        return self.penalty_loss(batch, sides, self.rules.options.penalty_every)

    def penalty_loss(self, batch: Batch, sides: Sides, times: int = 1) -> Losses:
        """The penalty with ``times`` its weight, for models that compute the critic's loss themselves; nothing if there
        is no penalty."""
        if self.rules.penalty == "none":
            return Losses()
        row, name = penalty(self.rules.penalty), f"penalty{self.suffix}"
        value = row(lambda x: self.outcome(_output(self.critic, x, sides.condition)), sides.real, sides.made, batch)
        return Losses(weights={name: self.rules.penalty_weight * times}, **{name: value})

    def mismatch_loss(self, batch: Batch, sides: Sides, wrong: Tensor, differs: Tensor) -> Tensor:
        """The critic's loss if its negatives are real data under ``wrong`` conditions, a scalar.

        Rows whose wrong condition is right by chance (``differs (n,)`` is False) carry no gradient.
        Source: Reed et al., arXiv 1605.05396, algorithm 1.
        """

        def score(x: Tensor) -> Tensor:
            if x is sides.real:
                return self.outcome(self.judge(batch, x, sides.condition))
            return where_wrong(self.outcome(_output(self.critic, self.seen(x, batch), wrong)), differs)

        return self.objective.critic(self._play(score, Sides(sides.real, sides.real.clone(), wrong)))

    def generator_loss(self, batch: Batch, sides: Sides) -> Losses:
        """The generator's side, with what the tricks add."""
        options, name = self.rules.options, f"generator{self.suffix}"
        losses = self._drift("generator")
        if options.adversarial:
            play = self.play(batch, sides, self._unrolled(batch, sides) if options.unrolled_steps else None)
            losses |= Losses(weights={name: options.adversarial}, **{name: self.objective.generator(play)})
        if options.feature_matching:
            real, fake = (self.features(x, sides.condition) for x in (sides.real, sides.made))
            losses |= feature_matching(real, fake, batch, options.feature_matching, self.suffix)
        return losses

    def opposite_loss(self, batch: Batch, sides: Sides) -> Losses:
        """The side of a player who produces ``sides.real``, as an encoder does of pairs, and wants it taken for made.

        It is the generator's side with real and made exchanged and the critic's score negated, hence only for
        objectives that are symmetric in this: the logistic, hinge and Wasserstein ones.
        Source: Donahue et al., Adversarial Feature Learning, arXiv 1605.09782, section 3.4.
        """
        score = self.play(batch, sides).score
        play = self._play(lambda x: -score(x), Sides(sides.made, sides.real, sides.condition))
        name = f"opposite{self.suffix}"
        weights = {name: self.rules.options.adversarial}
        return Losses(weights=weights, **{name: self.objective.generator(play)})

    def _unrolled(self, batch: Batch, sides: Sides) -> Callable[..., Tensor]:
        assert self.critic is not None
        return unrolled(
            self.critic,
            lambda critic: self.objective.critic(self.play(batch, sides, critic)),
            self.rules.optimiser(critic=True).learning_rate,
            self.rules.options.unrolled_steps,
        )

    def _drift(self, side: str) -> Losses:
        if side not in self.past:
            return Losses()
        past: Any = self.past[side]
        name = f"{side}{self.suffix}_drift"
        return Losses(weights={name: self.rules.options.historical_averaging}, **{name: past.drift()})

    # ---------------------------------------------------------------- updates
    @torch.no_grad()
    def after(self, batch: Batch, sides: Sides | None = None) -> None:
        """After each update of the critic: clipping, the objective's own state, and the tricks'.

        ``sides`` may be left out if the objective has no state and nothing is replayed.
        """
        if self.critic is None:
            return
        if self.rules.clip:
            for parameter in self.critic.parameters():
                parameter.clamp_(-self.rules.clip, self.rules.clip)
        if self.objective.update is not None:
            assert sides is not None
            self.objective.update(self.play(batch, sides), self.state)
        if self.replay is not None:
            assert sides is not None
            self.replay.push(sides.made, sides.condition)
        self.noise.step()
        self._remember("critic")

    @torch.no_grad()
    def generator_after(self, batch: Batch) -> None:
        """After each update of the generator: the mean of past weights."""
        self._remember("generator")

    def _remember(self, side: str) -> None:
        if side in self.past:
            past: Any = self.past[side]
            past.remember()

    def phases(
        self,
        deal: Deal,
        generator_loss: Callable[[Batch], Losses],
        critic_loss: Callable[[Batch], Losses] | None = None,
    ) -> tuple[Phase, ...]:
        """``phases`` of this game alone."""
        return phases([(self, deal)], generator_loss, critic_loss)


def phases(
    games: Sequence[tuple[Game, Deal]],
    generator_loss: Callable[[Batch], Losses],
    critic_loss: Callable[[Batch], Losses] | None = None,
) -> tuple[Phase, ...]:
    """The updates of games whose critics, and whose generators, move together: critics, lazy penalty, generators.

    ``deal(batch)`` gives a game's sides for its critic: ``made`` without the generator's gradient, as ``Game.fakes``
    gives it. It is called once for a batch until the generator moves. ``critic_loss`` replaces the sum of the games'
    own. All games have the same options.
    """
    lead, rules = games[0][0], games[0][0].rules

    def dealt(batch: Batch) -> list[tuple[Game, Sides]]:
        return [
            (game, batch.once(f"sides{game.suffix}", partial(deal, batch), of=(game.against,))) for game, deal in games
        ]

    def lose(batch: Batch) -> Losses:
        return reduce(or_, (game.critic_loss(batch, sides) for game, sides in dealt(batch)))

    def penalise(batch: Batch) -> Losses:
        return reduce(or_, (game.lazy_penalty(batch, sides) for game, sides in dealt(batch)))

    def after(batch: Batch) -> None:
        for game, sides in dealt(batch):
            game.after(batch, sides)

    generator = Phase(lead.against, generator_loss, after=tuple(game.generator_after for game, _ in games))
    if lead.critic is None:
        return (generator,)
    critic = Phase(lead.player, critic_loss or lose, repeat=rules.critic_steps, after=(after,))
    if not rules.lazy:
        return (critic, generator)
    return (critic, Phase(lead.player, penalise, every=rules.options.penalty_every), generator)


def _output(net: Callable[..., Tensor] | None, x: Tensor, condition: Tensor | None) -> Tensor:
    """A network's answer, with the condition if there is one."""
    assert net is not None
    return net(x) if condition is None else net(x, condition)


def _check_saved(game: Game, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Reject weights from before critics belonged to games, and those of critics without their spectral norm."""
    saved = [name for name in state if name.startswith(prefix)]
    if not saved:
        raise ConfigError(
            f"the saved state has no {prefix.rstrip('.')!r}: it was saved by a version that kept the critic outside "
            "its game, or by another model; delete the checkpoint and train again"
        )
    normed = game.rules.spectral and game.critic is not None
    if normed and not any(".parametrizations." in name for name in saved):
        raise ConfigError(
            "the saved critic has no spectral norm, which its objective now gives it: delete the checkpoint and train "
            "again, or choose another objective"
        )
