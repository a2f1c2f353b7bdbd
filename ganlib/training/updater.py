"""Runs one item of a stage on one batch: a phase, a simultaneous tuple of phases, or a routine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from ganlib.errors import ConfigError
from ganlib.training.algorithm import Algorithm, Batch, Item, Optimiser, Phase, Routine, RoutineContext, Stage
from ganlib.training.config import TrainerConfig
from ganlib.training.gradients import Gradients
from ganlib.training.guard import Guard, exploded
from ganlib.training.optim import build_optimiser, set_rates
from ganlib.training.progress import Meter
from ganlib.training.ranks import Ranks


class Updater:
    """Updates the players: loss, gradient, clipping, optimiser, memo and hooks of each item.

    ``meter`` collects the losses by name. Only the parameters of a phase's players get gradients. Losses and hooks run
    in the context of ``autocast()``.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        config: TrainerConfig,
        ranks: Ranks,
        guard: Guard,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.algorithm, self.config, self.ranks, self.guard = algorithm, config, ranks, guard
        self.optimisers: dict[str, torch.optim.Optimizer] = {}
        self.meter, self.autocast = Meter(), autocast
        self._own = dict(algorithm.optimisers())
        self._parameters: dict[tuple[str, ...], list[nn.Parameter]] = {}
        self._gradients: dict[tuple[str, ...], Gradients] = {}
        self._rate = 1.0

    def set_rate(self, factor: float) -> None:
        """Multiply every optimiser's first learning rate by ``factor``."""
        self._rate = factor
        set_rates(self.optimisers.values(), factor)

    def run(self, item: Item, batch: Batch, step: int, more: Callable[[], Batch]) -> None:
        """Run an item that is due at this step of its stage; ``more`` gives further batches."""
        if isinstance(item, tuple):
            self._update([phase for phase in item if phase.due(step)], batch)
        elif not item.due(step):
            return
        elif isinstance(item, Routine):
            self._routine(item, RoutineContext(batch, more, self.optimiser, step))
        else:
            for index in range(item.times(step)):
                self._update([item], more() if index and item.fresh else batch)

    def optimiser(self, player: str, override: Optimiser | None = None) -> torch.optim.Optimizer:
        """The optimiser of a player, or the phase's override; built when first needed."""
        key = player if override is None else f"{player}@{override}"
        if key not in self.optimisers:
            spec = override or self._own.get(player, Optimiser())
            self.optimisers[key] = build_optimiser(spec, self._parameters_of((player,)))
            set_rates([self.optimisers[key]], self._rate)
        return self.optimisers[key]

    # ---------------------------------------------------------------- parts of an update
    def _update(self, phases: Sequence[Phase], batch: Batch) -> None:
        """Add up the gradients of all phases, then move each player once; one phase is an ordinary update."""
        optimisers = {id(o): o for phase in phases for o in self._optimisers_of(phase)}.values()
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        for phase in phases:
            self._backward(phase, batch, retain=phase is not phases[-1])
        for players in dict.fromkeys(phase.players for phase in phases):
            self._clip(players)
        for optimiser in optimisers:
            optimiser.step()
        for phase in phases:
            batch.forget(phase.players)
            with self.autocast():
                for hook in phase.after:
                    hook(batch)

    def _backward(self, phase: Phase, batch: Batch, retain: bool) -> None:
        """Compute the gradients of the global batch's loss; passes to the guard whether it was sane on every rank."""
        with self.autocast():
            losses = phase.loss(batch)
            total = losses.total
        parameters, verdict = self._parameters_of(phase.players), total
        if self.ranks.alone:
            total.backward(inputs=parameters, retain_graph=retain)
        else:
            gradients = self._gradients_of(phase.players)
            with gradients.during_backward(overlap=not batch.averages):
                total.backward(inputs=parameters, retain_graph=retain)
            verdict = torch.where(gradients.average(bad=exploded(total)), math.nan, total.detach())
        self.guard.record(losses.terms, total, verdict)
        for name, value in losses.terms.items():
            self.meter.log(name, value.detach())

    def _clip(self, players: tuple[str, ...]) -> None:
        """Clip the players' joint gradient, and log its norm before clipping."""
        if not (self.config.gradient_clip or self.config.gradient_norms):
            return
        norm = nn.utils.clip_grad_norm_(self._parameters_of(players), self.config.gradient_clip or math.inf)
        if self.config.gradient_norms:
            self.meter.log("+".join(players) + "_gradient_norm", norm)

    def _routine(self, routine: Routine, context: RoutineContext) -> None:
        for name, value in routine.run(context).items():
            number = torch.as_tensor(value).detach()
            self.guard.record({f"{routine.name}.{name}": number}, number)
            self.meter.log(name, number)
        context.batch.forget(routine.trains or tuple(self.algorithm.players()))

    def _optimisers_of(self, phase: Phase) -> list[torch.optim.Optimizer]:
        return [self.optimiser(name, phase.optimiser) for name in phase.players]

    def _gradients_of(self, players: tuple[str, ...]) -> Gradients:
        if players not in self._gradients:
            self._gradients[players] = Gradients(self._parameters_of(players), self.ranks)
        return self._gradients[players]

    def _parameters_of(self, players: tuple[str, ...]) -> list[nn.Parameter]:
        if players not in self._parameters:
            self._parameters[players] = self.algorithm.parameters_of(*players)
        return self._parameters[players]


def check_stages(stages: Sequence[Stage]) -> None:
    """Raise ConfigError for a simultaneous tuple that cannot be one update."""
    for stage in stages:
        for item in stage.phases:
            if isinstance(item, tuple):
                _check_simultaneous(item, stage.name)


def _check_simultaneous(phases: tuple[Phase, ...], stage: str) -> None:
    where = f"stage {stage!r}: a tuple of phases is one simultaneous update"
    optimisers: dict[str, Optimiser | None] = {}
    for phase in phases:
        names = " and ".join(phase.players)
        if phase.repeat != 1:
            raise ConfigError(
                f"{where}, so its phase of {names} cannot repeat; take it out of the tuple, or remove the repeat"
            )
        for name in phase.players:
            if optimisers.setdefault(name, phase.optimiser) != phase.optimiser:
                raise ConfigError(f"{where}, but two of its phases give {name} different optimisers; use one")
